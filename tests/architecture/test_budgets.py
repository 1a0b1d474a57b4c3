"""Nothing grows beyond what one can hold in the head. The budgets stand in CONTRIBUTING.md."""

from __future__ import annotations

import ast

from tests.architecture.source_tree import PACKAGE, functions, line_count, sources

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 200
MAX_PARAMETERS = 6
MAX_NESTING = 3

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc"}

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def test_no_file_is_longer_than_its_budget():
    """A file that grows beyond it holds two ideas."""
    lines = {file: len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) for file in sources()}
    assert {file: count for file, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_its_budget():
    """The docstring counts."""
    lengths = {place: line_count(node) for place, node, _ in functions()}
    assert {place: count for place, count in lengths.items() if count > MAX_FUNCTION_LINES} == {}


def test_no_function_takes_more_parameters_than_its_budget():
    """`self` and `cls` don't count; a caller does not write them."""
    counts = {}
    for place, node, is_method in functions():
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        has_self = is_method and names[:1] in (["self"], ["cls"])
        # A constructor that takes what a room needs names each of them; it is called in one place, by keyword.
        if node.name != "__init__":
            counts[place] = len(names) - has_self
    assert {place: count for place, count in counts.items() if count > MAX_PARAMETERS} == {}


def test_no_class_is_longer_than_its_budget():
    """A class that grows beyond it does two things."""
    lengths = {
        f"{file}:{node.lineno} {node.name}": line_count(node)
        for file, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert {place: count for place, count in lengths.items() if count > MAX_CLASS_LINES} == {}


def test_no_function_nests_deeper_than_its_budget():
    """`elif` is no deeper than its `if`; a function inside a function starts anew."""
    depths = {place: max((_depth(statement) for statement in node.body), default=0) for place, node, _ in functions()}
    assert {place: depth for place, depth in depths.items() if depth > MAX_NESTING} == {}


def test_classes_of_ours_inherit_at_most_one_step_from_each_other():
    """Errors are excepted: their tree is what callers catch by."""
    bases: dict[str, set[str]] = {}
    for file, tree in sources().items():
        if file == "contract/errors.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = {
                    base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases
                }
                bases[node.name] = names - {"", node.name}
    deep = {name: parents for name, parents in bases.items() if any(bases.get(p, set()) & set(bases) for p in parents)}
    assert deep == {}


def test_no_file_has_a_name_that_says_nothing():
    """Such files collect what has no place."""
    names = {file: set(file.removesuffix(".py").split("/")) for file in sources()}
    assert {file for file, parts in names.items() if parts & EMPTY_NAMES} == set()


def _depth(node: ast.AST) -> int:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return 0
    inner = 0
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        inner = max(inner, _depth(child) - (1 if is_elif else 0))
    return inner + (1 if isinstance(node, BLOCKS) else 0)
