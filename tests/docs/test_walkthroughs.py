"""The README and the tutorial work as written: their files, their commands, in their order, against a real server."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.markdown import REPOSITORY, Block, blocks

READY_WITHIN_S = 120.0
POLL_S = 0.25

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(300)]


class Reader:
    """Somebody who does what a page says, in a folder of their own.

    Commands run one after the other; `torchgate serve` goes on in the background, and what follows waits for it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs: dict[str, str] = {}
        self._server: subprocess.Popen[bytes] | None = None

    def follow(self, block: Block) -> None:
        """Write the block's file, or run its commands."""
        if block.title:
            file = self.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "powershell":
            for line in block.text.splitlines():
                self._command(line.partition("  #")[0].strip(), is_refused="refused" in block.info)

    def stop(self) -> None:
        """End the server, if one was started."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def _command(self, line: str, *, is_refused: bool) -> None:
        program, *arguments = shlex.split(line) or [""]
        if program == "cd":
            self.folder /= arguments[0]
        elif program == "torchgate" and arguments[0] == "serve":
            # The page's port may be taken on this machine; any free one will do, and the project knows which.
            self._serve([*arguments, "--set", "gate.bind=127.0.0.1:0"])
        elif program == "torchgate":
            result = _torchgate(arguments, self.folder)
            self.outputs[line] = result.stdout
            assert (result.returncode == 0) is not is_refused, f"{line}\n{result.stdout}{result.stderr}"

    def _serve(self, arguments: list[str]) -> None:
        command = [sys.executable, "-X", "utf8", "-m", "torchgate", *arguments]
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
        project = self.folder / arguments[1] if not arguments[1].startswith("-") else self.folder
        name = "analyst" if (project / "models" / "postage").exists() is False else "clerk"
        started_at = time.perf_counter()
        while time.perf_counter() - started_at < READY_WITHIN_S:
            status = _torchgate(["models", "status", str(project), "--as", name], self.folder)
            if status.returncode == 0 and "loading" not in status.stdout:
                return
            assert self._server.poll() is None, (self.folder / "server.log").read_text(encoding="utf-8")
            time.sleep(POLL_S)
        pytest.fail((self.folder / "server.log").read_text(encoding="utf-8"))


def _torchgate(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "torchgate", *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@contextlib.contextmanager
def _reader(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.stop()


def test_the_readme_works_as_written(tmp_path: Path):
    """From `init` to an answer."""
    with _reader(tmp_path) as reader:
        for block in blocks(REPOSITORY / "README.md"):
            reader.follow(block)
        answers = [output for line, output in reader.outputs.items() if " predict " in line]
        assert "2" in answers[0]
        assert "6" in answers[0]


def test_the_first_tutorial_works_as_written(tmp_path: Path):
    """A model of one's own, an answer, two refusals, and what the audit trail says of them."""
    with _reader(tmp_path) as reader:
        for block in blocks(REPOSITORY / "docs" / "tutorials" / "first-model.md"):
            reader.follow(block)
        outputs = {line.split()[1] + " " + line.split()[2]: output for line, output in reader.outputs.items()}
        assert "9" in outputs["predict postage"]
        assert "default deny" in outputs["policy explain"]
        assert "403" in outputs["audit tail"]
