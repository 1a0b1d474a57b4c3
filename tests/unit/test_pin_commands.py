"""`torchgate pin`, as a person types it: a lock of this very installation, and what is said when something changes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from tests.fakes.recorded_installation import recorded_facts
from tests.rigs.local_workers import PACKAGE_FOLDER, Children

from torchgate import engine_composition, pin_commands
from torchgate.cli import main
from torchgate.engine.pin.lock import DriverFloor, lock_of, lock_text, read_lock
from torchgate.engine.pin.surveyor import Surveyor
from torchgate.project import create_project

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]
REPOSITORY = Path(__file__).parents[2]


def real_children() -> tuple[object, None]:
    """Children that find the package where this process found it, though it may not be installed."""
    return Children(module_folders=(PACKAGE_FOLDER,)), None


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of `init`, locked as this machine is."""
    folder = tmp_path_factory.mktemp("a project ü") / "project"
    create_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_composition, "operating_system", real_children)
        assert main(["pin", str(folder)]) == 0
    return folder


@pytest.fixture
def project(locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which the test may change."""
    monkeypatch.setattr(engine_composition, "operating_system", real_children)
    folder = tmp_path / "project ö"
    create_project(folder)
    (folder / "torchgate.lock").write_bytes((locked / "torchgate.lock").read_bytes())
    return folder


def break_surveys(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """From here on the throw-away process is one that breaks."""
    children = Children(module_folders=(PACKAGE_FOLDER, REPOSITORY))

    def surveyor(settings) -> Surveyor:
        made = engine_composition.surveyor(settings)
        return Surveyor(
            lambda: children,
            {**made._environment, "TEST_BREAKS": how},
            settings.pin.timeout_s,
            module="tests.rigs.broken_surveyor",
        )

    monkeypatch.setattr(pin_commands, "surveyor", surveyor)


def test_what_was_locked_is_verified_and_locked_again_is_the_same_text(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    text = (project / "torchgate.lock").read_bytes()
    assert main(["pin", str(project)]) == 0
    assert (project / "torchgate.lock").read_bytes() == text
    assert capsys.readouterr().out.startswith(f"wrote {project / 'torchgate.lock'}: torch ")
    assert main(["pin", "--verify", "--json", str(project)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "lock": str(project / "torchgate.lock"), "verified": True, "mismatches": []
    }  # fmt: skip


def test_what_differs_is_told_with_locked_seen_and_remedy(project: Path, capsys: pytest.CaptureFixture[str]):
    file = project / "torchgate.lock"
    lock = read_lock(file)
    assert lock is not None
    file.write_bytes(file.read_bytes().replace(lock.torch.git.encode(), b"feedface"))
    with (project / "models" / "doubler" / "1" / "model.py").open("ab") as model:
        model.write(b"# altered")
    assert main(["pin", "--verify", str(project)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0:3] == ["torch.git", "  locked  feedface", f"  seen    {lock.torch.git}"]
    assert said[3].startswith("  remedy  Install the torch that is locked")
    assert said[4] == "models.doubler:1"
    assert said[-1] == f"{file}: NOT what is here: 2 facts."
    assert main(["pin", str(project)]) == 0
    changes = capsys.readouterr().out.splitlines()
    assert changes[0] == f"torch.git: feedface -> {lock.torch.git}"
    assert changes[1].startswith("models.doubler:1: sha256:")


def test_a_process_that_dies_or_hangs_is_told_and_nothing_is_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    text = (project / "torchgate.lock").read_bytes()
    break_surveys(monkeypatch, "torch:dies")
    assert main(["pin", str(project)]) == 1
    assert "the throw-away process ended while it was importing torch" in capsys.readouterr().err
    assert main(["pin", "--verify", str(project)]) == 1
    assert "  seen    the throw-away process ended while it was importing torch" in capsys.readouterr().out
    break_surveys(monkeypatch, "canary:hangs")
    assert main(["pin", "--timeout-s", "8", str(project)]) == 1
    assert "cuda:0: the throw-away process took longer than 8 s and was ended" in capsys.readouterr().err
    assert (project / "torchgate.lock").read_bytes() == text


def test_a_device_that_did_not_compute_is_not_locked(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    break_surveys(monkeypatch, "nowhere:at all")
    (project / "torchgate.lock").unlink()
    assert main(["pin", str(project)]) == 1
    assert "not every device computes, and nothing was written: cpu: it was not asked" in capsys.readouterr().err
    assert not (project / "torchgate.lock").exists()


@pytest.mark.parametrize(
    ("before", "here", "after"),
    [
        (("580.65.06", 13000), ("580.95.05", 13000), ("580.65.06", 13000)),
        (("590.44.01", 13010), ("580.95.05", 13000), ("580.95.05", 13000)),
        (("", 0), ("580.95.05", 13000), ("580.95.05", 13000)),
        (("580.95.05", 13000), ("", 0), ("", 0)),
    ],
)
def test_floors_that_somebody_lowered_stay_while_the_torch_is_the_same(
    before: tuple[str, int], here: tuple[str, int], after: tuple[str, int]
):
    machine = lock_of(recorded_facts("h200"), {}, {})
    was, now = (msgspec.structs.replace(machine, driver=DriverFloor(*floors)) for floors in (before, here))
    assert pin_commands._with_floors_of(was, now).driver == DriverFloor(*after)
    other = msgspec.structs.replace(was, torch=msgspec.structs.replace(was.torch, version="2.12.0+cu130"))
    assert pin_commands._with_floors_of(other, now) == now


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--files"], "say --verify with it"),
        (["--timeout-s", "0"], "--timeout-s: '0' is no number of seconds above 0, at most 3600"),
        (["--timeout-s", "nan"], "--timeout-s: 'nan' is no number of seconds"),
        (["--verify", "--set", "pin.mode=maybe"], "pin.mode"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_command_line(
    project: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    try:
        code: object = main(["pin", *arguments, str(project)])
    except SystemExit as ended:  # argparse's way
        code = ended.code
    assert code == 2
    assert words in capsys.readouterr().err


def test_without_a_lock_there_is_nothing_to_verify(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "torchgate.lock").unlink()
    assert main(["pin", "--verify", str(project)]) == 1
    assert "is not there, so that nothing is locked. Write it: torchgate pin" in capsys.readouterr().err


def test_a_lock_that_is_none_is_refused_and_can_be_replaced(project: Path, capsys: pytest.CaptureFixture[str]):
    file = project / "torchgate.lock"
    file.write_text("wheels = 3", encoding="utf-8")
    assert main(["pin", "--verify", str(project)]) == 1
    assert "has format no number" in capsys.readouterr().err
    assert main(["pin", str(project)]) == 0
    assert "It is replaced." in capsys.readouterr().err
    lock = read_lock(file)
    assert lock is not None
    assert file.read_text(encoding="utf-8") == lock_text(lock)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("models/new/model.toml", b"x = ", "model.toml:1: error: is not TOML"),
        ("models/new/model.toml", b"\xff\xfe", "model.toml: error: is not UTF-8"),
        ("models/new/1/readme", b"", "model.toml: error: can't be read"),
        ("models/doubler/2/readme", b"", "model.py"),
    ],
)
def test_a_model_with_a_mistake_is_neither_locked_nor_verified(
    project: Path, file: str, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
):
    """The lock stays: one without the broken model would let it in unseen."""
    (project / file).parent.mkdir(parents=True)
    (project / file).write_bytes(content)
    text = (project / "torchgate.lock").read_bytes()
    assert main(["pin", str(project)]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "these mistakes; nothing was written. `torchgate check` examines the rest." in said
    assert (project / "torchgate.lock").read_bytes() == text


def test_a_mistake_beside_what_is_locked_is_no_verified_project(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "models" / "new" / "1").mkdir(parents=True)
    assert main(["pin", "--verify", "--json", str(project)]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["verified"] is False
    assert str(Path("models", "new", "model.toml")) in said.err


def test_without_a_models_folder_nothing_is_locked(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "models").rename(project / "elsewhere")
    assert main(["pin", str(project)]) == 1
    assert f"{project / 'torchgate.toml'}:" in capsys.readouterr().err


def test_a_lock_that_can_not_be_replaced_is_named_and_no_draft_is_left(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    file = project / "torchgate.lock"
    file.unlink()
    file.mkdir()
    assert main(["pin", str(project)]) == 1
    said = capsys.readouterr().err
    assert f"{file} can't be written: " in said
    assert ".draft" not in said
    assert not (project / "torchgate.draft").exists()
