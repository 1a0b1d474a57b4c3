"""The services of a machine that systemd runs, through its units and `systemctl`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from torchgate.contract.programs import ProgramAnswer, Programs
from torchgate.contract.services import ServiceProblem, ServiceSpec, ServiceState, ServiceStatus
from torchgate.posix.programs import PosixPrograms
from torchgate.posix.systemd_unit import MARK, other_folders, unit_text

_BOOTED = Path("/run/systemd/system")
"""Is there where systemd runs the machine. Source: sd_booted(3)."""

_UNITS = Path("/etc/systemd/system")
_SYSTEMCTL_S = 30.0
_STATES: dict[str, ServiceState] = {
    "active": "running",
    "reloading": "running",
    "activating": "starting",
    "deactivating": "stopping",
}
_SHOWN = ("LoadState", "ActiveState", "SubState", "MainPID", "ExecMainStatus", "User", "ExecStart")

if sys.platform != "win32":
    import pwd

    class SystemdServices:
        """Implements contract.services.Services.

        Args:
            units: where files of units go.
            programs: runs `systemctl`.
        """

        def __init__(self, *, units: Path = _UNITS, programs: Programs | None = None) -> None:
            self._units = units
            self._programs = programs or PosixPrograms()

        def planned(self, spec: ServiceSpec) -> Sequence[str]:
            """The unit's lines."""
            return unit_text(spec).splitlines()

        def install(self, spec: ServiceSpec) -> Sequence[str]:
            """Write the unit, and have systemd start it with the system."""
            text, unit = unit_text(spec), self._unit(spec.name)
            _must_be_booted()
            account = _account(spec.account)
            if unit.exists():
                raise ServiceProblem(f"{spec.name} is there already. `torchgate service uninstall` takes it away")
            try:
                for folder in map(Path, other_folders(spec)):
                    _make_folder(folder, account)
                unit.write_text(text, encoding="utf-8")
            except OSError as error:
                raise ServiceProblem(_refused(error)) from None
            try:
                self._systemctl("daemon-reload")
                self._systemctl("enable", f"{spec.name}.service")
            except ServiceProblem:
                unit.unlink(missing_ok=True)
                raise
            return ()

        def uninstall(self, name: str, timeout_s: float) -> None:
            """Stop it, and take its file away."""
            unit = self._unit(name)
            self._shown(name)
            if not unit.is_file() or MARK not in unit.read_text(encoding="utf-8", errors="replace"):
                raise ServiceProblem(f"{name}: {unit} was not written by us. Take that service away as it was made")
            self.stop(name, timeout_s)
            self._systemctl("disable", f"{name}.service")
            try:
                unit.unlink()
            except OSError as error:
                raise ServiceProblem(_refused(error)) from None
            self._systemctl("daemon-reload")
            # Else systemd remembers the failure of what is no more.
            self._run(("reset-failed", f"{name}.service"), _SYSTEMCTL_S)

        def start(self, name: str, timeout_s: float) -> None:
            """Start it; systemd waits until it says that it is ready."""
            self._shown(name)
            self._systemctl("start", f"{name}.service", timeout_s=timeout_s)

        def stop(self, name: str, timeout_s: float) -> None:
            """Stop it and wait."""
            self._shown(name)
            self._systemctl("stop", f"{name}.service", timeout_s=timeout_s)

        def status(self, name: str) -> ServiceStatus:
            """How it is."""
            shown = self._shown(name)
            command = re.search(r"argv\[\]=(.*?) ; ", shown["ExecStart"])
            waits = shown["SubState"] == "auto-restart"  # nothing runs until the delay after a failure is over
            return ServiceStatus(
                "stopped" if waits else _STATES.get(shown["ActiveState"], "stopped"),
                shown["User"] or "root",
                command[1] if command else "",
                int(shown["MainPID"] or 0),
                int(shown["ExecMainStatus"] or 0),
            )

        def _unit(self, name: str) -> Path:
            return self._units / f"{name}.service"

        def _shown(self, name: str) -> dict[str, str]:
            """What systemd knows of it.

            Raises:
                ServiceProblem: nothing.
            """
            _must_be_booted()
            answer = self._systemctl("show", f"{name}.service", f"--property={','.join(_SHOWN)}")
            pairs = (line.partition("=") for line in answer.output.splitlines())
            shown = dict.fromkeys(_SHOWN, "") | {key: value for key, _, value in pairs}
            if shown["LoadState"] == "not-found":
                raise ServiceProblem(f"{name}: there is no such service. `torchgate service install` makes it")
            return shown

        def _systemctl(self, *arguments: str, timeout_s: float = _SYSTEMCTL_S) -> ProgramAnswer:
            answer = self._run(arguments, timeout_s)
            if answer.code:
                said = " ".join(answer.output.split()).rstrip(".") or f"exit code {answer.code}"
                raise ServiceProblem(f"systemctl {arguments[0]}: {said}")
            return answer

        def _run(self, arguments: Sequence[str], timeout_s: float) -> ProgramAnswer:
            try:
                return self._programs.run(["systemctl", "--no-ask-password", *arguments], timeout_s)
            except (OSError, TimeoutError) as error:
                raise ServiceProblem(f"systemctl {arguments[0]}: {error}") from None

    def _must_be_booted() -> None:
        if not _BOOTED.is_dir():
            raise ServiceProblem(
                "systemd does not run this machine, and so it keeps no services. `--dry-run` prints the unit for "
                "another one; here start `torchgate pool` itself"
            )

    def _account(name: str) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            raise ServiceProblem(
                f"there is no account {name!r}. Make it (useradd --system --no-create-home {name}), or name another "
                "by --account"
            ) from None

    def _make_folder(folder: Path, account: pwd.struct_passwd) -> None:
        """For the service's account alone, where it is not there yet; what is there stays as it is.

        Raises:
            ServiceProblem: somebody has put another folder into its place.
        """
        if folder.is_dir():
            return
        folder.mkdir(parents=True, mode=0o700)
        # By its descriptor: whoever owns the folder above may put a link to any other one into its place meanwhile.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(opened).st_uid != os.geteuid() or os.listdir(opened):  # noqa: PTH208 - by its descriptor
                raise ServiceProblem(f"{folder} is not the folder that was just made. Name one by --state-folder")
            os.fchown(opened, account.pw_uid, account.pw_gid)
        finally:
            os.close(opened)

    def _refused(error: OSError) -> str:
        if isinstance(error, PermissionError):
            return f"{error.filename}: it needs root. Say it again by sudo"
        return f"{error.filename}: {error.strerror or error}"
