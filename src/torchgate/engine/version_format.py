"""What kind of artifact lies in a version's folder, and which file of it is the entry."""

from __future__ import annotations

import ast
from pathlib import Path

from torchgate.contract.bounded_files import read_bounded
from torchgate.engine.model_settings import ModelSettings

_MAX_SOURCE_BYTES = 8 << 20
_ENDINGS = {"export": (".pt2",), "torchscript": (".pt", ".ts"), "aoti": (".pt2",)}
_REFUSED = (".pkl", ".pickle", ".joblib", ".bin", ".ckpt", ".pth")


class FormatUnknown(Exception):
    """Nothing there can be loaded; the text says why and what to do."""


def format_and_entry(settings: ModelSettings, folder: Path) -> tuple[str, str]:
    """The format and entry of a version, as model.toml says or as its folder shows.

    Raises:
        FormatUnknown: see there.
        OSError: the folder can't be read.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    kind = settings.format or _format_of(names, settings.entry, folder)
    if settings.entry is not None:
        _check_entry(kind, settings.entry, names, folder)
        return kind, settings.entry
    return kind, _class_entry(names, folder) if kind == "class" else _only_file(kind, names, folder)


def _format_of(names: list[str], entry: str | None, folder: Path) -> str:
    for candidate in (entry.partition(":")[0],) if entry else names:
        for kind, endings in _ENDINGS.items():
            if candidate.lower().endswith(endings):
                return kind
    if "model.py" in names or (entry is not None and ".py" in entry):
        return "class"
    refused = [name for name in names if name.lower().endswith(_REFUSED)]
    hint = f" {refused[0]!r} may be a pickle, which runs code of whoever wrote it: never loaded." if refused else ""
    raise FormatUnknown(f"{folder} holds neither a .pt2, nor a .pt, nor a model.py.{hint} Put one of these there.")


def _check_entry(kind: str, entry: str, names: list[str], folder: Path) -> None:
    file, colon, name = entry.partition(":")
    if kind == "class" and not (file.endswith(".py") and colon and name.isidentifier()):
        raise FormatUnknown(f'entry is {entry!r}; for format "class" it must be "file.py:Class".')
    if file not in names:
        raise FormatUnknown(f"entry is {entry!r}, and {folder} holds no file {file!r}. There is: {_listed(names)}.")


def _only_file(kind: str, names: list[str], folder: Path) -> str:
    fitting = [name for name in names if name.lower().endswith(_ENDINGS[kind])]
    if len(fitting) != 1:
        wanted = " or ".join(_ENDINGS[kind])
        seen = _listed(fitting) if fitting else "none"
        raise FormatUnknown(f"{folder} must hold exactly one {wanted}, or `entry` must say which. There is: {seen}.")
    return fitting[0]


def _class_entry(names: list[str], folder: Path) -> str:
    """The only class of model.py that derives from Model; the file is parsed, never run."""
    if "model.py" not in names:
        raise FormatUnknown(f'{folder} holds no model.py. Write it, or name the class: entry = "file.py:Class".')
    try:
        tree = ast.parse(read_bounded(folder / "model.py", _MAX_SOURCE_BYTES))
    except OSError as error:
        raise FormatUnknown(f"{folder / 'model.py'} can't be read: {error.strerror or error}.") from None
    except (MemoryError, RecursionError):  # the parser's words for too many of its own calls
        raise FormatUnknown(f"{folder / 'model.py'} is not Python: it is nested too deeply.") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        raise FormatUnknown(f"{folder / 'model.py'}, line {line}, is not Python: {error}.") from None
    classes = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(one).split(".")[-1] == "Model" for one in node.bases)
    ]
    if len(classes) != 1:
        seen = _listed(classes) if classes else "none"
        raise FormatUnknown(
            f"{folder / 'model.py'} must have exactly one class that derives from torchgate.Model. There is: {seen}. "
            'Name it: entry = "model.py:Class".'
        )
    return f"model.py:{classes[0]}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8]) or "nothing"
    return f"{shown} …" if len(names) > 8 else shown
