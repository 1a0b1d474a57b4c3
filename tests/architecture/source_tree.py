"""The product's source as the architecture tests see it: where it is installed, parsed once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import torchgate

PACKAGE = Path(torchgate.__file__).resolve().parent
REPOSITORY = Path(__file__).resolve().parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Path below the package, with forward slashes → its syntax tree."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def functions() -> Iterator[tuple[str, Function, bool]]:
    """Every function with its place, and whether it is a method."""
    for file, tree in sources().items():
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, Function):
                    yield f"{file}:{node.lineno} {node.name}", node, isinstance(parent, ast.ClassDef)


def line_count(node: ast.stmt | Function | ast.ClassDef) -> int:
    """Physical lines, docstring included."""
    return (node.end_lineno or node.lineno) - node.lineno + 1
