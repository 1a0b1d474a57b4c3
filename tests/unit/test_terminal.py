"""What becomes of an answer that nobody can be given: a full disk under stdout, or a reader who has gone."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from torchgate import terminal
from torchgate.cli import main
from torchgate.terminal import Unsaid, note, printable, say

FULL = Path("/dev/full")


class Failing(io.StringIO):
    """A stream whose end is full, or closed by its reader."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str, /) -> int:
        raise OSError(self._number, os.strerror(self._number))


def started(arguments: Sequence[str | Path], **streams: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    command = [sys.executable, "-X", "utf8", "-m", "torchgate", *map(str, arguments)]
    return subprocess.run(command, env=kept, check=False, timeout=100, encoding="utf-8", **streams)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` writes."""
    folder = tmp_path_factory.mktemp("made") / "shop"
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["init", str(folder)]) == 0
    return folder


COMMANDS = [
    ("check", "PROJECT"),
    ("check", "--json", "PROJECT"),
    ("models", "list", "PROJECT"),
    ("models", "list", "--json", "PROJECT"),
    ("keys", "list", "--json", "PROJECT"),
    ("secrets", "status", "PROJECT"),
    ("doctor", "--json", "--area", "project", "PROJECT"),
    ("policy", "explain", "--roles", "analyst", "infer", "doubler", "--config", "PROJECT"),
    ("service", "install", "--dry-run", "PROJECT"),
    ("iis", "render", "--config", "PROJECT", "--set", "gate.front_door=httpplatform", "--out", "PROJECT/iis",
     "--python", "C:\\Python\\python.exe", "--project-path", "C:\\shop"),
    ("--version",),
    ("check", "--help"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_answer_that_finds_no_room_is_3_and_says_so(
    project: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdout", Failing(errno.ENOSPC))
    code = main([word.replace("PROJECT", str(project)) for word in command])
    said = capsys.readouterr().err
    assert code == terminal.EXIT_UNSAID
    assert f"torchgate: the answer can't be written to stdout: {os.strerror(errno.ENOSPC)}." in said


@pytest.mark.parametrize("number", [errno.EPIPE, *((errno.EINVAL,) if sys.platform == "win32" else ())])
def test_a_reader_who_has_gone_is_no_fault(
    project: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdout", Failing(number))
    assert main(["models", "list", str(project)]) == terminal.EXIT_UNSAID
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [("check", "--explain"), ("--help",)])
def test_a_process_whose_reader_has_gone_ends_quietly(project: Path, arguments: tuple[str, ...]):
    """As behind `| head -1`: nothing of the interpreter's own either."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        where = () if arguments == ("--help",) else (project,)
        ended = started([*arguments, *where], stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (terminal.EXIT_UNSAID, "")


@pytest.mark.linux("/dev/full is Linux's")
@pytest.mark.parametrize("arguments", [("check",), ("--help",)])
def test_a_process_on_a_full_disk_says_one_sentence(project: Path, arguments: tuple[str, ...]):
    with FULL.open("wb") as full:
        where = () if arguments == ("--help",) else (project,)
        ended = started([*arguments, *where], stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == terminal.EXIT_UNSAID
    assert ended.stderr.startswith("torchgate: the answer can't be written to stdout: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.linux("/dev/full is Linux's")
@pytest.mark.parametrize(
    ("arguments", "code"), [(("check", "nowhere"), 1), (("srve",), 2), (("check", "--set", "x"), 2)]
)
def test_nobody_who_hears_complaints_changes_no_exit_code(arguments: tuple[str, ...], code: int):
    with FULL.open("wb") as full:
        assert started(arguments, stdout=subprocess.DEVNULL, stderr=full).returncode == code


def test_no_key_is_made_that_nobody_has_seen(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdout", Failing(errno.ENOSPC))
    assert main(["keys", "new", "ops", "--config", str(project)]) == terminal.EXIT_UNSAID
    assert "none was made, and nothing was changed" in capsys.readouterr().err
    assert not (project / "keys.toml").exists()


def test_no_signing_key_is_left_that_nobody_knows_how_to_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdout", Failing(errno.ENOSPC))
    assert main(["models", "keygen", str(tmp_path / "key.pem")]) == terminal.EXIT_UNSAID
    assert f"{tmp_path / 'key.pem'} was taken back" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_lost_answer_is_no_fault_of_a_file():
    """Commands tell of OSErrors as of files that they read and write."""
    with contextlib.redirect_stdout(Failing(errno.ENOSPC)), pytest.raises(Unsaid) as told:
        say("x")
    assert not isinstance(told.value, OSError)


def test_a_complaint_that_nobody_hears_is_let_go(monkeypatch: pytest.MonkeyPatch):
    stream = Failing(errno.EIO)
    monkeypatch.setattr(sys, "stderr", stream)
    note("x")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ä → \t\n", "ä → \t\n"),
        ("a\x1b[2Jb", "a\\u001b[2Jb"),
        ("a\x9bb\x7f\r", "a\\u009bb\\u007f\\u000d"),
    ],
)
def test_what_is_printed_moves_no_cursor(text: str, shown: str, capsys: pytest.CaptureFixture[str]):
    assert printable(text) == shown
    say(text)
    assert capsys.readouterr().out == f"{shown}\n"
