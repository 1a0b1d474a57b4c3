"""A loaded model made into an AOTInductor package: native code that gives the same answers without Python."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from torchgate.contract.model import Array, Batch
from torchgate.contract.tuning import Tune
from torchgate.worker.loaded_model import LoadedModel
from torchgate.worker.runner import Predict

_COMPILERS = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")


class CannotCompile(Exception):
    """Why there is no package; the text is for the operator."""


def compile_package(tune: Tune, model: LoadedModel, inputs: Mapping[str, Array]) -> None:
    """Write the package.

    Args:
        inputs: of the largest batch.

    Raises:
        CannotCompile: what we know beforehand. Exception: whatever torch raises.
    """
    _check(tune, model)
    wrapped = _AsModule(model.predict, tuple(spec.name for spec in tune.signature.inputs), model.modules)
    rows = {0: torch.export.Dim("rows", min=1, max=tune.max_batch_size)} if tune.max_batch_size > 1 else {}
    # Otherwise torch takes for granted that there are two rows or more, whatever Dim says.
    oblivious = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with warnings.catch_warnings(), torch.no_grad(), oblivious:
        warnings.simplefilter("ignore")  # torch's notes to developers; what matters raises
        program = torch.export.export(
            wrapped, tuple(inputs.values()), dynamic_shapes=(tuple(rows for _ in inputs),), strict=False
        )
        torch._inductor.aoti_compile_and_package(program, package_path=tune.package)
    if not Path(tune.package).is_file():
        raise CannotCompile("torch wrote no package")


def _check(tune: Tune, model: LoadedModel) -> None:
    for spec in (*tune.signature.inputs, *tune.signature.outputs):
        if spec.datatype == "BYTES":
            raise CannotCompile(f"{spec.name!r} is BYTES, and compiled code knows numbers alone")
    for spec in tune.signature.inputs:
        if -1 in spec.shape:
            raise CannotCompile(f"input {spec.name!r} has an open dimension besides rows")
    if not model.modules:
        raise CannotCompile("the model holds no torch.nn.Module")
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ((named,) if named else _COMPILERS)):
        wanted = named or " or ".join(_COMPILERS)
        where = "in a developer prompt of Visual Studio" if sys.platform == "win32" else "with the compiler installed"
        raise CannotCompile(f"there is no C++ compiler here ({wanted} is not on PATH); run `models tune` {where}")


class _AsModule(torch.nn.Module):
    """A model's predict as torch.export wants it: tensors in, the mapping of outputs back."""

    def __init__(self, predict: Predict, names: Sequence[str], modules: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.held = torch.nn.ModuleList(modules)
        self._predict = predict
        self._names = names

    def forward(self, *inputs: torch.Tensor) -> dict[str, Any]:
        """Called once, with tensors that stand for any."""
        unseen = _Unseen()
        rows: Any = inputs[0].shape[0]
        named = dict(zip(self._names, inputs, strict=True))
        batch = Batch(named, rows, unseen, unseen, unseen)  # type: ignore[arg-type]
        return dict(self._predict(batch))


class _Unseen:
    """Stands for principals, parameters and deadline: compiled code would answer all by those of one."""

    def _refuse(self, *_: object) -> NoReturn:
        raise CannotCompile("predict looks at principals, parameters or the deadline, which differ from call to call")

    __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __sub__ = __rsub__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()
