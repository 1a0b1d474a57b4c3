"""A Linux of its own as an ordinary process, on the same files: a plain machine with control groups of version 2.

Debian's package `user-mode-linux`. It needs neither root nor virtualisation, and starts in half a second. It has one
processor and all controllers, nothing else runs in it, and what is tested there can't harm this machine.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

PROGRAM = "linux.uml"
_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t devtmpfs devices /dev
mkdir /dev/shm && mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd {folder}
{command} >{output} 2>&1 </dev/null
echo $? >{code}
exec poweroff -f
"""

_SYSTEMD = "/lib/systemd/systemd"
_SYSTEMD_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for place in /etc/systemd/system /usr/lib/systemd/system /var/lib; do mount -t tmpfs tmpfs "$place"; done
cd /etc/systemd/system
for target in sysinit basic network shutdown multi-user; do
  printf '[Unit]\\nDefaultDependencies=no\\n' >$target.target
done
printf '[Unit]\\nDefaultDependencies=no\\nWants=the-command.service\\n' >default.target
printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nType=oneshot\\nExecStart={script}\\n' >the-command.service
mkdir service.d
printf '[Service]\\nStandardOutput=append:%s\\nStandardError=inherit\\n' {services} >service.d/output.conf
exec /lib/systemd/systemd
"""
_SYSTEMD_SCRIPT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd {folder}
{command} >{output} 2>&1 </dev/null
echo $? >{code}
exec systemctl poweroff --force --force
"""
"""Its units are this file's alone: those of the machine whose files it shares would begin to change these."""


class Ran(msgspec.Struct, frozen=True):
    """What a command in there said, both streams together; then what services said, if there were any."""

    code: int
    output: str


def run_in_user_mode_linux(command: Sequence[str], folder: Path, scratch: Path, *, timeout_s: float) -> Ran:
    """Run a command as root of a machine of its own, which sees this machine's files as we do.

    Args:
        command: is not given our environment.
        folder: to run it in.
        scratch: an empty folder for files of this call.
    """
    return _booted({"init": _INIT}, command, folder, scratch, timeout_s)


def run_under_systemd(command: Sequence[str], folder: Path, scratch: Path, *, timeout_s: float) -> Ran:
    """The same on a machine that systemd runs, which has no unit but the command's; `/var/lib` is empty there."""
    if not Path(_SYSTEMD).exists():
        pytest.skip(f"needs systemd: there is no {_SYSTEMD}")
    texts = {"init": _SYSTEMD_INIT, "script": _SYSTEMD_SCRIPT}
    return _booted(texts, command, folder, scratch, timeout_s)


def _booted(texts: Mapping[str, str], command: Sequence[str], folder: Path, scratch: Path, timeout_s: float) -> Ran:
    program = shutil.which(PROGRAM)
    if program is None or sys.platform != "linux":
        pytest.skip(f"needs user-mode Linux: there is no {PROGRAM}")
    init, script, output, code, services = (scratch / name for name in ("init", "script", "output", "code", "services"))
    places = {"folder": folder, "output": output, "code": code, "script": script, "services": services}
    quoted = {name: shlex.quote(str(path)) for name, path in places.items()}
    for path, text in texts.items():
        (scratch / path).write_text(text.format(command=shlex.join(command), **quoted), encoding="utf-8")
        (scratch / path).chmod(0o700)
    kernel = subprocess.run(
        [program, "mem=3G", "quiet", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}", "con=null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    if not code.exists():
        raise RuntimeError(f"user-mode Linux ended without an answer: {kernel.stdout[-2000:]!r} {kernel.stderr!r}")
    said = [one.read_text(encoding="utf-8", errors="replace") for one in (output, services) if one.exists()]
    return Ran(int(code.read_text(encoding="ascii")), "\n".join(said))
