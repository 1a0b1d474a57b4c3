"""An error of the contract on its way between two processes: it comes out as the class that went in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from torchgate.contract import errors
from torchgate.contract.errors import TorchgateError

_OWN_FIELDS = ("sentence", "detail", "retry_after_s")

ExtraValue = bool | int | float | str | tuple[str, ...] | None


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A TorchgateError.

    Args:
        kinds: names of its class and of those above it, nearest first: a program that does not know the first knows
            a later one.
        sentence, detail, retry_after_s: as TorchgateError has them.
        extra: what its class has beyond these, e.g. `allowed`.
    """

    kinds: tuple[str, ...]
    sentence: str
    detail: str
    retry_after_s: float | None
    extra: Mapping[str, ExtraValue]


def failure_of(error: TorchgateError) -> Failure:
    """What is sent."""
    kinds = tuple(kind.__name__ for kind in type(error).__mro__ if issubclass(kind, TorchgateError))
    extra = {name: value for name, value in vars(error).items() if name not in _OWN_FIELDS and _can_travel(value)}
    return Failure(kinds, error.sentence, error.detail, error.retry_after_s, extra)


def unexpected_failure(error: Exception) -> Failure:
    """What is sent of an error that is none of the contract: a bug here, and a 500 there."""
    sentence = "The server failed on this request. The pool's log has the reason."
    return Failure((TorchgateError.__name__,), sentence, repr(error), None, {})


def error_of(failure: Failure) -> TorchgateError:
    """What came, as the nearest class that is known here."""
    known = dict(_error_classes())
    kind = next((known[name] for name in failure.kinds if name in known), TorchgateError)
    # Not through the class's own __init__: its arguments are its own affair, what it keeps is sent whole.
    error = kind.__new__(kind, failure.sentence)
    TorchgateError.__init__(error, failure.sentence, detail=failure.detail, retry_after_s=failure.retry_after_s)
    vars(error).update({name: value for name, value in failure.extra.items() if name not in _OWN_FIELDS})
    return error


def _error_classes() -> Iterator[tuple[str, type[TorchgateError]]]:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, TorchgateError):
            yield name, kind


def _can_travel(value: object) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(one, str) for one in value)
    return value is None or isinstance(value, bool | int | float | str)
