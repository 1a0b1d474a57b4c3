"""What a model author writes and gets. The signature stands in model.toml; this is the code beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from torchgate.contract.principal import RowPrincipal

Array = Any
"""A torch.Tensor on the worker's device; for BYTES a numpy.ndarray of dtype object that holds `bytes`.

Any, because this room must not know torch and an author's editor should not be told less than the truth.
"""


class NoCaller(Exception):
    """There is nobody whose rights could be had: a made-up input, a model that does not ask for them, a run that is
    over.
    """


class LendsRights(Protocol):
    """Lends a model's code the rights of the caller whose rows it runs."""

    def acting(self) -> AbstractContextManager[None]:
        """A block in which the thread that enters it, and no other, acts as the caller.

        Entering it raises NoCaller, or contract.caller_tokens.CannotImpersonate.
        """
        ...


class LoadContext(msgspec.Struct, frozen=True):
    """What `load` is given.

    Args:
        folder: of this version's files, absolute.
        device: as torch names it: `cpu`, `cuda:0`.
        parameters: the free settings of model.toml.
        model, version: names.
    """

    folder: Path
    device: str
    parameters: Mapping[str, object]
    model: str
    version: str


class Batch(msgspec.Struct, frozen=True):
    """Rows that run together, maybe of several principals.

    Args:
        inputs: name → array of shape [rows, *shape of one row]; for a model that takes no batches the whole shape.
        rows: length of the batch dimension (1 for a model that takes no batches).
        principals: who each row belongs to; as many as rows.
        parameters: request parameters of each row that model.toml declares; as many as rows.
        deadline_at: the earliest deadline, on `time.perf_counter()`.
        rights: of the one caller, where the model asks for them (`impersonate = true`); use `as_caller`.
    """

    inputs: Mapping[str, Array]
    rows: int
    principals: Sequence[RowPrincipal]
    parameters: Sequence[Mapping[str, bool | int | float | str]]
    deadline_at: float
    rights: LendsRights | None = None

    @property
    def has_caller(self) -> bool:
        """Whether `as_caller` can be used: not in warm-up and not on a golden input, which nobody has sent."""
        return self.rights is not None

    def as_caller(self) -> AbstractContextManager[None]:
        """`with batch.as_caller():`; in this block this thread has the Windows rights of its caller, and no others.

        Threads that the block starts have the server's. Entering it raises CannotImpersonate where Windows does not
        give the rights: then nothing of the block runs.

        Raises:
            NoCaller: there is no caller, or the model does not say `impersonate = true`.
        """
        if self.rights is None:
            raise NoCaller(
                "these rows have no caller whose rights could be had: the model does not say impersonate = true, or "
                "the input is made up (warm-up, golden.json). Ask batch.has_caller first."
            )
        return self.rights.acting()


class Model:
    """A model: loaded once per worker, asked for one batch at a time.

    `predict` returns name → array for every output of the signature, with as many rows as the batch, in its order:
    torch tensors (any device), numpy arrays, or for BYTES a sequence of `bytes` or `str`. A row that
    can't be answered: raise; the batch is then run again request by request, and only that row's caller gets the error.
    """

    def load(self, context: LoadContext) -> None:
        """Read weights, move them to the device. An exception makes the model `failed` with its text as reason."""

    def predict(self, batch: Batch) -> Mapping[str, Array]:
        """Answer a batch; called under torch.inference_mode()."""
        raise NotImplementedError(f"{type(self).__name__} has no predict method")
