"""Reads the marks `identity_case(method, sends, follows)` of all tests, for docs/reference/identity-cases.md.

The tests are read and not run, so that the page needs none of what they need.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1] / "tests"
MARK = "identity_case"
FIRST = (
    "bearer",
    "issuer",
    "API key",
    "certificate",
    "Windows",
    "Negotiate",
    "asserted",
    "development",
    "front door",
    "policy",
    "impersonation",
    "secrets",
)
"""First argument of the mark, in the order of the page; others follow by name."""


class IdentityCase(NamedTuple):
    """One case: what somebody sends and what follows, and the test that proves it.

    Args:
        path: of the test's file, below tests/.
        test: name of the function or class; empty where the mark stands in a table of parameters.
    """

    method: str
    sends: str
    follows: str
    path: str
    test: str


def identity_cases(folder: Path = TESTS) -> list[IdentityCase]:
    """Every case, in the order of FIRST, then of names of methods, files and lines.

    Raises:
        ValueError: a mark that can't be read; the sentence says where it is.
    """
    found: list[IdentityCase] = []
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.as_posix()):
        source = path.read_text(encoding="utf-8")
        if f".{MARK}(" in source:
            found += _cases_of(ast.parse(source), path.relative_to(folder).as_posix())
    return sorted(
        found, key=lambda case: (FIRST.index(case.method) if case.method in FIRST else len(FIRST), case.method)
    )


def _cases_of(tree: ast.AST, path: str, test: str = "") -> Iterator[IdentityCase]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            decorators = sorted(node.decorator_list, key=lambda decorator: decorator.lineno)
            for decorator in decorators:
                yield from _cases_of(ast.Expression(decorator), path, node.name)
            if isinstance(node, ast.ClassDef):
                yield from _cases_of(ast.Module(node.body, []), path, node.name)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == MARK:
            yield _case(node, path, test)
        else:
            yield from _cases_of(node, path, test)


def _case(call: ast.Call, path: str, test: str) -> IdentityCase:
    texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    if len(texts) != 3 or not all(texts) or len(call.args) != 3 or call.keywords:
        raise ValueError(f"{path}:{call.lineno}: {MARK} takes three plain texts: method, what is sent, what follows.")
    same = next((name for name in FIRST if _plain(name) == _plain(texts[0])), texts[0])
    return IdentityCase(same, *texts[1:], path, test)


def _plain(method: str) -> str:
    return method.lower().replace("_", " ").replace("-", " ")
