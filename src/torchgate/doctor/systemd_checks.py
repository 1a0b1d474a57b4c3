"""Units of systemd that start the server: whether they let it work, keep others out, and stop it in time."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from torchgate.config import TorchgateSettings, read_configuration, without_secrets
from torchgate.contract.counted import counted
from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.doctor.gpu_checks import wanting_cuda
from torchgate.doctor.systemd_units import UNIT_FOLDERS, Unit, size_bytes, span_s, units_of
from torchgate.doctor.world import World
from torchgate.engine.catalog import read_catalog
from torchgate.service_commands import SPARE_S

_DEFAULT_STOP_S = 90.0
"""DefaultTimeoutStopSec. Source: systemd-system.conf(5)."""

_WORKER_BYTES = 1 << 30
"""What a worker with torch may take before its model; measured 250 MB for a CPU build, several times that with CUDA."""

_NO_NEW_PRIVILEGES = (
    "NoNewPrivileges", "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces",
    "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectClock",
    "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "DynamicUser", "LockPersonality",
    "ProtectHostname",
)  # fmt: skip
"""Each of them means it, for a service that is not root's. Source: systemd.exec(5)."""

_ROOT = {"", "root", "0"}


def units(world: World, folders: Sequence[Path] = UNIT_FOLDERS) -> Iterator[Diagnosis]:
    """Every unit that starts this project."""
    if world.is_windows:
        yield skipped("Linux alone has systemd; on Windows `torchgate service status` tells of the service.")
        return
    found = list(units_of(world.configuration.file, folders))
    for unit in found:
        settings = read_configuration(world.configuration.file, {}, unit.flags).settings
        if settings is None:
            remedy = "Correct --set in ExecStart; `torchgate check` with the same options says what is wrong."
            yield red(f"{unit.name} does not start with its options.", "a start", remedy, place=unit.place("ExecStart"))
            continue
        amiss = [one for check in _CHECKS for one in check(unit, settings, world)]
        yield from amiss
        if not amiss:
            yield ok(f"{unit.name} starts `torchgate {unit.command}`, and nothing is amiss.", place=str(unit.file))
    if not found:
        yield skipped("no unit of systemd starts this project.")


def _account(unit: Unit, _: TorchgateSettings, world: World) -> Iterator[Diagnosis]:
    user = unit.last("User")
    place, name = unit.place("User"), "" if user is None else user.value
    if unit.is_on("DynamicUser"):
        return
    if name in _ROOT:
        remedy = "Make an account for it (useradd --system), and write User= in [Service]."
        yield amber(f"{unit.name} runs as root.", "an account of its own", remedy, place=place)
    elif (uid := _uid(name)) is None:
        remedy = f"Make it: useradd --system {name}"
        yield red(f"there is no account {name}, and {unit.name} does not start.", name, remedy, place=place)
    elif f"(uid:{uid})" not in (here := world.machine.account()):
        seen = f"{unit.name} runs as {name}, and what stands here is true for {here}."
        remedy = f"Ask as that account: sudo -u {name} torchgate doctor {world.folder}"
        yield amber(seen, name, remedy, place=place)


def _state(unit: Unit, settings: TorchgateSettings, _: World) -> Iterator[Diagnosis]:
    """Whether it can write where it must."""
    folder = settings.state.folder
    user = unit.last("User")
    uid = None if user is None or unit.is_on("DynamicUser") else _uid(user.value)
    owner: int | None
    try:
        owner = folder.stat().st_uid
    except OSError:
        owner = uid  # it makes it, or nobody here may look
    if uid and owner != uid:
        remedy = f"chown -R {user.value if user else uid} {folder}, or name another state.folder."
        seen = f"{folder} belongs to uid:{owner}, and {unit.name} can't close it to others."
        yield red(seen, f"a state folder of uid:{uid}", remedy, place="state.folder")
    system, home = unit.last("ProtectSystem"), unit.last("ProtectHome")
    closing = "ProtectSystem" if system is not None and system.value == "strict" else ""
    if home is not None and home.value == "read-only" and folder.is_relative_to("/home"):
        closing = "ProtectHome"
    if closing and not any(folder.is_relative_to(place) for place in _writable(unit)):
        remedy = f"Write StateDirectory= for a folder in /var/lib, or ReadWritePaths={folder}"
        seen = f"{unit.name} leaves {folder} read-only, and without a state folder there is no server."
        yield red(seen, "a state folder that it may write", remedy, place=unit.place(closing))
    if home is not None and home.value.lower() in {"yes", "true", "on", "1", "tmpfs"}:
        for path in {folder, settings.models.folder}:
            if path.is_relative_to("/home") or path.is_relative_to("/root"):
                remedy = "Move it, e.g. below /srv; or ProtectHome=read-only with ReadWritePaths= for the state folder."
                yield red(f"{unit.name} hides {path}.", "a folder that it sees", remedy, place=home.place)


def _credentials(unit: Unit, settings: TorchgateSettings, _: World) -> Iterator[Diagnosis]:
    for setting in ("LoadCredential", "LoadCredentialEncrypted"):
        for given in unit.given.get(setting, ()):
            name, _colon, source = given.value.partition(":")
            if source.startswith("/") and not Path(source).exists():
                seen = f"{setting} {name} leads to {source}, which is not there, and {unit.name} does not start."
                yield red(seen, "a file", "Write the secret there, or correct the path.", place=given.place)
            where = f"/run/credentials/{unit.name}/{name}"
            if not any(where in reference for reference in settings.secrets.values()):
                seen = f"no secret of [secrets] reads the credential {name}."
                yield amber(seen, f'a reference "file:{where}"', "Refer to it, or take it away.", place=given.place)
    for given in unit.given.get("Environment", ()):
        if without_secrets(given.value) != given.value:
            remedy = "Take it out, treat it as known to others, and give a new one by LoadCredential=."
            seen = f"Environment= of {unit.name} holds what looks like a secret, and every account may read units."
            yield red(seen, "no secret in a unit", remedy, place=given.place)


def _memory(unit: Unit, settings: TorchgateSettings, _: World) -> Iterator[Diagnosis]:
    limit = unit.last("MemoryMax") or unit.last("MemoryLimit")
    size = None if limit is None else size_bytes(limit.value)
    entries = read_catalog(settings.models)[0].entries.values() if unit.command != "gate" else ()
    workers = sum(entry.artifact.replicas for entry in entries if not entry.mistake)
    if limit is not None and size is not None and size < workers * _WORKER_BYTES:
        needed = f"{counted(workers, 'worker')} with torch may take {workers} GiB"
        seen = f"MemoryMax is {limit.value}, and {needed} before any model."
        remedy = "Raise it, or have fewer replicas: the kernel ends workers, and requests get 503."
        yield amber(seen, f"at least {workers} GiB", remedy, place=limit.place)
    policy = unit.last("OOMPolicy")
    does_stop = policy.value in {"stop", "kill"} if policy is not None else not unit.given.get("Delegate")
    if workers and does_stop:
        seen = f"{unit.name} is stopped as a whole when one worker runs out of memory (OOMPolicy)."
        yield amber(seen, "OOMPolicy=continue", "Write it in [Service].", place=unit.place("OOMPolicy"))


def _rights(unit: Unit, settings: TorchgateSettings, world: World) -> Iterator[Diagnosis]:
    if unit.command != "gate" and (hiding := _hides_gpus(unit)):
        wanting = wanting_cuda(world)
        seen = f"{hiding} hides GPUs from {unit.name}{f', and {next(iter(wanting))} wants one' if wanting else ''}."
        remedy = f"Take {hiding.partition('=')[0]} out; DeviceAllow= for each NVIDIA device is fragile."
        make = red if wanting else amber
        yield make(seen, "devices that models may use", remedy, place=unit.place(hiding.partition("=")[0]))
    if unit.is_on("MemoryDenyWriteExecute") and unit.command != "gate":
        remedy = "Take it out: PyTorch compiles while it runs."
        place = unit.place("MemoryDenyWriteExecute")
        yield red(f"{unit.name} has MemoryDenyWriteExecute.", "memory that code may be made in", remedy, place=place)
    said = unit.last("NoNewPrivileges")
    if not any(unit.given.get(name) for name in _NO_NEW_PRIVILEGES) or (
        said is not None and not unit.is_on("NoNewPrivileges")
    ):
        seen = f"code of a model may become another account by a setuid program in {unit.name}."
        yield amber(seen, "NoNewPrivileges=yes", "Write it in [Service].", place=unit.place("NoNewPrivileges"))
    families = unit.words("RestrictAddressFamilies")
    if families and not families[0].startswith("~") and "AF_UNIX" not in families:
        place = unit.place("RestrictAddressFamilies")
        seen = f"{unit.name} may have no local sockets, and engine and workers speak by them."
        yield red(seen, "AF_UNIX among them", "Add AF_UNIX.", place=place)


def _stopping(unit: Unit, settings: TorchgateSettings, _: World) -> Iterator[Diagnosis]:
    given = unit.last("TimeoutStopSec") or unit.last("TimeoutSec")
    stop_s = _DEFAULT_STOP_S if given is None else span_s(given.value)
    wanted_s = settings.gate.drain_s + SPARE_S
    if stop_s is not None and stop_s < wanted_s:
        shown = f"{stop_s:g} s{'' if given else ', the default'}"
        seen = (
            f"{unit.name} is killed {shown} after it was told to stop, and gate.drain_s is {settings.gate.drain_s:g}."
        )
        remedy = f"Write TimeoutStopSec={math.ceil(wanted_s)} in [Service], or lower gate.drain_s."
        yield amber(seen, f"{wanted_s:g} s", remedy, place=unit.place("TimeoutStopSec"))
    mode = unit.last("KillMode")
    if mode is not None and mode.value in {"process", "none"}:
        seen = f"KillMode={mode.value} leaves workers behind where {unit.name} does not end by itself."
        yield amber(seen, "KillMode=mixed", "Write it in [Service].", place=mode.place)


def _control_groups(unit: Unit, settings: TorchgateSettings, _: World) -> Iterator[Diagnosis]:
    delegate = unit.last("Delegate")
    has = delegate is not None and delegate.value.lower() not in {"no", "false", "off", "0"}
    if not has and unit.command != "gate" and settings.engine.control_group != "off":
        seen = f"{unit.name} gives its workers no control groups, and some of their limits are not held."
        yield amber(seen, "Delegate=yes", "Write it in [Service].", place=unit.place("Delegate"))


def _hides_gpus(unit: Unit) -> str:
    """The setting that does; empty: none, or single devices are let in again."""
    if any("nvidia" in one.value for one in unit.given.get("DeviceAllow", ())):
        return ""
    if unit.is_on("PrivateDevices"):
        return "PrivateDevices=yes"
    policy = unit.last("DevicePolicy")
    if policy is not None and policy.value in {"closed", "strict"}:
        return f"DevicePolicy={policy.value}"
    return "ProtectClock=yes" if unit.is_on("ProtectClock") else ""


def _writable(unit: Unit) -> Iterator[Path]:
    for setting, root in (
        ("StateDirectory", "/var/lib"),
        ("RuntimeDirectory", "/run"),
        ("CacheDirectory", "/var/cache"),
    ):
        yield from (Path(root, word.partition(":")[0]) for word in unit.words(setting))
    for setting in ("ReadWritePaths", "BindPaths"):
        yield from (Path(re.sub(r"^[-+]+", "", word).partition(":")[0]) for word in unit.words(setting))


def _uid(name: str) -> int | None:
    if sys.platform == "win32":
        return None
    from torchgate.posix.accounts import uid_of  # here: it exists on this system alone

    return uid_of(name)


_CHECKS = (_account, _state, _credentials, _memory, _rights, _stopping, _control_groups)
