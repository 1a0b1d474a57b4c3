"""What a server is told of its lock, and what becomes of its models; the survey itself is a function here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.fakes.recorded_installation import recorded_facts
from tests.rigs.engine_questions import until
from tests.rigs.signed_models import SignedModels

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import LoadFailed
from torchgate.engine.catalog import read_catalog, read_model
from torchgate.engine.digest import DigestRefused, folder_digest
from torchgate.engine.pin.lock import LOCK_FILE, lock_of, lock_text
from torchgate.engine.pin.settings import PinSettings
from torchgate.engine.pin.surveyor import Seen, SurveyEnded
from torchgate.engine.pin.verification import PinVerification
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings, ModelsSettings
from torchgate.engine.trusted_code import Examined, SignedCode, in_place

ANSWERS = {"cpu": {"matmul": (1.0, 2.0)}}
SEEN = Seen(recorded_facts("h200"), ANSWERS, {})


class Project:
    """A folder with one model `some:1`, whose code is allowed, and its lock."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / LOCK_FILE
        self.signed = SignedModels(folder / "models")
        self.settings = ModelsSettings(folder=self.signed.folder.absolute(), allow_code=("some", "other"))
        self.told: list[LifecycleEvent] = []
        self.surveys: list[tuple[str, ...]] = []
        self.take: Callable[[], Awaitable[Seen]] = self.sees(SEEN)

    def sees(self, seen: Seen) -> Callable[[], Awaitable[Seen]]:
        async def take() -> Seen:
            return seen

        return take

    def lock(self) -> None:
        """As the models lie there now, on the machine of SEEN."""
        catalog, _ = read_catalog(self.settings)
        models = {str(ref): folder_digest(Path(one.artifact.folder)) for ref, one in catalog.entries.items()}
        self.file.write_text(lock_text(lock_of(SEEN.facts, ANSWERS, models)), encoding="utf-8")

    def verification(self, mode: str = "enforce") -> PinVerification:
        async def survey(devices: tuple[str, ...]) -> Seen:
            self.surveys.append(devices)
            return await self.take()

        models = [str(ref) for ref in read_catalog(self.settings)[0].entries]
        settings = PinSettings.model_validate({"mode": mode})
        return PinVerification(self.file, settings, survey, models=models, on_lifecycle=self.told.append)

    def engine(self, mode: str = "enforce", *, copies: Path | None = None) -> Scheduler:
        verification = self.verification(mode)

        def plain(entry) -> Examined:
            return in_place(entry, folder_digest)

        examine = plain
        if copies is not None:
            from torchgate.engine.trust import Trust

            code = SignedCode(Trust(self.settings, copies), copies, lambda folder: folder.mkdir(exist_ok=True))
            examine = code.copied
        return Scheduler(
            read_catalog(self.settings)[0],
            InProcessBackEnd(),
            EngineSettings(),
            examine_allowed=verification.holding(examine),
            read=lambda name: read_model(self.settings, name),
            installation=verification,
        )

    def alter(self) -> None:
        with (self.signed.folder / "some" / "1" / "weights.bin").open("ab") as file:
            file.write(b"!")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.lock()
    return made


def state(engine: Scheduler, ref: str = "some:1") -> tuple[str, str]:
    description = engine.describe(ModelRef(*ref.split(":")))
    assert description is not None
    return description.state, description.reason


OTHER = msgspec.structs.replace(SEEN, facts=recorded_facts("h200_other_torch"))


async def test_what_is_locked_is_loaded_once_it_was_found_out(project: Project):
    going = asyncio.Event()

    async def take() -> Seen:
        await going.wait()
        return SEEN

    project.take = take
    engine = project.engine()
    await engine.start()
    await until(lambda: project.surveys == [("cpu",)])
    assert engine.not_ready_reason == "whether the installation is what torchgate.lock says is being found out"
    assert not engine.is_warm
    assert state(engine)[0] == "loading"
    going.set()
    await until(lambda: state(engine) == ("ready", ""))
    assert engine.not_ready_reason == ""
    assert project.told == []
    await engine.stop(1)


async def test_nothing_is_loaded_into_another_installation_and_everybody_is_told_why(project: Project):
    project.take = project.sees(OTHER)
    engine = project.engine()
    await engine.start()
    await until(lambda: engine.is_warm)
    facts = "torch.architectures, torch.cuda, torch.cudnn, and 1 more"
    assert engine.not_ready_reason == f"the installation is not what torchgate.lock says: {facts}"
    kind, reason = state(engine)
    assert kind == "failed"
    assert "torch.cuda: locked 13.0, seen 12.8. Install the torch that is locked, with its local tag" in reason
    (event,) = project.told
    assert (event.activity, event.subject) == ("failure", "installation")
    assert "seen 12.8" in event.sentence
    assert engine._back_end.versions == {}
    await engine.stop(1)


async def test_a_server_whose_survey_never_ends_can_be_stopped(project: Project):
    async def take() -> Seen:
        await asyncio.Event().wait()
        raise AssertionError

    project.take = take
    engine = project.engine()
    await engine.start()
    await until(lambda: project.surveys != [])
    await asyncio.wait_for(engine.stop(1), 120)


@pytest.mark.parametrize(
    ("error", "public", "private"),
    [
        (SurveyEnded("the process ended while it was importing torch", ["boom"]), "installation", "importing torch"),
        (RuntimeError("a bug"), "is not known", "a bug"),
    ],
)
async def test_what_could_not_be_found_out_is_not_verified(
    project: Project, error: Exception, public: str, private: str
):
    async def take() -> Seen:
        raise error

    project.take = take
    verification = project.verification()
    verification.start()
    assert private in await verification.refusal()
    assert public in verification.reason
    assert private not in verification.reason
    await verification.stop()


async def test_a_lock_that_is_none_is_no_absent_lock(project: Project):
    project.file.write_text("garbage", encoding="utf-8")
    verification = project.verification()
    verification.start()
    assert "is no lock" in await verification.refusal()
    assert verification.reason == "torchgate.lock can't be used"
    assert project.surveys == []
    with pytest.raises(DigestRefused, match="is no lock"):
        verification.holding(lambda entry: in_place(entry, folder_digest))(project.signed.entry())


async def test_without_a_lock_nothing_happens(project: Project):
    project.file.unlink()
    engine = project.engine()
    await engine.start()
    await until(lambda: state(engine) == ("ready", ""))
    assert engine.not_ready_reason == ""
    assert project.surveys == []
    await engine.stop(1)


@pytest.mark.parametrize(("mode", "surveys", "told"), [("warn", [("cpu",)], 1), ("off", [], 0)])
async def test_who_does_not_enforce_it_serves_all_the_same(
    project: Project, mode: str, surveys: list[tuple[str, ...]], told: int
):
    project.take = project.sees(OTHER)
    project.alter()
    engine = project.engine(mode)
    await engine.start()
    assert engine.not_ready_reason == ""
    await until(lambda: state(engine) == ("ready", "") and len(project.told) == told)
    assert project.surveys == surveys
    assert engine.not_ready_reason == ""
    await engine.stop(1)


async def test_a_model_that_was_altered_is_not_ready_and_the_others_are(project: Project):
    project.signed.write("other")
    project.lock()
    locked = folder_digest(project.signed.folder / "some" / "1")
    project.alter()
    engine = project.engine()
    await engine.start()
    await until(lambda: engine.is_warm)
    kind, reason = state(engine)
    assert kind == "failed"
    assert reason.startswith(f"not what torchgate.lock says: models.some:1: locked {locked}, seen sha256:")
    assert state(engine, "other:1") == ("ready", "")
    assert engine.not_ready_reason == ""
    await engine.stop(1)


async def test_a_model_that_is_not_in_the_lock_is_loaded_once_it_is(project: Project):
    engine = project.engine()
    await engine.start()
    await until(lambda: engine.is_warm)
    project.signed.write("other")
    with pytest.raises(LoadFailed) as failed:
        await engine.load("other", None, by="ops")
    assert "models.other:1: locked nothing, seen sha256:" in failed.value.detail
    project.lock()
    await engine.load("other", None, by="ops")
    assert state(engine, "other:1") == ("ready", "")
    await engine.stop(1)


async def test_a_locked_model_that_is_not_there_makes_the_server_unready_and_no_other_model(project: Project):
    project.signed.write("other")
    project.lock()
    (project.signed.folder / "other").rename(project.signed.folder / "_other")
    engine = project.engine()
    await engine.start()
    await until(lambda: engine.is_warm and "other:1" in engine.not_ready_reason)
    assert engine.not_ready_reason == "models of torchgate.lock are not there: other:1"
    assert state(engine) == ("ready", "")
    await engine.stop(1)


async def test_what_is_refused_leaves_no_copy(project: Project, tmp_path: Path):
    project.alter()
    copies = tmp_path / "copies"
    engine = project.engine(copies=copies)
    await engine.start()
    await until(lambda: engine.is_warm)
    assert state(engine)[0] == "failed"
    assert [path for path in copies.rglob("*") if path.is_file()] == []
    await engine.stop(1)
