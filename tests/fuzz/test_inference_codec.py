"""The codec of the Open Inference Protocol, by property.

Oracles: (1) numpy and the standard library's json and struct, used the slow and obvious way, say what bytes a request
means and what an answer says; (2) any bytes at all are either a request that fits the model, or InvalidRequest.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import InvalidRequest
from torchgate.contract.inference import InferenceResponse, ModelDescription, Timing
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.gate.body_stream import BodyStream
from torchgate.gate.inference_answer import encode_answer
from torchgate.gate.open_inference import DecodedRequest, WantedOutput, decode_request

NUMPY = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
MAX_BODY_BYTES = 1 << 20
MAX_ROWS = 4

modest = settings(max_examples=150, deadline=None)


class Chunks:
    """A body that comes in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = list(pieces)

    @property
    def is_complete(self) -> bool:
        return not self._pieces

    async def read(self) -> bytes:
        return self._pieces.pop(0)


@dataclass(frozen=True)
class Given:
    """One input of a generated request: what it means, and the form in which it is sent."""

    spec: TensorSpec
    shape: tuple[int, ...]
    values: list[Any]
    form: str  # flat, nested, or binary

    def meant(self) -> bytes:
        """The oracle: its bytes in the protocol's raw form."""
        if self.spec.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(one)) + one for one in (value.encode() for value in self.values))
        dtype = np.dtype(NUMPY[self.spec.datatype]).newbyteorder("<")
        return np.array(self.values, dtype=dtype).tobytes()


def elements(datatype: str) -> st.SearchStrategy[Any]:
    """Values of a datatype that JSON can carry."""
    if datatype == "BOOL":
        return st.booleans()
    if datatype == "BYTES":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    if datatype in ("FP32", "FP64"):
        width = 32 if datatype == "FP32" else 64
        return st.floats(allow_nan=False, allow_infinity=False, width=width)
    limits = np.iinfo(NUMPY[datatype])
    return st.integers(int(limits.min), int(limits.max))


@st.composite
def requests(draw: st.DrawFn) -> list[Given]:
    """Inputs of one request; all with the same number of rows."""
    rows = draw(st.integers(1, MAX_ROWS))
    inputs = []
    for index in range(draw(st.integers(1, 3))):
        datatype = draw(st.sampled_from([*NUMPY, "BYTES"]))
        row_shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
        shape = (rows, *row_shape)
        count = math.prod(shape)
        values = draw(st.lists(elements(datatype), min_size=count, max_size=count))
        form = draw(st.sampled_from(["flat", "nested", "binary"]))
        inputs.append(Given(TensorSpec(f"in{index}", datatype, row_shape), shape, values, form))
    return inputs


def nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Flat values as lists of lists."""
    if len(shape) == 1:
        return values
    step = math.prod(shape[1:])
    return [nested(values[first * step : (first + 1) * step], shape[1:]) for first in range(shape[0])]


def as_sent(inputs: list[Given]) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON part where binary tensors follow it."""
    entries, binary = [], b""
    for one in inputs:
        entry: dict[str, Any] = {"name": one.spec.name, "datatype": one.spec.datatype, "shape": list(one.shape)}
        if one.form == "binary":
            entry["parameters"] = {"binary_data_size": len(one.meant())}
            binary += one.meant()
        else:
            entry["data"] = one.values if one.form == "flat" else nested(one.values, one.shape)
        entries.append(entry)
    text = json.dumps({"id": "7", "inputs": entries}).encode()
    return text + binary, len(text) if any(one.form == "binary" for one in inputs) else None


def description(inputs: list[Given]) -> ModelDescription:
    """A model that takes such inputs and gives them back."""
    specs = tuple(one.spec for one in inputs)
    return ModelDescription(
        ref=ModelRef("mirror", "1"),
        digest="",
        platform="torchgate_class",
        signature=Signature(specs, specs),
        max_batch_size=MAX_ROWS,
        max_batch_delay_s=0.0,
        max_timeout_s=60.0,
        parameters=(),
        state="ready",
    )


def decode(body: list[bytes], json_bytes: int | None, model: ModelDescription) -> tuple[DecodedRequest, bytes]:
    """The decoded request, and the memory that it was written into."""
    memory = bytearray()

    async def reserve(length: int) -> memoryview:
        memory.extend(b"\xaa" * length)
        return memoryview(memory)

    async def run() -> DecodedRequest:
        stream = BodyStream(
            Chunks(body),
            None,
            max_body_bytes=MAX_BODY_BYTES,
            max_inflated_bytes=MAX_BODY_BYTES,
            max_json_bytes=MAX_BODY_BYTES,
        )
        return await decode_request(stream, json_bytes, sum(map(len, body)), model, reserve)

    return asyncio.run(run()), bytes(memory)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """The body in pieces."""
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[first:last] for first, last in pairwise(edges)] or [b""]


@modest
@given(requests(), st.lists(st.integers(0, 10_000), max_size=6))
def test_what_was_sent_lies_in_the_memory(inputs: list[Given], places: list[int]) -> None:
    """Flat, nested or binary, cut anywhere: the bytes are those that numpy would have made of the values."""
    body, json_bytes = as_sent(inputs)
    decoded, memory = decode(cut(body, places), json_bytes, description(inputs))
    assert decoded.rows == inputs[0].shape[0]
    assert decoded.client_id == "7"
    for one, placed in zip(inputs, decoded.inputs, strict=True):
        assert (placed.name, placed.datatype, placed.shape) == (one.spec.name, one.spec.datatype, one.shape)
        assert memory[placed.offset : placed.offset + placed.length] == one.meant()
        assert placed.offset % 64 == 0


@modest
@given(requests(), st.data())
def test_any_change_of_a_request_is_a_request_or_the_caller_s_mistake(inputs: list[Given], data: st.DataObject) -> None:
    """The attacker changes, drops, doubles or adds bytes anywhere, and says any length of the JSON part."""
    body, json_bytes = as_sent(inputs)
    place = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.binary(max_size=6))
    dropped = data.draw(st.integers(0, 6))
    changed = body[:place] + other + body[place + dropped :]
    length = data.draw(st.sampled_from([json_bytes, None, len(changed), place]) | st.integers(0, 2 * len(body)))
    model = description(inputs)
    try:
        decoded, memory = decode([changed], length, model)
    except InvalidRequest:
        return
    for spec, placed in zip(model.signature.inputs, decoded.inputs, strict=True):
        assert (placed.name, placed.datatype) == (spec.name, spec.datatype)
        assert spec.admits(placed.shape[1:])
        assert 1 <= decoded.rows <= MAX_ROWS
        assert placed.offset + placed.length <= len(memory)


@modest
@given(st.binary(max_size=300), st.none() | st.integers(0, 400))
def test_any_bytes_are_a_request_or_the_caller_s_mistake(body: bytes, json_bytes: int | None) -> None:
    """Nothing but InvalidRequest comes of garbage."""
    model = description([Given(TensorSpec("in0", "FP32", (2,)), (1, 2), [0.0, 0.0], "flat")])
    try:
        decode([body], json_bytes, model)
    except InvalidRequest:
        return


@modest
@given(requests(), st.booleans())
def test_an_answer_says_what_the_model_computed(outputs: list[Given], is_binary: bool) -> None:
    """JSON read by the standard library, or binary read by numpy, gives the values back exactly."""
    payload, placed = b"", []
    for one in outputs:
        placed.append(PlacedTensor(one.spec.name, one.spec.datatype, one.shape, len(payload), len(one.meant())))
        payload += one.meant()
    answer = InferenceResponse(tuple(placed), memoryview(payload), Timing())
    wanted = tuple(WantedOutput(one.spec.name, is_binary) for one in outputs)
    response = encode_answer(answer, ModelRef("mirror", "1"), wanted, "7")
    if is_binary:
        length = int(dict(response.headers)[b"inference-header-content-length"])
        document, rest = json.loads(response.body[:length]), response.body[length:]
    else:
        document, rest = json.loads(response.body), b""
    assert (document["model_name"], document["model_version"], document["id"]) == ("mirror", "1", "7")
    for one, entry in zip(outputs, document["outputs"], strict=True):
        assert (entry["name"], entry["datatype"], entry["shape"]) == (one.spec.name, one.spec.datatype, list(one.shape))
        if is_binary:
            size = entry["parameters"]["binary_data_size"]
            seen, rest = rest[:size], rest[size:]
        else:
            seen = Given(one.spec, one.shape, entry["data"], "flat").meant()
        assert seen == one.meant()
    assert rest == b""
