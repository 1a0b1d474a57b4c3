"""Markdown as the documentation tests read it: fenced blocks, and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(?P<language>\w*)(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        language: after the fence.
        info: what follows it, e.g. `title=torchgate.toml`.
        text: without the fences.
    """

    language: str
    info: str
    text: str

    @property
    def title(self) -> str:
        """The file that the block is, or nothing."""
        return self.info.partition("title=")[2].strip()


def pages() -> list[Path]:
    """Every page that a person reads."""
    return [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(found["language"], found["info"].strip(), found["text"]) for found in _FENCE.finditer(text)]


def links(page: Path) -> Iterator[str]:
    """The targets of all links outside of fenced blocks."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from (found["target"] for found in _LINK.finditer(text))


def command_lines(page: Path) -> list[str]:
    """The lines of all PowerShell blocks, without comments."""
    lines = (line.partition("  #")[0].strip() for block in blocks(page) if block.language == "powershell"
             for line in block.text.splitlines())  # fmt: skip
    return [line for line in lines if line and not line.startswith("#")]
