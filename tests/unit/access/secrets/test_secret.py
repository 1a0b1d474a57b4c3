"""A secret shows itself nowhere, whoever prints, encodes or copies it."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

from torchgate.access.secrets.live_secret import LiveSecret
from torchgate.access.secrets.secret import Secret, SecretValue

CANARY = "hunter2"
VALUE = SecretValue(CANARY.encode(), "v1")
SECRET = Secret(VALUE, SecretValue(b"hunter1", "v0", expires_at=100.0))
ALL = [VALUE, SECRET, LiveSecret("pepper", SECRET, 0.0)]


@pytest.mark.parametrize("holder", ALL)
def test_no_text_of_it_has_a_value(holder: object) -> None:
    for shown in (f"{holder!r}", f"{holder}", f"{[holder]}", f"{ {'x': holder} }", str(holder)):
        assert "hunter" not in shown
        assert SECRET.current.digest.hex()[:8] not in shown


@pytest.mark.parametrize("holder", ALL)
@pytest.mark.parametrize(
    "encode",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        orjson.dumps,
        json.dumps,
        vars,
    ],
)
def test_nothing_copies_or_encodes_it(holder: object, encode: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        encode(holder)
    assert "hunter" not in str(caught.value)


def test_verification_accepts_every_value_that_has_not_expired() -> None:
    live = LiveSecret("pepper", SECRET, 99.0)
    assert live.accepts(b"hunter2")
    assert live.accepts(b"hunter1")
    assert not live.accepts(b"hunter")
    assert not live.accepts(b"")
    assert live.accepted() == (b"hunter2", b"hunter1")
    live = LiveSecret("pepper", SECRET, 100.0)
    assert not live.accepts(b"hunter1")
    assert live.current() == b"hunter2"


def test_who_holds_it_sees_the_new_values_all_at_once_and_is_told() -> None:
    live = LiveSecret("pepper", SECRET, 0.0)
    told: list[bytes] = []
    live.on_change(lambda: 1 / 0)
    live.on_change(lambda: told.append(live.current()))
    assert live.replace(Secret(SecretValue(b"new", "v2"), VALUE), 0.0)
    assert not live.replace(Secret(SecretValue(b"new", "v3"), VALUE), 0.0)
    assert told == [b"new"]
    assert live.accepts(b"hunter2")
    assert not live.accepts(b"hunter1")


def test_a_current_value_that_has_expired_is_accepted_no_more() -> None:
    live = LiveSecret("pepper", Secret(SecretValue(b"old", "v1", expires_at=10.0)), 9.0)
    assert live.accepts(b"old")
    assert live.replace(live.secret, 10.0)
    assert not live.accepts(b"old")
