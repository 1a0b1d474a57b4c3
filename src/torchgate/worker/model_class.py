"""The format `class`: the author's own Python beside its weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from torchgate.contract.model import LoadContext
from torchgate.contract.worker_wire import Load
from torchgate.worker.device import LoadRefused
from torchgate.worker.loaded_model import LoadedModel

_FORM = 'entry must be "file.py:Class", a file in the version\'s folder'


def load_model_class(load: Load, device: torch.device) -> LoadedModel:
    """Import the author's class from the version's folder, whose other modules it may import, and load it.

    Raises:
        LoadRefused: there is no such file or class.
        Exception: whatever the author's code raises.
    """
    folder = Path(load.folder)
    file_name, _, class_name = load.entry.partition(":")
    if not class_name or not file_name.endswith(".py"):
        raise LoadRefused(f"entry '{load.entry}': {_FORM}")
    file = (folder / file_name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise LoadRefused(f"entry '{load.entry}' lies outside of the version's folder: {_FORM}")
    if not file.is_file():
        raise LoadRefused(f"entry '{load.entry}': {file} does not exist; {_FORM}")
    model = _instance(_import(file, folder), class_name, load.entry)
    context = LoadContext(folder, str(device), load.parameters, load.model, load.version)
    with torch.inference_mode(mode=False):
        model.load(context)
    return LoadedModel(model.predict, device, tuple(_networks(model)))


def _networks(model: object) -> Iterator[torch.nn.Module]:
    """The networks that the author's object holds in attributes."""
    if isinstance(model, torch.nn.Module):
        yield model
        return
    for value in vars(model).values():
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        yield from (one for one in inner if isinstance(one, torch.nn.Module))


def _import(file: Path, folder: Path) -> ModuleType:
    sys.path.insert(0, str(folder))
    name = file.stem if file.stem not in sys.modules else f"torchgate_model_{file.stem}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise LoadRefused(f"{file} can't be imported; {_FORM}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def _instance(module: ModuleType, class_name: str, entry: str) -> Any:
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise LoadRefused(f"entry '{entry}': the file has no class '{class_name}'")
    for method in ("load", "predict"):
        if not callable(getattr(found, method, None)):
            raise LoadRefused(f"entry '{entry}': the class has no method '{method}'; derive it from torchgate.Model")
    return found()
