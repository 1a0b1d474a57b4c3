"""Writes docs/reference/ from the code: `python -m tools.reference`; a test says when a page is stale.

One function for each page gives its whole text; what it says is what the code says.
"""

from __future__ import annotations

import argparse
import ast
import enum
import inspect
import itertools
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from tools.doctor_page import doctor_page
from tools.identity_cases import IdentityCase, identity_cases

import torchgate
from torchgate import cli
from torchgate.command_lines.grammar import EPILOG
from torchgate.config import TorchgateSettings
from torchgate.contract import errors
from torchgate.contract.settings_file import Settings
from torchgate.engine.model_settings import ModelSettings
from torchgate.gate import errors as gate_errors
from torchgate.gate.problems import STATUSES
from torchgate.gate.routes import route_table

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
NOTE = "<!-- Written by `python -m tools.reference` from the code; change that. -->\n"


def main() -> int:
    """Write every page that has changed."""
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            sys.stdout.write(f"{path}\n")
    return 0


WITHOUT_A_CLASS = {
    "headers_too_large": "The request's line and headers are longer than `gate.max_header_bytes`.",
    "internal_error": "A failure that nobody foresaw; the log has it under the request id.",
}
"""Codes that no exception of ours carries: answered before there is a request, or where none was foreseen."""

# --- settings -------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting of torchgate.toml and model.toml, with type, default and reason."""
    parts = [
        "# Settings",
        NOTE,
        "A single value of `torchgate.toml` can also be set by environment (`gate.bind` is `TORCHGATE_GATE_BIND`).",
        "Or by flag (`--set gate.bind=127.0.0.1:9000`); the flag wins, then the environment, then the file.",
        "`torchgate check --explain` prints each value with its origin.",
        "Unknown names are mistakes.",
        "Relative paths start at the folder of the file that they stand in.",
        "",
        "The first part is `torchgate.toml`; `model.toml` follows it.",
        "",
        *_settings_table(TorchgateSettings, "", "At the top of torchgate.toml"),
        *_settings_table(ModelSettings, "", "At the top of model.toml"),
    ]
    return _text(parts)


def _settings_table(shape: type[Settings], place: str, title: str = "") -> Iterator[str]:
    rows, inner, texts = [], [], setting_texts(shape)
    for name, field in shape.model_fields.items():
        key = field.alias or name
        dotted = f"{place}.{key}" if place else key
        found = _settings_type(field.annotation)
        if found is None:
            rows.append(
                f"| `{key}` | {_type_text(field)} | {_default_text(field)} | {_one_line(texts.get(name, ''))} |"
            )
        else:
            inner.append((dotted, found, field))
    if place or rows:
        yield f"## {title or _header(place)}"
        yield ""
        if place and shape.__doc__:
            yield re.sub(r" \(`\[.*?\]`\)", "", _one_line(shape.__doc__))
            yield ""
    if rows:
        yield from ("| key | type | default | meaning |", "|---|---|---|---|", *rows, "")
    for dotted, found, field in inner:
        many = typing.get_origin(field.annotation) is tuple or "tuple" in str(field.annotation)
        yield from _settings_table(found, f"[[{dotted}]]" if many else dotted.replace("[[", "").replace("]]", ""))


def setting_texts(shape: type[Settings]) -> dict[str, str]:
    """Setting → the text under it."""
    texts: dict[str, str] = {}
    for kind in reversed(shape.__mro__):
        if issubclass(kind, Settings):
            body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
            if isinstance(body, ast.ClassDef):
                texts |= _texts_under(body)
    return texts


def _texts_under(definition: ast.ClassDef) -> dict[str, str]:
    pairs = itertools.pairwise(definition.body)
    return {
        field.target.id: text.value.value
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _header(place: str) -> str:
    return f"`{place}`" if place.startswith("[[") else f"`[{place}]`"


def _settings_type(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := _settings_type(inner))), None)


def _type_text(field: FieldInfo) -> str:
    text = _annotation_text(field.annotation)
    limits = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}
    said = [
        f"{sign} {_number(getattr(constraint, name))}"
        for constraint in field.metadata
        for name, sign in limits.items()
        if getattr(constraint, name, None) is not None
    ]
    return ", ".join([text, *said])


def _annotation_text(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "absent"
    if origin is typing.Annotated:
        return _annotation_text(inner[0])
    if origin is typing.Literal:
        return " \\| ".join(f'`"{value}"`' for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_annotation_text(part) for part in inner if part is not type(None))
    if origin in (tuple, list, frozenset):
        return f"list of {_annotation_text(inner[0])}"
    if origin is dict:
        return f"table of {_annotation_text(inner[1])}"
    words = {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "boolean",
        "Path": "path",
        "object": "anything",
    }
    words["AwareDatetime"] = "time with offset"
    return words.get(getattr(annotation, "__name__", str(annotation)), getattr(annotation, "__name__", str(annotation)))


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str | Path):
        return f'`"{Path(value).as_posix() if isinstance(value, Path) else value}"`'
    if isinstance(value, tuple | list | frozenset):
        items = sorted(value) if isinstance(value, frozenset) else value
        return "`[" + ", ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in items) + "]`"
    if isinstance(value, dict):
        return "none"
    return f"`{_number(value)}`"


def _number(value: Any) -> str:
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


# --- API and errors -------------------------------------------------------------------------------------------------


def api_page() -> str:
    """What `import torchgate` gives."""
    parts = [
        "# Python API",
        NOTE,
        "What authors of models, of policy functions and of applications with a gate around them import.",
        "",
    ]
    for name in torchgate.__all__:
        value = getattr(torchgate, name)
        if inspect.isfunction(value):
            parts += [f"## `torchgate.{name}{inspect.signature(value)}`".replace("'", ""), "", _docstring(value), ""]
            continue
        parts += [f"## `torchgate.{name}`", ""]
        if not isinstance(value, type) or value is Any:
            parts += ["A string: the version of this package." if name == "__version__" else _api_alias(name), ""]
            continue
        parts += [_docstring(value), ""]
        parts += _members(value)
    return _text(parts)


def _members(owner: type) -> Iterator[str]:
    if issubclass(owner, enum.Enum):
        yield from (f"- `{member.value}`" for member in owner)
        yield ""
        return
    annotations = inspect.get_annotations(owner)
    if annotations:
        yield "```python"
        yield from (f"{name}: {annotation}" for name, annotation in annotations.items())
        yield from ("```", "")
    for name, member in vars(owner).items():
        if isinstance(member, property) and owner.__module__.startswith("torchgate.gate"):
            yield f"- `{name}`: {_one_line(member.__doc__)}"
            yield ""
        elif inspect.isfunction(member) and not name.startswith("_"):
            yield f"### `{name}{inspect.signature(member)}`".replace("'", "")
            yield ""
            yield _docstring(member)
            yield ""


def _docstring(owner: object) -> str:
    """A docstring as Markdown: its arguments become a list."""
    lines = inspect.cleandoc(owner.__doc__ or "").splitlines()
    text: list[str] = []
    for line in lines:
        if found := re.match(r"    (\w[\w, ]*): (.*)", line):
            text.append(f"- `{found[1]}`: {found[2]}")
        elif line.startswith("        ") and text:
            text[-1] += " " + line.strip()
        else:
            text.append({"Args:": "", "Raises:": "Raises:"}.get(line, line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text))


def _api_alias(name: str) -> str:
    """The string below an alias, in whichever module of ours has it."""
    from torchgate.contract import model, policy_hook

    for module in (model, policy_hook):
        found = re.search(rf'^{name} = [^\n]*\n"""(.*?)"""', inspect.getsource(module), re.DOTALL | re.MULTILINE)
        if found:
            return inspect.cleandoc(found[1])
    raise RuntimeError(f"{name} is public, and nothing says what it is: write a string below it.")


def errors_page() -> str:
    """Every error code that an answer can carry, with its HTTP status."""
    parts = [
        "# Errors",
        NOTE,
        'Every error has the body `{"error": sentence, "code": code, "request_id": id}`.',
        "The code is stable; the sentence may be improved.",
        "",
        "| code | status | meaning |",
        "|---|---|---|",
    ]
    kinds = {
        kind.code: kind
        for module in (errors, gate_errors)
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, errors.TorchgateError)
    }
    for code, status in STATUSES.items():
        meaning = WITHOUT_A_CLASS.get(code) or _one_line(kinds[code].__doc__)
        parts.append(f"| `{code}` | {status} | {meaning} |")
    return _text(parts)


# --- commands -------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments."""
    parts = ["# Commands", NOTE, f"{EPILOG[0].upper()}{EPILOG[1:]}.", ""]
    for parser in _parsers(cli._parser()):
        parts += [f"## `{parser.prog}`", "", parser.description or "", ""]
        rows = [_argument_row(action) for action in parser._actions if not _is_group(action) and action.help]
        if rows:
            parts += ["| argument | meaning |", "|---|---|", *rows, ""]
    return _text(parts)


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _parsers(inner)


def _is_group(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction | argparse._HelpAction)


def _argument_row(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    name = " ".join(filter(None, [", ".join(action.option_strings), str(value)]))
    return f"| `{name}` | {_one_line(action.help)} |"


# --- routes ---------------------------------------------------------------------------------------------------------


def routes_page() -> str:
    """Every route with the action that policy is asked."""
    parts = [
        "# Routes",
        NOTE,
        "The protocol is the Open Inference Protocol V2; `/openapi.json` describes the same table to programs.",
        "A public route needs no credential; for every other one policy is asked about its action.",
        "`describe` and `identify` are granted to every proven caller.",
        "",
        "| method | path | action | answer |",
        "|---|---|---|---|",
    ]
    for route in route_table().routes:
        summary = "501: this server does not offer it." if route.summary == "Not offered." else route.summary
        parts.append(f"| {route.method} | `{route.pattern}` | {route.action or 'public'} | {summary} |")
    return _text(parts)


# --- identity cases -------------------------------------------------------------------------------------------------


def identity_cases_page() -> str:
    """Every identity case that the tests try."""
    cases = identity_cases()
    parts = [
        "# Identity cases tried",
        "<!-- Written by `python -m tools.reference` from the marks `identity_case` of the tests; change those. -->\n",
        "Who asks and what they may do, good and bad; each case is proven by the test beside it.",
        "A test may try a case in many spellings.",
        "",
    ]
    for method in dict.fromkeys(case.method for case in cases):
        parts += [f"## {method[0].upper()}{method[1:]}", "", "| sent | what follows | test |", "|---|---|---|"]
        parts += [_case_row(case) for case in cases if case.method == method]
        parts += [""]
    return _text(parts)


def _case_row(case: IdentityCase) -> str:
    name = case.test or Path(case.path).stem
    return f"| {_one_line(case.sends)} | {_one_line(case.follows)} | [{name}](../../tests/{case.path}) |"


# --- text -----------------------------------------------------------------------------------------------------------


def _one_line(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "").strip()).replace("|", "\\|")


def _text(parts: list[str]) -> str:
    return "\n".join(parts).rstrip() + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "commands.md": commands_page,
    "doctor.md": lambda: doctor_page(NOTE),
    "errors.md": errors_page,
    "identity-cases.md": identity_cases_page,
    "routes.md": routes_page,
    "settings.md": settings_page,
}

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(main())
