"""The engine's answer as the protocol writes it: JSON, binary tensors, or both; compressed where it pays."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any

import numpy
import orjson

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import InvalidRequest
from torchgate.contract.inference import InferenceResponse
from torchgate.contract.tensors import PlacedTensor
from torchgate.gate.binary_tensors import elements
from torchgate.gate.http_message import HttpResponse, json_response
from torchgate.gate.json_tensors import NUMPY_TYPES
from torchgate.gate.open_inference import WantedOutput

COMPRESSION_LEVEL = 1
"""Of zlib: a front door on this machine is near, so that time counts more than bytes."""

THREAD_FROM_BYTES = 64 * 1024
"""From here an answer is compressed in a thread: zlib lets go of the interpreter, and takes longer than a hand-over."""


_WEIGHT_OF_NOTHING = re.compile(rb"q\s*=\s*0(\.0*)?")


def encode_answer(
    response: InferenceResponse, ref: ModelRef, wanted: tuple[WantedOutput, ...], client_id: str | None
) -> HttpResponse:
    """The HTTP answer; a copy, so that the response's memory may be given back after.

    Raises:
        InvalidRequest: an output was asked for in JSON whose values JSON can't carry.
    """
    binary: list[memoryview] = []
    outputs: list[dict[str, Any]] = []
    for tensor, output in zip(response.outputs, wanted, strict=True):
        data = response.payload[tensor.offset : tensor.offset + tensor.length]
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if output.is_binary:
            entry["parameters"] = {"binary_data_size": tensor.length}
            binary.append(data)
        else:
            entry["data"] = _json_data(tensor, data)
        outputs.append(entry)
    answer: dict[str, Any] = {"model_name": ref.name, "model_version": ref.version, "outputs": outputs}
    if client_id is not None:
        answer["id"] = client_id
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:  # what orjson makes of NaN and the infinities; looked for in the text, it costs next to nothing
        _examine_finite(response, wanted)
    if not any(output.is_binary for output in wanted):
        return json_response(200, text)
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"inference-header-content-length", b"%d" % len(text)),
    ]
    return HttpResponse(200, b"".join((text, *binary)), headers)


async def compress(response: HttpResponse, accept_encoding: bytes | None, from_bytes: int) -> None:
    """Compress an answer in place, where the client accepts that and it is worth it."""
    if accept_encoding is None or not from_bytes or len(response.body) < from_bytes:
        return
    encoding = accepted_encoding(accept_encoding)
    if encoding is None:
        return
    if len(response.body) >= THREAD_FROM_BYTES:
        response.body = await asyncio.to_thread(_compressed, response.body, encoding)
    else:
        response.body = _compressed(response.body, encoding)
    response.headers += [(b"content-encoding", encoding), (b"vary", b"accept-encoding")]


def accepted_encoding(accept_encoding: bytes) -> bytes | None:
    """Gzip or deflate, whichever the client accepts; None for neither.

    Source: RFC 9110, section 12.5.3; weights but 0 do not matter between two that cost us the same.
    """
    for choice in accept_encoding.lower().split(b","):
        coding, _, weight = choice.partition(b";")
        if coding.strip() in (b"gzip", b"deflate") and not _WEIGHT_OF_NOTHING.fullmatch(weight.strip()):
            return coding.strip()
    return None


def _compressed(body: bytes, encoding: bytes) -> bytes:
    deflater = zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, 31 if encoding == b"gzip" else 15)
    return deflater.compress(body) + deflater.flush()


def _json_data(tensor: PlacedTensor, data: memoryview) -> Any:
    if tensor.datatype == "BYTES":
        try:
            return [str(element, "utf-8") for element in elements(data)]
        except UnicodeDecodeError:
            raise _needs_binary(tensor, "holds bytes that are not UTF-8 text") from None
    return numpy.frombuffer(data, NUMPY_TYPES[tensor.datatype])


def _examine_finite(response: InferenceResponse, wanted: tuple[WantedOutput, ...]) -> None:
    for tensor, output in zip(response.outputs, wanted, strict=True):
        if output.is_binary or tensor.datatype not in ("FP32", "FP64"):
            continue
        data = response.payload[tensor.offset : tensor.offset + tensor.length]
        if not numpy.isfinite(numpy.frombuffer(data, NUMPY_TYPES[tensor.datatype])).all():
            raise _needs_binary(tensor, "holds NaN or an infinity")


def _needs_binary(tensor: PlacedTensor, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"Output '{tensor.name}' {reason}, which JSON can't carry; ask for it with the parameter binary_data."
    )
