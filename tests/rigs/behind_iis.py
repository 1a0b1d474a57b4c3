"""A gate behind the stand-in for IIS, and who may ask it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.sleeping_model import INFER, LET_GO, SLOW_MS, begun, process_of, question

JSON = {"Content-Type": "application/json"}


@dataclass
class Behind:
    """A gate behind one of IIS's modules."""

    door: str
    project: KeyedProject
    iis: Iis
    key: str = "ann"

    @property
    def is_paired(self) -> bool:
        """Whether the module proves itself, and asks its process to end."""
        return self.iis.application.variant.has_pairing

    @property
    def pid(self) -> int:
        """Of the process that the module has started."""
        assert self.iis.worker.process is not None
        return self.iis.worker.process.pid

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        user: str | None = None,
    ) -> Answer:
        """By a key, which is ann's where nothing else is said; or as a Windows user."""
        own = {} if user is not None else {"X-API-Key": self.project.keys[self.key]}
        return self.iis.ask(method, path, {**own, **(headers or {})}, body, user=user)

    def infer(self, milliseconds: int = 0, headers: Mapping[str, str] | None = None) -> Answer:
        """A run of the model."""
        return self.ask("POST", INFER, {**JSON, **(headers or {})}, question(milliseconds))

    @contextmanager
    def under_way(
        self, pool: Path, headers: Mapping[str, str] | None = None, *, milliseconds: int = SLOW_MS
    ) -> Iterator[Future[Answer]]:
        """A slow request that the model has begun, and that it keeps no longer than the block.

        Args:
            pool: the folder of the project that has the model.
            milliseconds: that the model takes; HELD_MS where it must not be over before the block ends.
        """
        let_go = pool / LET_GO
        let_go.unlink(missing_ok=True)
        with ThreadPoolExecutor(1) as thread:
            with begun(pool / "pool.log"):
                asked = thread.submit(self.infer, milliseconds, headers)
            try:
                yield asked
            finally:
                let_go.touch()

    @contextmanager
    def offline(self, page: bytes, name: str = "app_offline.htm") -> Iterator[Path]:
        """While a file is in the application's folder; made whole elsewhere, and then moved there."""
        folder = self.iis.application.folder
        draft = folder.parent / f"{name}.draft"
        draft.write_bytes(page)
        file = draft.rename(folder / name)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    def model(self) -> int:
        """The process that answers for the model, with a warm one's answer."""
        answer = self.infer()
        assert answer.status == 200, (answer, self.iis.output())
        return process_of(answer.body)

    def requests(self) -> list[dict[str, Any]]:
        """Audit events of requests."""
        return [event for event in self.project.audit_events() if event.get("class_uid") == 6003]
