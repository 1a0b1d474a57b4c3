"""`models keygen`, `sign` and `verify`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rigs.signed_models import SignedModels

from torchgate.cli import main
from torchgate.engine.model_signature import SIGNATURE_FILE

PEM_OF_NOTHING = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One unsigned model `some`, and a key that the project trusts."""
    folder = tmp_path / "a project ü"
    SignedModels(folder / "models")
    return folder


def trusting(project: Path, capsys: pytest.CaptureFixture[str], more: str = "") -> Path:
    """Make a key, and let the project trust it; the key's file."""
    key = project.parent / "release.pem"
    assert main(["models", "keygen", str(key)]) == 0
    (project / "torchgate.toml").write_text(capsys.readouterr().out + more, encoding="utf-8")
    return key


def verify(project: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, str]]]:
    capsys.readouterr()
    code = main(["models", "verify", "--json", "--config", str(project), *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_a_model_signed_by_a_key_made_here_is_verified(project: Path, capsys: pytest.CaptureFixture[str]):
    key = trusting(project, capsys)
    assert main(["models", "sign", "some", "--key", str(key), "--config", str(project)]) == 0
    code, (verdict,) = verify(project, capsys)
    assert (code, verdict["trust"], verdict["reason"]) == (0, "signed", "")
    assert verdict["digest"].startswith("sha256:")


def test_verify_fails_and_says_which_file_was_altered(project: Path, capsys: pytest.CaptureFixture[str]):
    key = trusting(project, capsys)
    main(["models", "sign", "some:1", "--key", str(key), "--config", str(project)])
    (project / "models" / "some" / "1" / "model.py").write_text("evil", encoding="utf-8")
    code = main(["models", "verify", "some", "--config", str(project)])
    assert code == 1
    code, (verdict,) = verify(project, capsys, "some:1")
    assert (code, verdict["trust"]) == (1, "refused")


def test_an_unsigned_model_that_is_allowed_by_name_passes_unless_strict(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    (project / "torchgate.toml").write_text('[models]\nallow_code = ["some"]\n', encoding="utf-8")
    code, (verdict,) = verify(project, capsys)
    assert (code, verdict["trust"]) == (0, "allowed")
    assert "not signed" in verdict["reason"]
    assert verify(project, capsys, "--strict")[0] == 1


def test_check_finds_what_verify_finds(project: Path, capsys: pytest.CaptureFixture[str]):
    key = trusting(project, capsys)
    main(["models", "sign", "some", "--key", str(key), "--config", str(project)])
    (project / "models" / "some" / "1" / "added.py").write_text("evil", encoding="utf-8")
    assert main(["check", str(project)]) == 1
    assert "file 'added.py' was added" in capsys.readouterr().out


def test_check_names_signers_that_can_sign_nothing(project: Path, capsys: pytest.CaptureFixture[str]):
    trusting(project, capsys, 'models = ["smoe"]\n[[models.signers]]\nid = "b"\npublic_key = "ed25519:AAAA"\n')
    assert main(["check", str(project)]) == 1
    said = capsys.readouterr().out
    assert "models.signers.0.models.0: there is no model 'smoe'. Did you mean 'some'?" in said
    assert "models.signers.1.public_key: is no Ed25519 public key" in said


def test_a_key_is_never_overwritten(project: Path, capsys: pytest.CaptureFixture[str]):
    key = trusting(project, capsys)
    before = key.read_bytes()
    assert main(["models", "keygen", str(key)]) == 1
    assert key.read_bytes() == before


@pytest.mark.linux("mode bits; the access lists of Windows are tested beside their room")
def test_a_key_that_others_may_read_signs_nothing(project: Path, capsys: pytest.CaptureFixture[str]):
    key = trusting(project, capsys)
    key.chmod(0o640)
    assert main(["models", "sign", "some", "--key", str(key), "--config", str(project)]) == 1
    assert "0640" in capsys.readouterr().err
    assert not (project / "models" / "some" / "1" / SIGNATURE_FILE).exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [("smoe", "Did you mean 'some'?"), ("some:7", "no version '7'. There is: 1"), ("", "there is no model ''")],
)
def test_a_model_that_is_not_there_is_not_signed(
    project: Path, capsys: pytest.CaptureFixture[str], model: str, said: str
):
    key = trusting(project, capsys)
    assert main(["models", "sign", model, "--key", str(key), "--config", str(project)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"garbage", PEM_OF_NOTHING])
def test_a_key_file_that_holds_no_key_signs_nothing(project: Path, capsys: pytest.CaptureFixture[str], content: bytes):
    key = trusting(project, capsys)
    key.write_bytes(content)
    assert main(["models", "sign", "some", "--key", str(key), "--config", str(project)]) == 1
    assert "holds no private key" in capsys.readouterr().err


def test_a_signature_by_a_key_that_the_project_does_not_know_is_made_with_a_hint(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    trusting(project, capsys)
    other = project.parent / "other.pem"
    main(["models", "keygen", str(other)])
    capsys.readouterr()
    assert main(["models", "sign", "some", "--key", str(other), "--config", str(project)]) == 0
    assert "does not trust that key yet" in capsys.readouterr().err
    assert verify(project, capsys)[0] == 1
