"""The format `export`: a `.pt2` of torch.export, examined before torch reads it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from torchgate.contract.model import Array, Batch
from torchgate.contract.tensors import Signature
from torchgate.contract.worker_wire import Load
from torchgate.worker.answer import WrongAnswer
from torchgate.worker.device import LoadRefused
from torchgate.worker.exported_archive import ArchiveRefused, examined_copy
from torchgate.worker.loaded_model import LoadedModel
from torchgate.worker.runner import Predict


def load_exported(load: Load, device: torch.device) -> LoadedModel:
    """Load a `.pt2`, through a copy in memory that holds only what was examined.

    Raises:
        LoadRefused: it is not one that we load.
    """
    refuse_text(load.signature, "an exported program")
    file = Path(load.folder) / load.entry
    if file.suffix != ".pt2":
        raise LoadRefused(
            f'{file.name} is no .pt2; save the model with torch.export.save, or use format "class" with '
            "safetensors. Pickled files (.pt, .pth, .bin, .pkl) are never loaded: they run code of whoever wrote them"
        )
    try:
        copy = examined_copy(file)
    except ArchiveRefused as refused:
        raise LoadRefused(f"{file.name}: {refused}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notes to developers; what matters to an operator raises
        program = torch.export.load(copy)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()
    return LoadedModel(positional(module, load.signature), device, (module,))


def positional(call: Callable[..., object], signature: Signature) -> Predict:
    """Inputs in the signature's order as positional arguments; outputs by order, or by name where it returns a dict."""
    inputs = tuple(spec.name for spec in signature.inputs)
    outputs = tuple(spec.name for spec in signature.outputs)

    def predict(batch: Batch) -> Mapping[str, Array]:
        return _named(call(*(batch.inputs[name] for name in inputs)), outputs)

    return predict


def _named(answer: object, names: Sequence[str]) -> Mapping[str, Array]:
    if isinstance(answer, Mapping):
        return answer
    values = answer if isinstance(answer, tuple | list) else (answer,)
    if len(values) != len(names):
        raise WrongAnswer(f"the program returned {len(values)} outputs, declared are {len(names)}: {', '.join(names)}")
    return dict(zip(names, values, strict=True))


def refuse_text(signature: Signature, what: str) -> None:
    """Raise LoadRefused where an input or output is text."""
    for spec in (*signature.inputs, *signature.outputs):
        if spec.datatype == "BYTES":
            raise LoadRefused(f"'{spec.name}' is BYTES, which {what} can't take; use format \"class\"")
