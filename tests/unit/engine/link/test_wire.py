"""Messages between gate and pool: what they carry, and that no bytes can do more than be refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.in_process_engine import describe_model

from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import InferenceRequest, InferenceResponse
from torchgate.contract.principal import Principal
from torchgate.contract.worker_limits import Enforcement
from torchgate.contract.worker_wire import Frames
from torchgate.engine.link import wire
from torchgate.engine.link.principals import ReadPrincipals, WrittenPrincipals
from torchgate.engine.link.wire import (
    Admit,
    Catalogue,
    Done,
    Hello,
    LinkBroken,
    Refused,
    RunFields,
    Welcome,
    common_protocol,
    decode_from_gate,
    decode_from_pool,
    decode_hello,
    decode_welcome,
    encode,
)

DECODERS = [decode_hello, decode_welcome, decode_from_gate, decode_from_pool]
TAGS = ["admit", "run", "release", "reserve", "ask", "ping", "done", "admitted", "catalogue", "section", "failed"]
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats()
TEXTS = st.text(max_size=9) | st.binary(max_size=9) | st.sampled_from(TAGS)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


def body(frame: bytes) -> bytes:
    (only,) = Frames().feed(frame)
    return only


def test_a_run_carries_every_field_of_a_request_but_the_principal_and_its_token():
    """A token is a handle of the gate's process; no model of a pool has a use for one."""
    told = {name.replace("remaining_s", "deadline_at") for name in RunFields.__struct_fields__}
    assert told == set(InferenceRequest.__struct_fields__) - {"principal", "token"}, (
        "a field was added on one side alone"
    )


def test_gates_hear_how_the_limits_of_workers_are_held():
    held = (
        Enforcement("memory_bytes", "cgroup", "of all", 1 << 40),
        Enforcement("processors", "affinity", value=(0, 2)),
        Enforcement("device_memory_fraction", "torch", value=0.5),
        Enforcement("processes", "", "no group", 4),
    )
    message = Catalogue((msgspec.structs.replace(describe_model("m", (), ()), limits=held),), {"m": "1"}, True)
    assert decode_from_pool(body(encode(message))) == message


def test_an_answer_carries_every_field_of_a_response():
    assert set(Done.__struct_fields__) - {"permit", "stretch"} == set(InferenceResponse.__struct_fields__) - {
        "payload", "place"
    }  # fmt: skip


def test_a_principal_arrives_whole():
    principal = Principal(
        "entra|x|y", "Zoë", "bearer", "entra", marks=frozenset({"a", "b"}), denial_marks=frozenset({"c"}),
        groups_known=False, roles=frozenset({"r"}), denied_roles=frozenset({"d"}), credential_id="jti", expires_at=1.5,
    )  # fmt: skip
    frame = body(encode(Admit(1, ModelRef("m", "1"), WrittenPrincipals().write(principal), 5)))
    message = decode_from_gate(frame)
    assert isinstance(message, Admit)
    assert ReadPrincipals().read(message.principal) == principal


@pytest.mark.parametrize(
    ("oldest", "newest", "both"),
    [(1, 1, 1), (1, 9, 1), (2, 9, None), (0, 0, None), (-5, 1, 1), (9, 1, None)],
)
def test_the_newest_protocol_that_both_speak_is_spoken(oldest: int, newest: int, both: int | None):
    assert common_protocol(Hello(oldest, newest, "1.0")) == both


def test_the_first_messages_keep_their_form_for_programs_of_other_versions():
    newer = {"type": "Hello", "oldest": 7, "newest": 9, "program": "9.0", "mood": "good"}
    assert decode_hello(msgspec.msgpack.encode(newer)) == Hello(7, 9, "9.0")
    refused = {"type": "Refused", "sentence": "too old", "more": [1, 2]}
    assert decode_welcome(msgspec.msgpack.encode(refused)) == Refused("too old")
    assert msgspec.msgpack.decode(body(encode(Welcome(1, "1.0", 5)))) == {
        "type": "Welcome", "protocol": 1, "program": "1.0", "max_permits": 5
    }  # fmt: skip


@given(st.binary(max_size=200) | VALUES.map(msgspec.msgpack.encode))
def test_no_bytes_do_more_than_to_be_a_message_or_to_be_refused(data: bytes):
    for decode in DECODERS:
        try:
            message = decode(data)
        except LinkBroken:
            continue
        assert type(message).__module__ == wire.__name__


def test_deep_nesting_is_refused():
    for decode in DECODERS:
        with pytest.raises(LinkBroken):
            decode(b"\x91" * 100_000)
