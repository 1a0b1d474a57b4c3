"""The README and the tutorial work as written: their files, their commands, in their order, against a real server."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.markdown import REPOSITORY, Block, blocks
from tests.rigs.server_process import ServerProcess

NUMBER = re.compile(r"\d+(?:\.\d+)?")

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


class Reader:
    """Somebody who does what a page says, in a folder of their own.

    Commands run one after the other; `torchgate serve` goes on in the background, and what follows waits for it.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._outputs: dict[str, str] = {}
        self._stack = stack

    def follow(self, block: Block) -> None:
        """Write the block's file, or run its commands."""
        if block.title:
            file = self.folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "powershell":
            for line in block.text.splitlines():
                self._command(line.partition("  #")[0].strip(), is_refused="refused" in block.info)

    def said(self, command: str) -> str:
        """What the first command with this beginning printed."""
        return next(output for line, output in self._outputs.items() if line.startswith(f"torchgate {command}"))

    def _command(self, line: str, *, is_refused: bool) -> None:
        program, *arguments = shlex.split(line) or [""]
        if program == "cd":
            self.folder /= arguments[0]
        elif program == "torchgate" and arguments[0] == "serve":
            # On a free port, not on the page's: that may be taken on this machine, and the project knows which it is.
            project = self.folder / arguments[1] if len(arguments) > 1 else self.folder
            self._stack.enter_context(ServerProcess.start(project)).wait_ready()
        elif program == "torchgate":
            result = _torchgate(arguments, self.folder)
            self._outputs[line] = result.stdout
            assert (result.returncode == 0) is not is_refused, f"{line}\n{result.stdout}{result.stderr}"


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


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """In an empty folder; servers that it started end with the test."""
    with contextlib.ExitStack() as stack:
        yield Reader(tmp_path, stack)


def test_the_readme_works_as_written(reader: Reader):
    """From `init` to an answer."""
    for block in blocks(REPOSITORY / "README.md"):
        reader.follow(block)
    assert [float(number) for number in NUMBER.findall(reader.said("predict"))][-3:] == [2.0, 4.0, 6.0]


def test_the_first_tutorial_works_as_written(reader: Reader):
    """A model of one's own, an answer, two refusals, and what the audit trail says of them."""
    for block in blocks(REPOSITORY / "docs" / "tutorials" / "first-model.md"):
        reader.follow(block)
    assert "9" in reader.said("predict postage --as clerk")
    assert "default deny" in reader.said("policy explain")
    assert "403" in reader.said("audit tail")


def test_the_tutorial_about_iis_works_as_written_up_to_the_server(reader: Reader):
    """Settings that pass, a rule that lets its colleague in, a configuration that our linter has nothing against."""
    for block in blocks(REPOSITORY / "docs" / "tutorials" / "behind-iis.md"):
        reader.follow(block)
    assert "0 errors" in reader.said("check shop")
    assert "allowed" in reader.said("policy explain --config shop")
    assert "0 errors, 0 warnings" in reader.said("iis lint")
    assert {file.name for file in (reader.folder / "shop" / "iis").iterdir()} == {
        "web.config",
        "applicationHost.part.config",
    }
