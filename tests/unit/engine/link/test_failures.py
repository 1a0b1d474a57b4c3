"""Errors cross the wire as they are."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.contract import errors
from torchgate.contract.errors import MethodNotAllowed, ModelNotReady, TorchgateError, Unavailable
from torchgate.engine.link.failures import Failure, error_of, failure_of, unexpected_failure

EVERY_CLASS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TorchgateError)]
SECONDS = st.none() | st.floats(min_value=0, max_value=1e9)


def across(error: TorchgateError) -> TorchgateError:
    return error_of(msgspec.msgpack.decode(msgspec.msgpack.encode(failure_of(error)), type=Failure))


@pytest.mark.parametrize("kind", EVERY_CLASS, ids=lambda kind: kind.__name__)
@given(sentence=st.text(), detail=st.text(), retry_after_s=SECONDS)
def test_every_error_of_the_contract_comes_out_as_it_went_in(
    kind: type[TorchgateError], sentence: str, detail: str, retry_after_s: float | None
):
    if kind is MethodNotAllowed:
        error: TorchgateError = MethodNotAllowed(sentence, allowed=("GET", "POST"))
        error.detail, error.retry_after_s = detail, retry_after_s
    else:
        error = kind(sentence, detail=detail, retry_after_s=retry_after_s)
    came = across(error)
    assert type(came) is kind
    assert vars(came) == vars(error)
    assert str(came) == str(error) == sentence


def test_an_error_that_only_a_newer_pool_knows_is_the_nearest_that_is_known_here():
    newer = Failure(("ModelAsleep", "ModelNotReady", "Unavailable", "TorchgateError"), "asleep", "", 3.0, {"until": 4})
    came = error_of(newer)
    assert type(came) is ModelNotReady
    assert (came.sentence, came.retry_after_s) == ("asleep", 3.0)
    assert type(error_of(Failure((), "?", "", None, {}))) is TorchgateError


def test_what_can_t_travel_stays_and_the_error_goes():
    error = Unavailable("no", detail="d")
    error.socket = object()  # type: ignore[attr-defined]
    came = across(error)
    assert type(came) is Unavailable
    assert not hasattr(came, "socket")


def test_a_name_that_is_no_error_makes_none():
    came = error_of(Failure(("annotations", "ClassVar", "__builtins__"), "x", "", None, {"sentence": "other"}))
    assert type(came) is TorchgateError
    assert came.sentence == "x"


def test_an_unexpected_error_says_nothing_of_itself_to_callers():
    came = error_of(unexpected_failure(ValueError("secret")))
    assert came.code == "internal_error"
    assert "secret" not in came.sentence
    assert "secret" in came.detail
