"""A service as a unit of systemd: pure text.

Source: systemd.service(5), systemd.exec(5), systemd.resource-control(5), systemd.syntax(7).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from torchgate.contract.services import ServiceProblem, ServiceSpec

MARK = "# Written by `torchgate service install`; it takes this file away again."

_HARDENING = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectHostname=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
)
"""Not PrivateDevices, DevicePolicy and ProtectClock, which take GPUs away; not MemoryDenyWriteExecute, because PyTorch
compiles; not ProtectControlGroups, because workers have groups of their own."""

_SHARED_TMP = ("PrivateTmp=no", "ReadWritePaths=/tmp /var/tmp")
"""Workers start in a temporary folder, whoever else is in it."""

_OWN_PLACES = {"/var/lib": "StateDirectory", "/run": "RuntimeDirectory"}
"""Below these systemd makes folders itself, for the service's account."""


def unit_text(spec: ServiceSpec) -> str:
    """The file.

    Raises:
        ServiceProblem: a path holds what no unit can.
    """
    program, *arguments = spec.command
    lines = [
        MARK,
        "[Unit]",
        f"Description={_escaped(spec.title)}",
        "After=network.target",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        # systemd takes no `$` of the program's own path for a variable, and so undoes nothing there.
        f"ExecStart={' '.join((_quoted(program), *(_quoted(part, is_argument=True) for part in arguments)))}",
        f"User={_quoted(spec.account)}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in spec.environment.items()),
        "UMask=0077",
        "",
        "# One signal to the pool, which ends its workers; who is left after the time limit is killed.",
        "KillMode=mixed",
        f"TimeoutStartSec={spec.start_timeout_s:g}",
        f"TimeoutStopSec={spec.stop_timeout_s:g}",
        "Restart=on-failure",
        f"RestartSec={spec.restart_delays_s[0]}",
        "",
        "# Control groups for the workers' limits.",
        "Delegate=yes",
        "LimitNOFILE=65536",
        "",
        *_places(spec),
        *(_SHARED_TMP if _is_temporary(spec) else ("PrivateTmp=yes",)),
        *_HARDENING,
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


def other_folders(spec: ServiceSpec) -> Iterator[str]:
    """Those that systemd does not make."""
    return (folder for folder in spec.folders if _own_place(folder) is None)


def _places(spec: ServiceSpec) -> Iterator[str]:
    for folder in spec.folders:
        if found := _own_place(folder):
            yield f"{found[0]}={_quoted(found[1])}"
            yield f"{found[0]}Mode=0700"
    if others := [*other_folders(spec), *(f"-{folder}" for folder in spec.shared_folders)]:
        yield f"ReadWritePaths={' '.join(_quoted(folder) for folder in others)}"


def _is_temporary(spec: ServiceSpec) -> bool:
    """Whether anything of it lies where a temporary folder of its own would hide it."""
    places = (*spec.command, *spec.folders, *spec.shared_folders)
    return any(part.rpartition("=")[2].startswith(("/tmp/", "/var/tmp/")) for part in places)  # noqa: S108


def _own_place(folder: str) -> tuple[str, str] | None:
    for place, directive in _OWN_PLACES.items():
        path = PurePosixPath(folder)
        if ":" in folder:
            continue  # newer versions of systemd take what follows for the name of a link
        if path.is_relative_to(place) and path != PurePosixPath(place):
            return directive, str(path.relative_to(place))
    return None


def _quoted(text: str, *, is_argument: bool = False) -> str:
    """One word, as systemd takes it apart again; in an argument `$` is not a variable of ours."""
    text = _escaped(text)
    if is_argument:
        text = text.replace("$", "$$")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if escaped != text or set(escaped) & set(" ';\"") else escaped


def _escaped(text: str) -> str:
    if any(ord(character) < 32 for character in text):
        raise ServiceProblem(f"{text!r} has a control character, which no unit of systemd can hold")
    return text.replace("%", "%%")
