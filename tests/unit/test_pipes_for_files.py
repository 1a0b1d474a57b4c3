"""A named pipe where a file should be: whoever opened it would wait for ever for somebody who writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from torchgate.access.file_watch import _digest_of
from torchgate.access.identity.key_sources import FileKeySource
from torchgate.access.identity.published_keys import KeysUnreadable
from torchgate.cli import main
from torchgate.engine.pin.lock import LockRefused, read_lock

pytestmark = pytest.mark.linux("named pipes in the file system")
LINE = "it is a pipe or a device, and no file"


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """What `init` writes."""
    assert main(["init", str(tmp_path / "shop")]) == 0
    capsys.readouterr()
    return tmp_path / "shop"


def piped(path: Path) -> Path:
    """A pipe in the place of whatever is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_a_lock_is_not_waited_for(project: Path, capsys: pytest.CaptureFixture[str]):
    lock = piped(project / "torchgate.lock")
    with pytest.raises(LockRefused, match=LINE):
        read_lock(lock)
    assert main(["pin", "--verify", str(project)]) == 1
    assert LINE in capsys.readouterr().err


@pytest.mark.parametrize(
    "place",
    [
        "torchgate.toml", "keys.toml", "models", "models/doubler", "models/doubler/model.toml", "models/doubler/1",
        "models/doubler/1/model.py", "models/doubler/1/golden.json", "models/doubler/1/more.txt", "cert.pem", "key.pem",
        "hook.py", "signer.pem", "issuer.json", "authority.pem", "secret",
    ],
)  # fmt: skip
def test_no_file_of_a_project_is_waited_for(project: Path, place: str, capsys: pytest.CaptureFixture[str]):
    (project / "torchgate.toml").write_text(
        """
[gate.tls]
certificate_file = "cert.pem"
key_file = "key.pem"
[policy]
hook = "hook.py:authorise"
[models]
allow_code = ["doubler"]
[[models.signers]]
id = "us"
public_key = "file:signer.pem"
[[identity.oidc]]
name = "corp"
profile = "generic"
issuer = "https://login.example/"
audiences = ["torchgate"]
jwks_file = "issuer.json"
[secrets]
pepper = "file:secret"
""",
        encoding="utf-8",
    )
    piped(project / place)
    assert main(["check", "--json", str(project)]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("models", "sign", "doubler", "--key", "PIPE", "--config", "PROJECT"),
        ("audit", "verify", "--folder", "PROJECT", "--keys", "PIPE"),
        ("audit", "verify", "--folder", "PROJECT", "--checkpoint", "PIPE"),
        ("policy", "test", "PIPE", "--config", "PROJECT"),
        ("iis", "lint", "PIPE"),
        ("iis", "lint", "PIPE", "--application-host", "PIPE"),
        ("iis", "convert", "PIPE"),
        ("doctor", "--area", "project", "--out", "PIPE", "PROJECT"),
        ("models", "status", "--url", "https://127.0.0.1:9", "--ca-file", "PIPE"),
        ("models", "status", "--url", "https://127.0.0.1:9", "--certificate", "PIPE"),
        ("models", "status", "--url", "https://127.0.0.1:9", "--certificate", "SETTINGS", "--certificate-key", "PIPE"),
    ],
    ids=" ".join,
)
def test_no_file_of_a_command_line_is_waited_for(
    project: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    pipe = piped(project / "pipe")
    words = {"PIPE": str(pipe), "PROJECT": str(project), "SETTINGS": str(project / "torchgate.toml")}
    assert main([words.get(word, word) for word in command]) == 1
    told = "".join(capsys.readouterr())
    assert "pipe" in told
    assert "Traceback" not in told


def test_a_watched_file_is_not_waited_for(tmp_path: Path):
    assert _digest_of(piped(tmp_path / "hook.py")) == b"unreadable"


def test_an_issuers_keys_are_not_waited_for(tmp_path: Path):
    with pytest.raises(KeysUnreadable, match=LINE):
        FileKeySource(piped(tmp_path / "keys.json"))._read()
