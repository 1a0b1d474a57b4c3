"""Every event that leaves is a valid OCSF 1.8.0 event on one line, whatever a caller put into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, PolicyEvent, RefusalsEvent, RequestEvent
from torchgate.contract.decision import Action, Decision
from torchgate.telemetry.ocsf import OcsfEncoder, is_refused
from torchgate.telemetry.ocsf_frames import ChainPlace, RequestFrames, figures_of

SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("ocsf-1.8.0.json").read_text(encoding="utf-8"))
PYTHON_TYPES = {"string_t": str, "integer_t": int, "long_t": int, "boolean_t": bool, "float_t": float}


def _encoder() -> OcsfEncoder:
    return OcsfEncoder(host="web01", version="9.9", chain="web01-0a0b0c0d-1", uid_prefix="0193-0a0b0c0d-")


def _encode(event: AuditEvent) -> dict[str, Any]:
    line = _encoder().encode(event, ChainPlace(7, "ab" * 32))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def _mistakes(record: Mapping[str, Any]) -> list[str]:
    shape = SCHEMA["classes"][str(record["class_uid"])]
    mistakes = _object_mistakes("event", record, shape["attributes"], {})
    if record["type_uid"] != record["class_uid"] * 100 + record["activity_id"]:
        mistakes.append("type_uid is not class_uid * 100 + activity_id")
    return mistakes


def _object_mistakes(
    place: str, value: Mapping[str, Any], attributes: Mapping[str, Any], constraints: Mapping[str, Any]
) -> list[str]:
    mistakes = [
        f"{place}.{name} is missing" for name, a in attributes.items() if a.get("required") and name not in value
    ]
    if "at_least_one" in constraints and not set(constraints["at_least_one"]) & set(value):
        mistakes.append(f"{place} has none of {constraints['at_least_one']}")
    for name, inner in value.items():
        if name not in attributes:
            mistakes.append(f"{place}.{name} is not in the schema")
            continue
        shape = attributes[name]
        if shape.get("array") and not isinstance(inner, list):
            mistakes.append(f"{place}.{name} is no array")
        for item in inner if isinstance(inner, list) else [inner]:
            mistakes += _value_mistakes(f"{place}.{name}", item, shape)
    return mistakes


def _value_mistakes(place: str, value: object, shape: Mapping[str, Any]) -> list[str]:
    if shape["type"] in SCHEMA["objects"]:
        found = SCHEMA["objects"][shape["type"]]
        assert isinstance(value, dict), place
        return _object_mistakes(place, value, found["attributes"], found["constraints"])
    kind = SCHEMA["types"].get(shape["type"])
    if shape["type"] == "object" or kind == "json_t":
        return []
    if kind is None:
        return [f"{place} has type {shape['type']}, which ocsf-1.8.0.json lacks: add it to extract_ocsf.py"]
    if not isinstance(value, PYTHON_TYPES[kind]) or (kind != "boolean_t" and isinstance(value, bool)):
        return [f"{place} is {value!r}, and should be {kind}"]
    if "enum" in shape and str(value) not in shape["enum"]:
        return [f"{place} is {value!r}, which is none of {shape['enum']}"]
    return []


EVENTS: dict[str, AuditEvent] = {
    "allowed": make_event(),
    "every optional field": make_event(client_request_id="abc", credential_reason=""),
    "forbidden": make_refusal(),
    "no credential": make_event(status=401, code="no_credential", principal=None, decision=None, model=None),
    "unknown model": make_refusal(status=404, code="unknown_model", model=None, model_name="x", model_digest=""),
    "quota": make_event(status=429, code="quota_exceeded"),
    "model error": make_event(status=500, code="model_error"),
    "no route": make_event(status=404, code="unknown_path", action="", model=None, model_name="", decision=None),
    "not an address": make_event(peer="unix", trace_id=""),
    "no address": make_event(peer=""),
    "no digest": make_event(model_digest=""),
    "policy changed by a file": PolicyEvent(1795197600.0, "5be1", "77aa", "Policy 77aa takes the place of 5be1."),
    "policy changed by a principal": PolicyEvent(1795197600.0, "5be1", "77aa", "It does.", make_event().principal),
    "policy refused": PolicyEvent(1795197600.0, "5be1", "5be1", "It has mistakes.", is_refused=True),
    "refusals": RefusalsEvent(1795197600.0, "10.0.0.1", "direct", 512, 60.0),
    **{f"action {action}": make_event(action=action.value) for action in Action},
    **{
        activity: LifecycleEvent(1795197600.0, activity, "model digits:1", "It did.")
        for activity in ("start", "stop", "restart", "update", "failure")
    },
}


@pytest.mark.parametrize("name", EVENTS)
def test_event_satisfies_the_schema(name: str) -> None:
    assert _mistakes(_encode(EVENTS[name])) == []


def test_the_schema_check_can_fail() -> None:
    record = _encode(EVENTS["allowed"])
    del record["actor"]
    record["metadata"]["sequence"] = "7"
    record["surprise"] = 1
    assert len(_mistakes(record)) == 3


@pytest.mark.parametrize(
    ("name", "action_id", "disposition_id"),
    [
        ("allowed", 1, 1), ("forbidden", 2, 2), ("no credential", 2, 26), ("unknown model", 2, 2), ("quota", 2, 25),
        ("model error", 1, 27), ("no route", 2, 27), ("refusals", 2, 26),
    ],
)  # fmt: skip
def test_outcome_is_told_apart(name: str, action_id: int, disposition_id: int) -> None:
    record = _encode(EVENTS[name])
    assert (record["action_id"], record["disposition_id"]) == (action_id, disposition_id)


def test_refusals_are_those_of_identity_and_policy() -> None:
    refused = [name for name, event in EVENTS.items() if isinstance(event, RequestEvent) and is_refused(event)]
    assert refused == ["forbidden", "no credential", "unknown model"]


def test_event_says_who_did_what_and_which_rule_decided() -> None:
    record = _encode(make_event())
    assert record["actor"]["user"]["uid"] == "entra|https://issuer.example|ada"
    assert record["actor"]["user"]["groups"] == [{"name": "analyst", "type": "role"}]
    assert record["authorizations"][0]["policy"]["name"] == "policy.grants[0]"
    assert record["authorizations"][0]["policy"]["version"] == "sha256:5be1"
    assert record["api"]["operation"] == "infer"
    assert record["ai_model"] == {
        "ai_provider": "Internal",
        "name": "digits",
        "version": "1",
        "uid": "sha256:" + "ab" * 32,
    }
    assert record["unmapped"]["queue_us"] == 1000
    assert record["metadata"]["uid"] == "0193-0a0b0c0d-7"


def test_a_change_of_the_policy_names_both_versions_and_who_asked() -> None:
    record = _encode(EVENTS["policy changed by a principal"])
    assert (record["class_uid"], record["type_uid"], record["status"]) == (3004, 300403, "Success")
    assert (record["entity"]["version"], record["entity_result"]["version"]) == ("5be1", "77aa")
    assert record["actor"]["user"]["uid"] == "entra|https://issuer.example|ada"
    refused = _encode(EVENTS["policy refused"])
    assert (refused["status"], refused["entity_result"]["version"]) == ("Failure", "5be1")
    assert refused["actor"] == {"app_name": "settings file"}


def test_two_principals_in_turn_are_never_mixed_up() -> None:
    """The encoder remembers encoded actors and decisions; each event still carries its own."""
    encoder = _encoder()
    for turn in range(3000):
        number = turn % 1500
        decision = Decision(number % 2 == 0, f"rule {number}", "", "v")
        principal = make_event().principal
        assert principal is not None
        other = type(principal)(key=f"key:{number}", name=f"n{number}", method="api_key", issuer="key")
        event = make_event(principal=other, decision=decision, status=200 if number % 2 == 0 else 403)
        record = json.loads(encoder.encode(event, ChainPlace(turn + 1, "")))
        assert record["actor"]["user"]["uid"] == f"key:{number}"
        assert record["authorizations"][0]["policy"]["name"] == f"rule {number}"


TEXT = st.text(st.characters(codec=None, exclude_categories=[]), max_size=40)


@given(text=TEXT, sizes=st.integers(0, 1 << 70))
@settings(deadline=None, max_examples=150)
def test_no_string_of_a_caller_breaks_out_of_its_line(text: str, sizes: int) -> None:
    """An attacker puts line ends, control characters, quotes and broken Unicode wherever it can, to forge an event."""
    event = make_event(
        path=text, model_name=text, client_request_id=text, peer=text, model=None, method=text, action=text,
        request_bytes=sizes, credential_reason=text, decision=Decision(True, text, text, "v"), worker=text,
        trace_id=text,
    )  # fmt: skip
    record = _encode(event)
    assert record["metadata"]["sequence"] == 7
    assert record["unmapped"]["prev"] == "ab" * 32


@given(
    text=TEXT,
    name=st.sampled_from(["path", "model_name", "peer", "method", "worker", "model_digest", "code"]),
    sizes=st.lists(st.integers(0, (1 << 63) - 1), min_size=3, max_size=3),
    spans_s=st.lists(st.floats(0, 1e6), min_size=3, max_size=3),
    trace=st.sampled_from([("", ""), ("ab" * 16, ""), ("ab" * 16, "cd" * 8)]),
)
@settings(deadline=None, max_examples=150)
def test_a_line_from_a_frame_is_the_line_that_would_be_encoded(
    text: str, name: str, sizes: list[int], spans_s: list[float], trace: tuple[str, str]
) -> None:
    """Percent signs, holes and quotes of a caller stay what they are; every figure stands in its own place."""
    encoder, place = _encoder(), ChainPlace(7, "ab" * 32)
    encoder.encode(make_event(**{name: text}), ChainPlace(6, "cd" * 32))  # the frame is of another request
    event = make_event(
        **{name: text}, rows=sizes[0], request_bytes=sizes[1], response_bytes=sizes[2], duration_s=spans_s[0],
        queue_s=spans_s[1], run_s=spans_s[2], trace_id=trace[0], span_id=trace[1], request_id="0f" * 16,
    )  # fmt: skip
    assert encoder.encode(event, place) == encoder._line(encoder._request(event, figures_of(event)), place)


def test_only_what_needs_no_words_is_filled_into_a_frame() -> None:
    """A client's own id, a reason, an id with a quote in it, a number beyond JSON's: encoded in full."""
    frames, place = RequestFrames(_encoder()._frame), ChainPlace(1, "")
    assert frames.line(make_event(), place) is not None
    for change in (
        {"client_request_id": "mine"},
        {"credential_reason": "expired"},
        {"request_id": 'a"b'},
        {"trace_id": "%d"},
        {"request_bytes": 1 << 63},
        {"response_bytes": 1 << 63},
        {"rows": 1 << 63},
    ):
        assert frames.line(make_event(**change), place) is None


def test_control_characters_leave_escaped() -> None:
    line = _encoder().encode(make_event(path="/a\r\n\x1b[2J\x00"), ChainPlace(1, ""))
    assert b"\\r\\n\\u001b[2J\\u0000" in line
    assert not any(byte < 32 for byte in line[:-1])


def test_long_strings_are_cut() -> None:
    """An attacker sends strings of a megabyte."""
    long = "x" * 1_000_000
    event = make_event(path=long, model=None, model_name=long, client_request_id=long, method=long, peer=long)
    assert len(_encoder().encode(event, ChainPlace(1, ""))) < 8192
