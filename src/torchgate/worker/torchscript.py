"""The format `torchscript`: read for compatibility alone; torch itself calls it deprecated."""

from __future__ import annotations

import sys
import warnings
import zipfile
from pathlib import Path

import torch

from torchgate.contract.worker_wire import Load
from torchgate.worker.device import LoadRefused
from torchgate.worker.exported import positional
from torchgate.worker.loaded_model import LoadedModel


def load_torchscript(load: Load, device: torch.device) -> LoadedModel:
    """Load a TorchScript archive, and say on stderr that the format has no future.

    Raises:
        LoadRefused: the file is no such archive.
    """
    file = Path(load.folder) / load.entry
    if not _is_script(file):
        raise LoadRefused(
            f"{file.name} is no TorchScript archive. Pickled files (.pt, .pth, .bin, .pkl) are never loaded: they run "
            "code of whoever wrote them. Save the model with torch.export.save, or its weights as safetensors"
        )
    sys.stderr.write(f"{load.model}: TorchScript is deprecated by torch; export it with torch.export.save\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(file), map_location=device)  # type: ignore[no-untyped-call]
    module.eval()
    return LoadedModel(positional(module, load.signature), device, (module,))


def _is_script(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())
