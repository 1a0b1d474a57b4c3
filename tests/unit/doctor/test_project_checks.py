"""What the project says: findings of `check`, secrets that can be read, a trail that can be continued."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import only, verdicts, world_of

from torchgate.composition import private_folders
from torchgate.contract.findings import Finding
from torchgate.doctor import project_checks
from torchgate.secret_places import private_files
from torchgate.telemetry.signing_key import open_signer


def test_everything_that_check_finds_is_told_in_its_place(tmp_path: Path):
    (tmp_path / "models").mkdir()
    found = list(project_checks.configuration(world_of(tmp_path, '[gate]\nbind = "x"\n[engine]\nstandbys = 0\n')))
    assert "address:port" in only(found, "red").seen
    assert only(found, "red").place.endswith("torchgate.toml:2 gate.bind")
    assert "no worker stands by" in only([one for one in found if "standbys" in one.place], "amber").seen


def test_a_file_that_is_no_toml_is_told_and_examined_no_further(tmp_path: Path):
    (tmp_path / "models").mkdir()
    found = list(project_checks.configuration(world_of(tmp_path, "[[[")))
    assert found[0].verdict == "red"


def test_what_is_good_to_know_is_ok():
    found = project_checks.of_finding(Finding("info", "it is so.", remedy="Nothing to do."))
    assert (found.verdict, found.seen) == ("ok", "it is so. Nothing to do.")


SECRETS = '[secrets]\npepper = "file:pepper"\n'


def test_secrets_are_read_and_never_shown(tmp_path: Path):
    world = world_of(tmp_path, SECRETS)
    private_files().write_new(tmp_path / "pepper", b"hunter2")
    (found,) = project_checks.secrets(world)
    assert (found.verdict, found.seen) == ("ok", "pepper can be read (file:pepper).")


@pytest.mark.parametrize("kind", ["gone", "folder", "open to others"])
def test_a_secret_that_cannot_be_read_is_red(kind: str, tmp_path: Path):
    world = world_of(tmp_path, SECRETS)
    if kind == "folder":
        (tmp_path / "pepper").mkdir()
    elif kind == "open to others":
        (tmp_path / "pepper").write_bytes(b"hunter2")
        (tmp_path / "pepper").chmod(0o644)
    (found,) = project_checks.secrets(world)
    assert found.verdict == "red"
    assert "hunter2" not in str(found)


def test_without_secrets_there_is_nothing_to_read(tmp_path: Path):
    assert verdicts(project_checks.secrets(world_of(tmp_path))) == ["skipped"]


def test_a_trail_that_is_not_there_yet_is_no_trouble_and_is_not_made(tmp_path: Path):
    found = list(project_checks.audit(world_of(tmp_path)))
    assert set(verdicts(found)) <= {"ok", "amber"}
    assert [one.name for one in tmp_path.iterdir()] == ["torchgate.toml"]


def test_a_file_in_place_of_the_trail_is_red(tmp_path: Path):
    world = world_of(tmp_path)
    world.settings.state.folder.mkdir()
    world.settings.audit_folder.write_bytes(b"")
    assert "is no folder" in only(project_checks.audit(world), "red").seen


def test_a_trail_that_others_may_change_is_red(tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(open_to="everybody may write there"))
    world.settings.audit_folder.mkdir(parents=True)
    found = [one for one in project_checks.audit(world) if "everybody" in one.seen]
    assert verdicts(found) == ["red"]


def test_a_key_that_is_none_is_red_and_one_that_is_is_not(tmp_path: Path):
    world = world_of(tmp_path)
    keys = world.settings.state.folder / "keys"
    open_signer(keys, private_folders())
    assert "the signing key can be read." in [one.seen for one in project_checks.audit(world)]
    (keys / "audit-key.pem").write_bytes(b"no key")
    assert "holds no Ed25519 key" in only(project_checks.audit(world), "red").seen
