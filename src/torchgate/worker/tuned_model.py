"""A model run as `models tune` chose, where that still fits what lies there; else as it is, and the log says why."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.utils import _pytree as pytree

from torchgate.contract.tensors import Signature
from torchgate.contract.tuning import PACKAGE, TUNED_FOLDER, Tune, Tuned
from torchgate.contract.worker_wire import Load
from torchgate.worker.device import LoadRefused
from torchgate.worker.exported import positional, refuse_text
from torchgate.worker.loaded_model import LoadedModel

_CHECK_INPUTS = "AOTI_RUNTIME_CHECK_INPUTS"
"""torch's switch: compiled code looks at shapes before it reads memory by them. Only for open dimensions: the others
are checked at the door, and torch believes that a program for 1 to 8 rows is one for 2 to 8, which it need not be."""

_NAME = "model"
"""Of the program in a package, as torch writes it where nobody gives another."""

_NOT_MEASURED = ("model.sig",)


def load_tuned(load: Load, tuned: Tuned, device: torch.device, load_plain: Callable[[], LoadedModel]) -> LoadedModel:
    """The model as tuned, or plain where the choice does not fit any more."""
    why_not = _misfit(load, tuned, device)
    if not why_not and tuned.choice == "aoti":
        try:
            return load_package(Path(load.folder) / PACKAGE, load.signature, device)
        except (LoadRefused, RuntimeError, OSError) as error:
            why_not = f"its package can't be loaded ({' '.join(str(error).split())[:300]})"
    model = load_plain()
    if why_not:
        sys.stderr.write(
            f"{load.model}:{load.version} runs untuned: {why_not}. Tune it again: torchgate models tune "
            f"{load.model}:{load.version}\n"
        )
    elif tuned.choice == "channels_last":
        to_channels_last(model)
    return model


def load_aoti(load: Load, device: torch.device) -> LoadedModel:
    """The format `aoti`: a package of AOTInductor, native code for one platform, torch and processor.

    Raises:
        LoadRefused: it is none, or not for this machine.
    """
    refuse_text(load.signature, "a compiled package")
    if any(-1 in spec.shape for spec in load.signature.inputs):
        os.environ[_CHECK_INPUTS] = "1"
    file = Path(load.folder) / load.entry
    if file.suffix != ".pt2":
        raise LoadRefused(f"{file.name} is no .pt2, as torch._inductor.aoti_compile_and_package writes it")
    return load_package(file, load.signature, device)


def load_package(file: Path, signature: Signature, device: torch.device) -> LoadedModel:
    """A compiled package.

    Raises:
        LoadRefused: it is for another machine. RuntimeError, OSError: torch can't load it.
    """
    # The loader itself: torch.export's function around it imports the compiler, for nearly two seconds.
    _check_archive(file)
    index = -1 if device.index is None else device.index
    loader = torch._C._aoti.AOTIModelPackageLoader(  # pyright: ignore[reportAttributeAccessIssue]
        str(file), _NAME, False, 1, index
    )
    made_for = loader.get_metadata()
    wanted = {
        "AOTI_DEVICE_KEY": device.type,
        "AOTI_PLATFORM": platform.uname().system.lower(),
        "AOTI_MACHINE": platform.machine(),
    }
    for name, here in wanted.items():
        if made_for.get(name, here).lower() != here.lower():
            raise LoadRefused(f"{file.name} was compiled for {made_for[name]!r}, and this is {here!r}; compile it here")
    return LoadedModel(positional(_caller(loader), signature), device)


def _check_archive(file: Path) -> None:
    """What can be said without torch, whose C++ exceptions some platforms don't survive."""
    try:
        with zipfile.ZipFile(file) as archive:
            if any(f"/data/aotinductor/{_NAME}/" in name for name in archive.namelist()):
                return
    except (zipfile.BadZipFile, OSError):
        pass
    raise LoadRefused(f"{file} is no package of AOTInductor, which torch._inductor.aoti_compile_and_package writes")


def _caller(loader: Any) -> Callable[..., object]:
    """A package's function; torch's own reads the layout of the outputs from JSON at each call, we once."""
    outputs = pytree.treespec_loads(loader.get_call_spec()[1])

    def call(*inputs: torch.Tensor) -> object:
        return pytree.tree_unflatten(loader.boxed_run(list(inputs)), outputs)

    return call


def to_channels_last(model: LoadedModel) -> bool:
    """Put the weights of convolutions into the order that they are read in; whether there were any."""
    convolving = [
        module
        for module in model.modules
        if any(isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for part in module.modules())
        or any(weight.dim() == 4 for weight in module.parameters())
    ]
    for module in convolving:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return bool(convolving)


def machine(device: torch.device) -> str:
    """What compiled code and measurements depend on: system, processor with its features, and the GPU's kind."""
    features: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    present = ",".join(sorted(name for name, value in features.items() if value is True))
    mark = hashlib.sha256(present.encode()).hexdigest()[:8]
    kind = torch.backends.cpu.get_cpu_capability()
    text = f"{platform.uname().system.lower()} {platform.machine()} {kind} {mark}"
    return text if device.type == "cpu" else f"{text} {torch.cuda.get_device_name(device)}"


def made_of(load: Load | Tune) -> str:
    """SHA-256 over the version's files and what model.toml gives to them; tuning's own files and signatures apart."""
    total = hashlib.sha256()
    settings = (load.format, load.entry, load.signature, load.max_batch_size, load.device, load.parameters)
    total.update(json.dumps(msgspec.to_builtins(settings), sort_keys=True).encode())
    for relative, path in _files(Path(load.folder)):
        with path.open("rb") as file:
            total.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {relative}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and relative not in _NOT_MEASURED and not relative.startswith(f"{TUNED_FOLDER}/"):
            yield relative, path


def _misfit(load: Load, tuned: Tuned, device: torch.device) -> str:
    here = str(torch.__version__)
    if tuned.torch != here:
        return f"it was tuned with torch {tuned.torch}, and this is {here}"
    if tuned.machine != machine(device):
        return f"it was tuned on {tuned.machine!r}, and this is {machine(device)!r}"
    if tuned.made_of != made_of(load):
        return "its files or model.toml have changed since it was tuned"
    if tuned.choice == "aoti" and sha256_of(Path(load.folder) / PACKAGE) != tuned.package_sha256:
        return f"{PACKAGE} is missing or another one than was tuned"
    return ""


def sha256_of(file: Path) -> str:
    """Of a file's content, or empty where it can't be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""
