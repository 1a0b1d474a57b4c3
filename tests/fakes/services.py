"""Services of a machine that is not there."""

from __future__ import annotations

from collections.abc import Sequence

from torchgate.contract.services import ServiceProblem, ServiceSpec, ServiceStatus


class MemoryServices:
    """Implements contract.services.Services: no process is started; each has a number all the same.

    Args:
        refusal: what every change is refused with; empty: nothing.
        fails: an argument that has a program end with exit code 7 before it runs.
    """

    def __init__(self, *, refusal: str = "", fails: str = "fails") -> None:
        self._refusal = refusal
        self._fails = fails
        self._specs: dict[str, ServiceSpec] = {}
        self._pids: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._started = 0

    def planned(self, spec: ServiceSpec) -> Sequence[str]:
        return (f"command: {spec.command}",)

    def install(self, spec: ServiceSpec) -> Sequence[str]:
        self._may()
        if spec.name in self._specs:
            raise ServiceProblem(f"{spec.name}: it is there already")
        self._specs[spec.name] = spec
        return ()

    def uninstall(self, name: str, timeout_s: float) -> None:
        self.stop(name, timeout_s)
        del self._specs[name]

    def start(self, name: str, timeout_s: float) -> None:
        spec = self._found(name)
        self._may()
        if name in self._pids:
            return
        if self._fails in spec.command:
            self._codes[name] = 7
            raise ServiceProblem(f"{name} has ended at once, with 7")
        self._started += 1
        self._pids[name] = self._started

    def stop(self, name: str, timeout_s: float) -> None:
        self._found(name)
        self._may()
        self._pids.pop(name, None)
        self._codes[name] = 0

    def status(self, name: str) -> ServiceStatus:
        spec = self._found(name)
        pid = self._pids.get(name, 0)
        state = "running" if pid else "stopped"
        return ServiceStatus(state, spec.account, " ".join(spec.command), pid, self._codes.get(name, 0))

    def _found(self, name: str) -> ServiceSpec:
        if name not in self._specs:
            raise ServiceProblem(f"{name}: there is no such service")
        return self._specs[name]

    def _may(self) -> None:
        if self._refusal:
            raise ServiceProblem(self._refusal)
