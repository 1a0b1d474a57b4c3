"""The texts of an exported program that torch evaluates, resolves or compiles: only plain forms of them pass."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9_.]*")
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized|quantized_decomposed|torchvision|mkldnn)\.[A-Za-z]\w*(\.[A-Za-z]\w*)?"
    r"|torch\.ops\.aten\._[A-Za-z]\w*(\.[A-Za-z]\w*)?"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast|while_loop|map_impl|scan)"
    r"|torch\.ops\.aten\.__(and|or|xor|lshift|rshift)__(\.[A-Za-z]\w*)?"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.(sym_int|sym_float|sym_max|sym_min|sym_not|sym_ite|sym_sum|_sym_sqrt)"
)
_FILE_OPERATORS = ("torch.ops.aten.from_file",)
_FUNCTIONS = frozenset(
    {"Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Mod", "PythonMod", "FloorDiv", "CleanDiv",
     "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "CeilToInt", "FloorToInt", "TruncToInt", "ToFloat", "Max", "Min",
     "Where", "Abs", "Equality", "Unequality", "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan",
     "Eq", "Ne", "Le", "Lt", "Ge", "Gt", "And", "Or", "Not", "ModularIndexing", "PowByNatural", "FloatPow"}
)  # fmt: skip
"""What sympy's srepr writes for sizes."""

_CONSTANTS = frozenset({"oo", "int_oo", "true", "false", "L", "True", "False"})
_TENSOR_METHODS = frozenset({"size", "stride", "storage_offset", "dim", "numel", "ndimension"})
_LONGEST_EXPRESSION = 4096
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.Attribute, ast.Subscript,
    ast.UnaryOp, ast.USub, ast.UAdd, ast.Not, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.BoolOp, ast.And, ast.Or,
)  # fmt: skip


def examine_program(program: object) -> str | None:
    """Why a program is refused, or None.

    Args:
        program: models/model.json, parsed.
    """
    try:
        return next((refusal for key, value in _walk(program) if (refusal := _examine(key, value))), None)
    except RecursionError:
        return "the program is nested deeper than torch nests one"


def is_plain_expression(text: str) -> bool:
    """Whether it is a size expression or a guard: arithmetic, comparisons, sizes of inputs, nothing else."""
    if len(text) > _LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError):
        return False
    return all(_is_plain_node(node) for node in ast.walk(tree))


def _walk(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            if not isinstance(inner, dict | list):
                yield key, inner
            yield from _walk(inner, key)


def _examine(key: str, value: object) -> str | None:
    if isinstance(value, str) and "__enum__" in value:
        return "the program names an enumeration class to import"
    match key:
        case "as_custom_obj" | "custom_obj" | "as_operator" if value is not None:
            return f"the program holds a custom object ({key})"
        case "expr_str" | "guards_code" if isinstance(value, str) and not is_plain_expression(value):
            return f"the program holds an expression that is none of sizes: {value[:80]!r}"
        case "target" if isinstance(value, str) and not _is_operator(value):
            return f"the program calls '{value[:80]}', which is no operator that we know to be harmless"
        case "name" | "graph_name" if isinstance(value, str) and not _NAME.fullmatch(value):
            return f"the program holds a name that is none: {value[:80]!r}"
    return None


def _is_operator(target: str) -> bool:
    return bool(_OPERATOR.fullmatch(target)) and not target.startswith(_FILE_OPERATORS)


def _is_plain_node(node: ast.AST) -> bool:
    if not isinstance(node, _NODES):
        return False
    match node:
        case ast.Constant(value=str() as text):
            return bool(_NAME.fullmatch(text))
        case ast.Name(id=name):
            return name in _FUNCTIONS or name in _CONSTANTS or bool(re.fullmatch(r"_?[a-z]+_?\d+", name))
        case ast.Attribute(attr=name):
            return name in _TENSOR_METHODS
        case ast.Call(func=function):
            return isinstance(function, ast.Attribute) or (isinstance(function, ast.Name) and function.id in _FUNCTIONS)
    return True
