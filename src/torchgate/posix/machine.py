"""Facts of this machine for `doctor`: accounts, ports and limits as Linux tells them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from torchgate.contract.diagnosis import Diagnosis, amber, ok
from torchgate.contract.machine import PortHolder
from torchgate.contract.programs import Programs
from torchgate.posix.surroundings import swappers

if sys.platform != "win32":
    import pwd
    import resource

_LISTENING = "0A"
"""TCP_LISTEN in /proc/net/tcp. Source: proc(5), include/net/tcp_states.h."""
_ENOUGH_FILES = 4096
_GIB = 1 << 30
_WORKER_BYTES = 1 << 30
"""What a worker with torch may take before its model; measured 250 MB for a CPU build, several times that with CUDA."""


class PosixMachine:
    """Implements contract.machine.Machine.

    Args:
        programs: asked for nothing here; the other system needs them.
        process: the folder of processes.
    """

    def __init__(self, programs: Programs, process: Path = Path("/proc")) -> None:
        self._programs = programs
        self._process = process

    def account(self) -> str:
        """As whom we run."""
        if sys.platform == "win32":
            raise OSError("this is another system")
        uid = os.geteuid()
        try:
            return f"{pwd.getpwuid(uid).pw_name} (uid:{uid})"
        except KeyError:
            return f"uid:{uid}"

    def writers(self, folder: Path) -> str:
        """Who else may write there, by mode and owner."""
        found = folder.stat()
        if sys.platform != "win32" and found.st_uid not in (os.geteuid(), 0):
            return f"it belongs to uid:{found.st_uid}"
        open_to = [
            who for bit, who in ((stat.S_IWGRP, "its group"), (stat.S_IWOTH, "everybody")) if found.st_mode & bit
        ]
        return f"its mode {stat.S_IMODE(found.st_mode):04o} lets {' and '.join(open_to)} write there" if open_to else ""

    def swappers(self, folder: Path) -> tuple[str, ...]:
        """Who could rename a folder around it, or in one."""
        return swappers(folder)

    def port_holders(self, port: int) -> tuple[PortHolder, ...]:
        """Whose sockets listen there."""
        inodes = set(self._listening(port))
        if not inodes:
            return ()
        holders = tuple(self._owners(inodes))
        return holders or (PortHolder(0),)

    def _listening(self, port: int) -> Iterator[str]:
        for table in ("tcp", "tcp6"):
            try:
                lines = (self._process / "net" / table).read_text(encoding="ascii").splitlines()[1:]
            except FileNotFoundError:
                continue
            for line in lines:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]

    def _owners(self, inodes: Collection[str]) -> Iterator[PortHolder]:
        wanted = {f"socket:[{inode}]" for inode in inodes}
        for folder in self._process.iterdir():
            if folder.name.isdecimal() and wanted & self._sockets(folder):
                try:
                    name = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
                except OSError:
                    name = ""
                yield PortHolder(int(folder.name), name)

    def _sockets(self, folder: Path) -> set[str]:
        found = set()
        try:
            for one in (folder / "fd").iterdir():
                found.add(str(one.readlink()))
        except OSError:  # another account's, or it has ended
            pass
        return found

    def reservations(self, port: int) -> str:
        """Whether the port is one of the first, which need a right."""
        file = self._process / "sys" / "net" / "ipv4" / "ip_unprivileged_port_start"
        first = int(file.read_text(encoding="ascii"))
        if port >= first or (sys.platform != "win32" and os.geteuid() == 0):
            return ""
        return f"ports below {first} need the capability CAP_NET_BIND_SERVICE"

    def file_version(self, file: Path) -> str:
        """Programs say none here."""
        file.stat()
        return ""

    def registry_value(self, key: str, name: str) -> int | str | None:
        """There is no registry."""
        del key, name
        return None

    def missing_libraries(self, names: Sequence[str]) -> tuple[str, ...]:
        """None that we know the name of."""
        del names
        return ()

    def events(self, providers: Collection[str], within_s: float) -> tuple[str, ...]:
        """There is no such log."""
        del providers, within_s
        raise OSError("this system has no event log")

    def job_processes(self) -> tuple[int, ...]:
        """There are no jobs."""
        return ()

    def limits(self) -> tuple[Diagnosis, ...]:
        """Open files, locked memory, and the memory of the machine or of our control group."""
        return tuple(self._limits()) if sys.platform == "linux" else ()

    def _limits(self) -> Iterator[Diagnosis]:
        if sys.platform != "linux":
            return
        files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY and files < _ENOUGH_FILES:
            yield amber(
                f"this process may open {files} files (hard limit {most}).",
                f"{_ENOUGH_FILES}: each connection is one, and each model has some",
                f"systemd: LimitNOFILE={_ENOUGH_FILES}; elsewhere ulimit -n {_ENOUGH_FILES}.",
            )
        else:
            yield ok(f"this process may open {'any number of' if files == resource.RLIM_INFINITY else files} files.")
        locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        shown = "without limit" if locked == resource.RLIM_INFINITY else f"up to {locked / (1 << 20):g} MiB"
        yield ok(f"this process may lock memory {shown}; CUDA pins memory by its driver, which does not count here.")
        yield from self._memory()

    def _memory(self) -> Iterator[Diagnosis]:
        lines = (self._process / "meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
        free = sizes.get("MemAvailable", 0)
        seen = f"{free / _GIB:.1f} GiB of {sizes.get('MemTotal', 0) / _GIB:.1f} GiB memory are available."
        if free < _WORKER_BYTES:
            wanted = f"{_WORKER_BYTES / _GIB:g} GiB for each worker and each standby, and the models"
            yield amber(seen, wanted, "Free memory, or lower engine.standbys and the replicas of models.")
        else:
            yield ok(seen)
