"""Loads the model of a Load message, warms it up, and says in the operator's words why not."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable

import torch

from torchgate.contract.clock import monotonic_s
from torchgate.contract.worker_wire import Load, Loaded, LoadFailed
from torchgate.worker.answer import WrongAnswer
from torchgate.worker.collate import Collator
from torchgate.worker.device import LoadRefused, bound_device_memory, choose_device
from torchgate.worker.exported import load_exported
from torchgate.worker.loaded_model import LoadedModel
from torchgate.worker.model_class import load_model_class
from torchgate.worker.runner import Runner
from torchgate.worker.torchscript import load_torchscript
from torchgate.worker.tuned_model import load_aoti, load_tuned
from torchgate.worker.warm_up import OPEN_DIMENSION, warm_up

_LONGEST_REASON = 400
"""Characters of an author's exception in `models status`; the whole of it is in the log."""


def load_runner(
    load: Load, memory: memoryview, on_loaded: Callable[[float], None]
) -> tuple[Runner | None, Loaded | LoadFailed]:
    """The runner of a model that has answered its warm-up, or none, and the message that says so.

    Args:
        on_loaded: called with the seconds that loading took, before the warm-up.
    """
    name = f"Model '{load.model}' version '{load.version}'"
    started = monotonic_s()
    try:
        model = load_model(load)
    except LoadRefused as refused:
        return None, LoadFailed(f"{name} can't be loaded: {refused}.", "")
    except Exception as error:  # noqa: BLE001 - the author's code may raise anything, and the operator must be told
        return None, LoadFailed(f"{name} can't be loaded: {error_text(error)}.", error_trace(error))
    loaded_at = monotonic_s()
    on_loaded(loaded_at - started)
    collator = Collator(memory, model.device)
    try:
        warm_up(load, model.predict, model.device, collator)
    except WrongAnswer as error:
        return None, LoadFailed(f"{name} answered its warm-up against its signature: {error}.", error_trace(error))
    except Exception as error:  # noqa: BLE001 - as above
        reason = (
            f"{name} failed in its warm-up on made-up input (zeros, texts 'warm up', {OPEN_DIMENSION} for -1): "
            f"{error_text(error)}. Make predict accept it, check the shapes in model.toml, or set [warm_up] runs = 0."
        )
        return None, LoadFailed(reason, error_trace(error))
    runner = Runner(
        name,
        load.signature,
        takes_batches=load.max_batch_size > 0,
        idempotent=load.idempotent,
        predict=model.predict,
        collator=collator,
        memory=memory,
    )
    # What lives now lives as long as the process: the collector need not look at it between requests.
    gc.collect()
    gc.freeze()
    return runner, Loaded(loaded_at - started, monotonic_s() - loaded_at)


def load_model(load: Load) -> LoadedModel:
    """The model of any format, as tuned where it was.

    Raises:
        LoadRefused: it is none that we load. Exception: whatever the author's code raises.
    """
    device = choose_device(load.device)
    bound_device_memory(device, load.device_memory_fraction)
    if load.tuned is None or load.tuned.choice == "eager":
        return _load_plain(load, device)
    return load_tuned(load, load.tuned, device, lambda: _load_plain(load, device))


def _load_plain(load: Load, device: torch.device) -> LoadedModel:
    match load.format:
        case "class":
            return load_model_class(load, device)
        case "export":
            return load_exported(load, device)
        case "torchscript":
            return load_torchscript(load, device)
        case "aoti":
            return load_aoti(load, device)
        case other:
            raise LoadRefused(f"format '{other}' is unknown; write class, export, torchscript or aoti")


def error_text(error: Exception) -> str:
    """An exception as one short line."""
    text = " ".join(str(error).split()) or "no text"
    if len(text) > _LONGEST_REASON:
        text = f"{text[:_LONGEST_REASON]}…"
    return f"{type(error).__name__}: {text}".rstrip(".")


def error_trace(error: Exception) -> str:
    """An exception with its whole traceback."""
    return "".join(traceback.format_exception(error))
