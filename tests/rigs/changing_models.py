"""A model repository that a test changes under an engine whose back end has no processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import MODELS, until

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import ModelDescription
from torchgate.engine.catalog import read_catalog, read_model
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings, ModelsSettings

OWNER_SETTINGS = (MODELS / "owner" / "model.toml").read_text(encoding="utf-8")
OWNER_CODE = (MODELS / "owner" / "1" / "model.py").read_text(encoding="utf-8")


class ChangingModels:
    """The folder, and the engine that serves it.

    Args:
        folder: empty.
        settings: of `[engine]`.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.back_end = InProcessBackEnd()
        self.events: list[LifecycleEvent] = []
        self.models_settings = ModelsSettings(folder=folder, allow_code=("owner", "other"))
        values = {"section_bytes": 1 << 20, **settings}
        self.settings = EngineSettings(**values)  # type: ignore[arg-type]
        self.engine: Scheduler = self.new_engine()

    def new_engine(self) -> Scheduler:
        """As after a restart."""
        catalog, _ = read_catalog(self.models_settings)
        return Scheduler(
            catalog,
            self.back_end,
            self.settings,
            on_lifecycle=self.events.append,
            read=lambda name: read_model(self.models_settings, name),
        )

    async def start(self) -> Scheduler:
        """Serve what is there now."""
        self.engine = self.new_engine()
        await self.engine.start()
        await until(lambda: self.engine.is_warm and not self.engine._repository._tasks)
        return self.engine

    def write(self, version: str = "1", *, name: str = "owner", mark: str = "") -> Path:
        """A version of the owner model, whose file differs by the mark; its folder."""
        model = self.folder / name
        version_folder = model / version
        version_folder.mkdir(parents=True, exist_ok=True)
        if not (model / "model.toml").exists():
            self.configure("", name=name)
        (version_folder / "model.py").write_text(f"{OWNER_CODE}\n# {mark}\n", encoding="utf-8")
        return version_folder

    def configure(self, first_lines: str, *, name: str = "owner") -> None:
        """model.toml, with these lines before the rest."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / name / "model.toml").write_text(f"{first_lines}\n{OWNER_SETTINGS}", encoding="utf-8")

    def golden(self, version: str, *, answer: int) -> None:
        """What the version must answer to the number 4; 9 is right."""
        golden: Mapping[str, object] = {
            "inputs": [{"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [4]}],
            "outputs": [{"name": "double", "shape": [1, 1], "datatype": "INT64", "data": [answer]}],
        }
        (self.folder / "owner" / version / "golden.json").write_text(json.dumps(golden), encoding="utf-8")

    def remove(self, version: str | None = None, *, name: str = "owner") -> None:
        """Take a version, or the model, away."""
        shutil.rmtree(self.folder / name / (version or ""))

    def description(self, version: str = "1", *, name: str = "owner") -> ModelDescription:
        """What the engine says of it."""
        found = self.engine.describe(ModelRef(name, version))
        assert found is not None
        return found

    @property
    def default(self) -> str:
        """What a bare name means."""
        ref = self.engine.resolve("owner", None)
        return "" if ref is None else ref.version
