"""The rules of the protocol, each with the answer that its breach gets; statuses as Triton's clients expect them."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from tests.fakes.in_process_engine import Outputs, describe_model
from tests.rigs.gate_rig import ALICE_KEY, GateRig, gate_rig, served
from tests.rigs.http_connection import Answer

from torchgate.contract.inference import InferenceRequest
from torchgate.contract.tensors import TensorSpec

HEADER = "Inference-Header-Content-Length"


async def mirror(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """What came, under the output's name."""
    return {"y": (request.inputs[0].shape, inputs["x"])}


async def nan(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """Not a number, and infinity."""
    return {"y": ((1, 2), struct.pack("<2f", float("nan"), float("inf")))}


async def no_text(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """Bytes that are no UTF-8."""
    return {"y": ((1, 1), struct.pack("<I", 2) + b"\xff\xfe")}


@pytest.fixture
async def rig() -> AsyncIterator[GateRig]:
    """`double`, and models that give back what they got."""
    rig = gate_rig()
    for name, datatype, shape, function, size in (
        ("half", "FP16", (2,), mirror, 8), ("brain", "BF16", (2,), mirror, 8), ("text", "BYTES", (1,), mirror, 8),
        ("whole", "FP32", (-1,), mirror, 0), ("nan", "FP32", (2,), nan, 8), ("no_text", "BYTES", (1,), no_text, 8),
        ("bool", "BOOL", (2,), mirror, 8),
    ):  # fmt: skip
        specs = (TensorSpec("x", datatype, shape),), (TensorSpec("y", datatype, shape),)
        rig.engine.add(describe_model(name, *specs, max_batch_size=size, parameters=("mood",)), function)
    async with served(rig) as rig:
        yield rig


async def infer(rig: GateRig, model: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    """One inference on a connection of its own."""
    connection = rig.connect()
    try:
        return await connection.request("POST", f"/v2/models/{model}/infer", {**ALICE_KEY, **(headers or {})}, body)
    finally:
        await connection.close()


def request(**changes: Any) -> dict[str, Any]:
    """A good request to `double`, but for some members of its input."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2], **changes}]}


def with_parameters(**parameters: Any) -> dict[str, Any]:
    """A good request with parameters."""
    return {**request(), "parameters": parameters}


REFUSED: list[tuple[Any, int, str]] = [
    ({}, 400, "inputs"),
    ({"inputs": []}, 400, "inputs"),
    (request(name="z"), 400, "not one of this model"),
    ({"inputs": request()["inputs"] * 2}, 400, "twice"),
    (request(datatype="FP64"), 400, "FP32"),
    (request(datatype="nonsense"), 400, "no datatype"),
    (request(shape=[2]), 400, "shape"),
    (request(shape=[-1, 2]), 400, "shape"),
    (request(shape=[0, 2], data=[]), 400, "rows"),
    (request(shape=[9, 2], data=[0] * 18), 400, "1 to 8"),
    (request(shape=[2**62, 2**62]), 400, "malformed"),
    (request(shape=[1] * 17), 400, "malformed"),
    (request(data=[1]), 400, "needs 2"),
    (request(data=[1, 2, 3]), 400, "needs 2"),
    (request(data=[[1], [2]]), 400, "nested"),
    (request(data=[[[1, 2]]]), 400, "deep"),
    (request(data=[1, "2"]), 400, "FP32"),
    (request(data=[1, None]), 400, "FP32"),
    (request(data=[1, True]), 400, "FP32"),
    (request(data=[1, 1e39]), 400, "does not fit"),
    (request(data=5), 400, "deep"),
    (request(parameters={"binary_data_size": 8}), 400, "send one of them"),
    (request(parameters={"shared_memory_region": "r"}), 501, "Shared memory"),
    (request(parameters={"other": 1}), 400, "unknown"),
    ({**request(), "outputs": [{"name": "nope"}]}, 400, "has no output"),
    ({**request(), "outputs": [{"name": "y"}, {"name": "y"}]}, 400, "twice"),
    ({**request(), "outputs": [{"name": "y", "parameters": {"classification": 2}}]}, 501, "Classification"),
    ({**request(), "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, 400, "true or false"),
    ({**request(), "id": 5}, 400, "malformed"),
    (with_parameters(sequence_id=1), 501, "Sequences"),
    (with_parameters(triton_final_response=True), 400, "reserved"),
    (with_parameters(headers="x"), 400, "reserved"),
    (with_parameters(mood="good"), 400, "unknown"),
    (with_parameters(timeout=-1), 400, "whole number"),
    (with_parameters(timeout=True), 400, "whole number"),
    (with_parameters(priority=2**40), 400, "whole number"),
    (with_parameters(nested={"a": 1}), 400, "malformed"),
]


@pytest.mark.parametrize(("body", "status", "word"), REFUSED, ids=lambda value: str(value)[:60])
async def test_a_breach_of_a_rule_is_said_and_runs_nothing(rig: GateRig, body: Any, status: int, word: str) -> None:
    """One clear sentence each, and never 500."""
    answer = await infer(rig, "double", json.dumps(body).encode())
    assert (answer.status, word in answer.json()["error"]) == (status, True), answer.body
    assert (rig.engine.requests, rig.engine.open_permits) == ([], 0)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[", b"[" * 100_000, b'{"inputs":' * 50_000, b'{"inputs":[' + b'{"data":' + b"[" * 100_000, b"NaN"],
)
async def test_what_is_no_json_is_400(rig: GateRig, body: bytes) -> None:
    """Triton says 500 here."""
    assert (await infer(rig, "double", body)).status == 400


@pytest.mark.parametrize(
    ("header", "body", "word"),
    [
        ("abc", b"{}", "must be a number"),
        ("-1", b"{}", "must be a number"),
        ("1" * 11, b"{}", "must be a number"),
        ("99", b"{}", "ends"),
        ("2", b"{}x", "inputs"),
    ],
)
async def test_a_wrong_length_of_the_json_part_is_400(rig: GateRig, header: str, body: bytes, word: str) -> None:
    """Triton takes `abc` for 0."""
    answer = await infer(rig, "double", body, {HEADER: header})
    assert (answer.status, word in answer.json()["error"]) == (400, True), answer.body


@pytest.mark.parametrize(("announced", "sent"), [(8, 4), (8, 12), (4, 4), (12, 12)])
async def test_binary_sizes_that_do_not_add_up_are_400(rig: GateRig, announced: int, sent: int) -> None:
    """Against the body, or against shape and datatype."""
    text = json.dumps(request(parameters={"binary_data_size": announced})).replace('"data": [1, 2], ', "").encode()
    answer = await infer(rig, "double", text + b"\0" * sent, {HEADER: str(len(text))})
    assert answer.status == 400
    without = await infer(rig, "double", text)
    assert HEADER in without.json()["error"]


async def test_a_request_without_binary_parts_may_still_name_the_length_of_its_json(rig: GateRig) -> None:
    """tritonclient does so."""
    text = json.dumps(request()).encode()
    assert (await infer(rig, "double", text, {HEADER: str(len(text))})).json()["outputs"][0]["data"] == [2.0, 4.0]


@pytest.mark.parametrize("model", ["half", "brain"])
async def test_what_json_cannot_carry_is_asked_for_as_bytes(rig: GateRig, model: str) -> None:
    """FP16 and BF16, in and out; refused before anything runs, and exact as bytes."""
    datatype = {"half": "FP16", "brain": "BF16"}[model]
    asked = await infer(rig, model, json.dumps(request(datatype=datatype)).encode())
    assert (asked.status, "binary" in asked.json()["error"]) == (400, True)
    entry = {"name": "x", "datatype": datatype, "shape": [1, 2], "parameters": {"binary_data_size": 4}}
    text = json.dumps({"inputs": [entry]}).encode()
    as_json = await infer(rig, model, text + b"abcd", {HEADER: str(len(text))})
    assert (as_json.status, rig.engine.requests) == (400, [])
    text = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    answer = await infer(rig, model, text + b"abcd", {HEADER: str(len(text))})
    length = int(answer.headers[HEADER.lower()])
    assert json.loads(answer.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 4}
    assert answer.body[length:] == b"abcd"


@pytest.mark.parametrize("model", ["nan", "no_text"])
async def test_values_that_json_cannot_carry_are_not_made_up(rig: GateRig, model: str) -> None:
    """No null for NaN, no replacement characters: 400, and as bytes they come."""
    given = request() if model == "nan" else request(datatype="BYTES", shape=[1, 1], data=["a"])
    answer = await infer(rig, model, json.dumps(given).encode())
    assert (answer.status, "binary_data" in answer.json()["error"]) == (400, True)
    assert rig.engine.open_permits == 0
    given["outputs"] = [{"name": "y", "parameters": {"binary_data": True}}]
    assert (await infer(rig, model, json.dumps(given).encode())).status == 200


async def test_a_raw_request_is_the_only_input(rig: GateRig) -> None:
    """Length 0: all of the body is the tensor, or the one BYTES element; outputs come back as bytes."""
    answer = await infer(rig, "whole", struct.pack("<3f", 1, 2, 3), {HEADER: "0"})
    length = int(answer.headers[HEADER.lower()])
    assert json.loads(answer.body[:length])["outputs"][0]["shape"] == [3]
    assert answer.body[length:] == struct.pack("<3f", 1, 2, 3)
    text = await infer(rig, "text", b"hello", {HEADER: "0"})
    assert text.body.endswith(struct.pack("<I", 5) + b"hello")
    assert (await infer(rig, "whole", b"12345", {HEADER: "0"})).status == 400
    assert (await infer(rig, "double", b"1234", {HEADER: "0"})).status == 400


async def test_ids_parameters_and_text_arrive_as_sent(rig: GateRig) -> None:
    """The client's id comes back; the model's own parameters reach it, beside a priority."""
    body = {
        "id": "ü-7",
        "parameters": {"mood": "good", "priority": 3},
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [2, 1], "data": [["grüß"], ["null, [\u2028]"]]}],
    }
    answer = await infer(rig, "text", json.dumps(body).encode())
    assert answer.json()["id"] == "ü-7"
    assert answer.json()["outputs"][0]["data"] == ["grüß", "null, [\u2028]"]
    (seen,) = rig.engine.requests
    assert (seen.parameters, seen.priority, seen.rows) == ({"mood": "good"}, 3, 2)


@pytest.mark.parametrize("tail", [b"", b"\x01", b"\xff\xff\xff\xff"])
async def test_damaged_bytes_tensors_are_400(rig: GateRig, tail: bytes) -> None:
    """Too few elements, a cut length, a length beyond the end."""
    entry = {"name": "x", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(tail)}}
    text = json.dumps({"inputs": [entry]}).encode()
    assert (await infer(rig, "text", text + tail, {HEADER: str(len(text))})).status == 400


async def test_members_that_are_unknown_are_ignored_and_of_two_the_last_counts(rig: GateRig) -> None:
    """As every client's own JSON reader has it."""
    text = json.dumps(request())[:-1].encode() + b',"more":{"a":[1]},"id":"a","id":"b"}'
    answer = await infer(rig, "double", text)
    assert (answer.status, answer.json()["id"]) == (200, "b")


async def test_answers_do_not_mix_on_connections_that_run_side_by_side(rig: GateRig) -> None:
    """Each number comes back doubled to whom it belongs, in JSON and as bytes."""

    async def one(number: int) -> tuple[list[float], list[float]]:
        body = json.dumps(request(data=[number, number + 0.5])).encode()
        outputs = (await infer(rig, "double", body)).json()["outputs"]
        return outputs[0]["data"], [2.0 * number, 2.0 * number + 1]

    for seen, expected in await asyncio.gather(*(one(number) for number in range(40))):
        assert seen == expected
