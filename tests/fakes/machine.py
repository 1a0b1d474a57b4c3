"""A machine whose facts a test chooses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchgate.contract.diagnosis import Diagnosis
from torchgate.contract.machine import PortHolder
from torchgate.contract.programs import ProgramAnswer


@dataclass
class FixedMachine:
    """Implements contract.machine.Machine; a fact that is an exception is raised."""

    holders: dict[int, tuple[PortHolder, ...]] = field(default_factory=dict)
    reserved: str | OSError = ""
    versions: dict[str, str] = field(default_factory=dict)
    registry: dict[tuple[str, str], int | str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    logged: tuple[str, ...] | OSError = ()
    open_to: str | OSError = ""
    around: tuple[str, ...] = ()
    job: tuple[int, ...] | OSError = ()
    granted: tuple[Diagnosis, ...] = ()
    name: str = "somebody"

    def account(self) -> str:
        return self.name

    def writers(self, folder: Path) -> str:
        folder.stat()
        return _said(self.open_to)

    def swappers(self, folder: Path) -> tuple[str, ...]:
        return self.around

    def port_holders(self, port: int) -> tuple[PortHolder, ...]:
        return self.holders.get(port, ())

    def reservations(self, port: int) -> str:
        return _said(self.reserved)

    def file_version(self, file: Path) -> str:
        if file.name not in self.versions:
            file.stat()
        return self.versions.get(file.name, "")

    def registry_value(self, key: str, name: str) -> int | str | None:
        return self.registry.get((key, name))

    def missing_libraries(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.missing)

    def events(self, providers: Collection[str], within_s: float) -> tuple[str, ...]:
        if isinstance(self.logged, OSError):
            raise self.logged
        return self.logged

    def job_processes(self) -> tuple[int, ...]:
        if isinstance(self.job, OSError):
            raise self.job
        return self.job

    def limits(self) -> tuple[Diagnosis, ...]:
        return self.granted


@dataclass
class FixedPrograms:
    """Implements contract.programs.Programs: one answer for every question."""

    answer: ProgramAnswer | OSError | TimeoutError
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, arguments: Sequence[str], timeout_s: float) -> ProgramAnswer:
        self.asked.append(tuple(arguments))
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def _said(fact: str | OSError) -> str:
    if isinstance(fact, OSError):
        raise fact
    return fact
