"""What lies in the repository belongs there and tells nothing of where it was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source_tree import REPOSITORY

FOLDERS = (".ci", "benchmarks", "docs", "examples", "src", "tests", "tools")
NOT_OURS = {".git", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache", ".hypothesis", "dist", "build"}
TEXT = {".py", ".md", ".toml", ".json", ".txt", ".js", ".mjs", ".cjs", ".cfg", ".ini", ".yml", ".yaml", ""}

_TRACES = (
    "/wo" + r"rk/(main|shared|\.)",
    "/tmp/br" + "ief",
    "registry[.]npm" + "js",
    "pytho" + "nhosted",
    "py" + "pi[.]org",
)
WORKPLACE = re.compile("|".join(_TRACES))
"""Paths and hosts of a workplace or a package index; in two parts, so that this file does not find itself."""


def _files() -> Iterator[Path]:
    for path in REPOSITORY.iterdir():
        if path.is_file() and path.suffix in TEXT and path.name not in NOT_OURS:
            yield path
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file() and path.suffix in TEXT and not NOT_OURS & set(path.relative_to(REPOSITORY).parts):
                yield path


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_text_file_is_utf_8_with_unix_line_ends():
    """Windows' git may change line ends in a work tree; then .gitattributes is at fault."""
    assert [str(path) for path in _files() if b"\r\n" in path.read_bytes()] == []


def test_no_file_names_a_workplace_or_a_package_index():
    """Such names are of no use to anybody else."""
    assert [str(path) for path in _files() if WORKPLACE.search(_text(path))] == []


def test_only_the_check_script_looks_outside_the_repository():
    """A clone is all that anybody needs."""
    outside = "../sha" + "red"
    found = [path.relative_to(REPOSITORY).as_posix() for path in _files() if outside in _text(path)]
    assert found in ([".ci/run"], [])


def test_no_file_is_larger_than_source_needs():
    """Weights and recordings are made or fetched, never committed."""
    large = {str(path): path.stat().st_size for path in _files() if path.stat().st_size > 512 * 1024}
    assert large == {}
