"""What a worker is given to load: nothing that anybody but us could have changed since it was verified."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import until
from tests.rigs.signed_models import SignedModels

from torchgate.engine.catalog import read_catalog, read_model
from torchgate.engine.digest import DigestRefused, folder_digest
from torchgate.engine.model_signature import SIGNATURE_FILE
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings, ModelsSettings
from torchgate.engine.trusted_code import SignedCode, nothing_signed


@pytest.fixture
def models(tmp_path: Path) -> SignedModels:
    made = SignedModels(tmp_path / "models ü")
    made.sign()
    return made


def code(models: SignedModels, made: list[Path] | None = None) -> SignedCode:
    copies = models.folder.parent / "state" / "models"

    def make_private(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if made is not None:
            made.append(folder)

    return SignedCode(models.trust(), copies, make_private)


def copies(models: SignedModels) -> list[Path]:
    return sorted((models.folder.parent / "state" / "models" / "some" / "1").iterdir())


def test_a_signed_version_is_loaded_from_a_verified_copy_in_a_private_folder(models: SignedModels):
    made: list[Path] = []
    entry = models.entry()
    found = code(models, made).examine(entry)
    assert found.signer == "release"
    assert found.digest == folder_digest(Path(found.folder)) == folder_digest(Path(entry.artifact.folder))
    assert made == [models.folder.parent / "state" / "models"]
    assert Path(found.folder).is_relative_to(made[0])


def test_an_attacker_who_alters_the_repository_after_the_examination_reaches_no_worker(models: SignedModels):
    found = code(models).examine(models.entry())
    (models.folder / "some" / "1" / "model.py").write_bytes(b"evil")
    assert b"evil" not in (Path(found.folder) / "model.py").read_bytes()


def test_nothing_of_a_version_that_is_refused_is_left_behind(models: SignedModels):
    (models.folder / "some" / "1" / "more.py").write_bytes(b"evil")
    with pytest.raises(DigestRefused, match=r"'more\.py' was added"):
        code(models).examine(models.entry())
    assert copies(models) == []


@pytest.mark.linux("links without a privilege")
def test_a_signed_version_with_a_link_in_it_is_refused(models: SignedModels):
    folder = models.folder / "some" / "1"
    (folder / "weights.bin").rename(folder / "real.bin")
    (folder / "weights.bin").symlink_to("real.bin")
    models.sign()
    with pytest.raises(DigestRefused, match="is a link"):
        code(models).examine(models.entry())


@pytest.mark.linux("links without a privilege")
def test_an_attacker_who_links_the_signature_to_another_file_is_refused(models: SignedModels):
    signature = models.folder / "some" / "1" / SIGNATURE_FILE
    outside = models.folder.parent / "outside.sig"
    signature.rename(outside)
    signature.symlink_to(outside)
    with pytest.raises(DigestRefused, match="leads out of"):
        code(models).examine(models.entry())


def test_a_copy_that_serves_is_not_removed_by_later_ones(models: SignedModels):
    examined = code(models)
    serving = examined.examine(models.entry()).folder
    for _ in range(4):
        examined.examine(models.entry())
    assert Path(serving) in copies(models)


async def test_a_version_loaded_again_and_again_leaves_the_copy_that_serves(models: SignedModels):
    settings = ModelsSettings(folder=models.folder.absolute())
    catalog, _ = read_catalog(settings)
    engine = Scheduler(
        catalog,
        InProcessBackEnd(),
        EngineSettings(),
        examine_signed=code(models).examine,
        read=lambda name: read_model(settings, name),
    )
    await engine.start()
    await until(lambda: engine.is_warm and not engine._repository._tasks)
    first = copies(models)
    for _ in range(3):
        await engine.load("some", None, by="ops", force=True)
    await until(lambda: len(copies(models)) == 1)
    assert copies(models) != first
    await engine.stop(1)


def test_copies_that_a_former_process_left_are_removed(models: SignedModels):
    code(models).examine(models.entry())
    former = copies(models)
    code(models).examine(models.entry())
    assert not set(former) & set(copies(models))


async def test_the_engine_gives_a_back_end_the_copy_of_a_signed_version_and_never_an_altered_one(models: SignedModels):
    models.write("altered")
    models.sign("altered")
    with (models.folder / "altered" / "1" / "model.py").open("ab") as file:
        file.write(b"# evil")
    catalog, findings = read_catalog(ModelsSettings(folder=models.folder.absolute()))
    back_end = InProcessBackEnd()
    engine = Scheduler(catalog, back_end, EngineSettings(), examine_signed=code(models).examine)
    assert findings == []
    await engine.start()
    await until(lambda: engine.is_warm)
    states = {description.ref.name: description for description in engine.models()}
    assert (states["some"].state, states["altered"].state) == ("ready", "failed")
    assert "file 'model.py' was altered" in states["altered"].reason
    loaded = [version.artifact for version in back_end.versions.values()]
    assert [Path(artifact.folder) for artifact in loaded] == copies(models)
    assert [artifact.digest for artifact in loaded] == [states["some"].digest]
    await engine.stop(0)


def test_where_no_signers_are_known_nothing_counts_as_signed(models: SignedModels):
    with pytest.raises(DigestRefused, match="not allowed by name"):
        nothing_signed(models.entry())


def test_a_version_that_is_allowed_by_name_is_copied_with_what_its_links_lead_to(models: SignedModels):
    """The copy has the digest of the folder, and goes on as it was whatever becomes of that."""
    entry = models.entry()
    folder = Path(entry.artifact.folder)
    try:
        (folder / "again.bin").symlink_to(next(path for path in folder.iterdir() if path.is_file()))
    except OSError:  # Windows without the right to make links
        (folder / "again.bin").write_bytes(b"no link")
    before = folder_digest(folder)
    found = code(models).copied(entry)
    assert (found.digest, found.signer) == (before, "")
    assert Path(found.folder) in copies(models)
    (folder / "model.py").write_bytes(b"other")
    (folder / "new.bin").write_bytes(b"new")
    assert folder_digest(Path(found.folder)) == before
