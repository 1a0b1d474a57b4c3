"""The Open Inference Protocol V2 ⇄ contract: an inference request decoded into reserved memory.

The order keeps hostile bytes cheap: lengths and shapes are compared before values are built, and memory is reserved
when its exact size is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from torchgate.contract.errors import InvalidRequest
from torchgate.contract.inference import ModelDescription, ParameterValue
from torchgate.contract.tensors import BINARY_ONLY, DATATYPES, ITEM_BYTES, PlacedTensor, TensorSpec, element_count
from torchgate.gate.binary_tensors import MAX_BYTES_ELEMENTS, examine_bytes_tensor, raw_shape
from torchgate.gate.body_stream import BodyStream
from torchgate.gate.inference_json import InputJson, RequestJson, parse_request
from torchgate.gate.inference_parameters import RequestWishes, binary_size, output_is_binary, request_wishes
from torchgate.gate.json_tensors import JsonTensor, decode_data

ALIGNMENT_BYTES = 64
"""Of each tensor in the reserved memory: a cache line, and what torch wants at most."""

Reserve = Callable[[int], Awaitable[memoryview]]


class WantedOutput(msgspec.Struct, frozen=True):
    """One output of the answer, and its form."""

    name: str
    is_binary: bool


class DecodedRequest(msgspec.Struct, frozen=True):
    """An inference request; the bytes of its inputs lie in the memory that was reserved for them.

    Args:
        inputs: in the order of the signature.
        rows: as in contract.inference.InferenceRequest.
        wanted: outputs in the order of the answer.
        names_outputs: whether the client named them.
        client_id: V2 `id`, given back in the answer.
    """

    inputs: tuple[PlacedTensor, ...]
    rows: int
    wanted: tuple[WantedOutput, ...]
    names_outputs: bool
    client_id: str | None
    timeout_s: float | None
    priority: int
    parameters: dict[str, ParameterValue]


class _Source(msgspec.Struct):
    """Where the bytes of one input come from: JSON values, or the next `length` bytes of the body."""

    spec: TensorSpec
    shape: tuple[int, ...]
    length: int
    values: JsonTensor | None
    offset: int = 0


async def decode_request(
    stream: BodyStream, json_bytes: int | None, announced: int | None, description: ModelDescription, reserve: Reserve
) -> DecodedRequest:
    """Read and decode one inference request.

    Args:
        stream: its body.
        json_bytes: of Inference-Header-Content-Length; None: all of the body is JSON; 0: none of it is.
        announced: bytes of the whole body, or None where that is unknown or it is compressed.
        description: of the model that is asked.
        reserve: memory for the inputs, called once.

    Raises:
        InvalidRequest and its kinds: anything about the bytes. Overloaded, BodyTooLarge: of `reserve`.
    """
    if json_bytes == 0:
        return await _decode_raw(stream, description, reserve)
    text = await stream.read_json(json_bytes)
    request = parse_request(text)
    wishes = request_wishes(request.parameters, description)
    wanted = wanted_outputs(request, description, wishes.is_binary)
    sources, rows = _sources(request.inputs, description, has_binary=json_bytes is not None)
    binary_bytes = sum(source.length for source in sources if source.values is None)
    if announced is not None and announced - len(text) != binary_bytes:
        raise InvalidRequest(
            f"The inputs announce {binary_bytes} binary bytes; {announced - len(text)} come after the JSON part."
        )
    view = await reserve(_lay_out(sources))
    await _fill(sources, view, stream)
    placed = {
        source.spec.name: PlacedTensor(
            source.spec.name, source.spec.datatype, source.shape, source.offset, source.length
        )
        for source in sources
    }
    inputs = tuple(placed[spec.name] for spec in description.signature.inputs)
    return _decoded(inputs, rows, wanted, request, wishes)


def wanted_outputs(request: RequestJson, description: ModelDescription, is_binary: bool) -> tuple[WantedOutput, ...]:
    """The outputs of the answer.

    Raises:
        InvalidRequest: one that the model has not, twice the same, or in JSON what JSON can't carry.
    """
    known = {spec.name: spec for spec in description.signature.outputs}
    if not request.outputs:
        wanted = tuple(WantedOutput(name, is_binary) for name in known)
    else:
        for output in request.outputs:
            if output.name not in known:
                raise InvalidRequest(
                    f"Model '{description.ref.name}' has no output '{output.name[:64]}'. It has: {', '.join(known)}."
                )
        wanted = tuple(
            WantedOutput(output.name, output_is_binary(output.name, output.parameters, is_binary))
            for output in request.outputs
        )
        if len({output.name for output in wanted}) != len(wanted):
            raise InvalidRequest("The same output is asked for twice.")
    for choice in wanted:
        if not choice.is_binary and known[choice.name].datatype in BINARY_ONLY:
            raise InvalidRequest(
                f"Output '{choice.name}' is {known[choice.name].datatype}, which JSON can't carry; "
                "ask for it with the parameter binary_data."
            )
    return wanted


def _decoded(
    inputs: tuple[PlacedTensor, ...],
    rows: int,
    wanted: tuple[WantedOutput, ...],
    request: RequestJson,
    wishes: RequestWishes,
) -> DecodedRequest:
    return DecodedRequest(
        inputs,
        rows,
        wanted,
        bool(request.outputs),
        request.id,
        wishes.timeout_s,
        wishes.priority,
        dict(wishes.for_model),
    )


def _sources(
    inputs: Sequence[InputJson], description: ModelDescription, *, has_binary: bool
) -> tuple[list[_Source], int]:
    """Each input compared with the signature, in the order of the request, and the rows they agree on."""
    missing = {spec.name: spec for spec in description.signature.inputs}
    sources: list[_Source] = []
    for given in inputs:
        spec = missing.pop(given.name, None)
        if spec is None:
            twice = any(source.spec.name == given.name for source in sources)
            known = ", ".join(spec.name for spec in description.signature.inputs)
            raise InvalidRequest(
                f"Input '{given.name[:64]}' {'came twice' if twice else 'is not one of this model'}. It has: {known}."
            )
        sources.append(_source(given, spec, description.max_batch_size, has_binary=has_binary))
    if missing:
        raise InvalidRequest(f"Input '{next(iter(missing))}' of model '{description.ref.name}' is missing.")
    if not description.max_batch_size:
        return sources, 1
    rows = {source.shape[0] for source in sources}
    if len(rows) > 1:
        raise InvalidRequest(f"The inputs have different numbers of rows: {', '.join(map(str, sorted(rows)))}.")
    return sources, rows.pop()


def _source(given: InputJson, spec: TensorSpec, max_batch_size: int, *, has_binary: bool) -> _Source:
    """One input: its shape, its length in bytes, and where its bytes come from."""
    shape = tuple(given.shape)
    count = examine_shape(given, spec, shape, max_batch_size)
    length = binary_size(spec.name, given.parameters)
    if length is None:
        if given.data is msgspec.UNSET:
            raise InvalidRequest(f"Input '{spec.name}' has neither data nor a binary_data_size.")
        if spec.datatype in BINARY_ONLY:
            raise InvalidRequest(
                f"Input '{spec.name}' is {spec.datatype}, which JSON can't carry; send it as binary tensor data."
            )
        values = decode_data(spec.name, spec.datatype, shape, count, given.data)
        return _Source(spec, shape, values.length, values)
    if given.data is not msgspec.UNSET:
        raise InvalidRequest(f"Input '{spec.name}' has data and a binary_data_size; send one of them.")
    if not has_binary:
        raise InvalidRequest(
            f"Input '{spec.name}' has a binary_data_size, but the header Inference-Header-Content-Length is missing."
        )
    if spec.datatype != "BYTES" and length != count * ITEM_BYTES[spec.datatype]:
        raise InvalidRequest(
            f"Input '{spec.name}' announces {length} binary bytes; {spec.datatype} with shape {list(shape)} "
            f"has {count * ITEM_BYTES[spec.datatype]}."
        )
    return _Source(spec, shape, length, None)


def examine_shape(given: InputJson, spec: TensorSpec, shape: tuple[int, ...], max_batch_size: int) -> int:
    """The number of elements, after datatype and shape were compared with the signature.

    Raises:
        InvalidRequest: they differ.
    """
    if given.datatype != spec.datatype:
        unknown = given.datatype not in DATATYPES
        raise InvalidRequest(
            f"Input '{spec.name}' is {spec.datatype}, not {given.datatype[:16]}{' (no datatype)' if unknown else ''}."
        )
    try:
        count = element_count(shape)
    except ValueError as error:
        raise InvalidRequest(f"The shape of input '{spec.name}' is impossible: {error}.") from None
    row_shape = shape[1:] if max_batch_size else shape
    if (max_batch_size and not shape) or (row_shape != spec.shape and not spec.admits(row_shape)):
        wanted = [-1, *spec.shape] if max_batch_size else list(spec.shape)
        raise InvalidRequest(f"Input '{spec.name}' has shape {list(shape)}; the model takes {wanted}.")
    if max_batch_size and not 1 <= shape[0] <= max_batch_size:
        raise InvalidRequest(f"The request has {shape[0]} rows; the model takes 1 to {max_batch_size}.")
    if spec.datatype == "BYTES" and count > MAX_BYTES_ELEMENTS:
        raise InvalidRequest(f"Input '{spec.name}' has {count} elements; BYTES may have {MAX_BYTES_ELEMENTS}.")
    return count


def _lay_out(sources: Sequence[_Source]) -> int:
    """Give each input its place; returns the length of all."""
    end = 0
    for source in sources:
        source.offset = end + (-end % ALIGNMENT_BYTES)
        end = source.offset + source.length
    return end


async def _fill(sources: Sequence[_Source], view: memoryview, stream: BodyStream) -> None:
    for source in sources:
        place = view[source.offset : source.offset + source.length]
        if source.values is not None:
            source.values.write(place)
            continue
        await stream.read_into(place)
        if source.spec.datatype == "BYTES":
            examine_bytes_tensor(source.spec.name, place, element_count(source.shape))
    await stream.expect_end()


async def _decode_raw(stream: BodyStream, description: ModelDescription, reserve: Reserve) -> DecodedRequest:
    """A raw request: all of the body is the only input, and all outputs come back as bytes."""
    body = await stream.read_all()
    spec, shape, is_element = raw_shape(description, len(body))
    if is_element:
        body = len(body).to_bytes(4, "little") + body
    view = await reserve(len(body))
    view[:] = body
    wanted = tuple(WantedOutput(output.name, True) for output in description.signature.outputs)
    placed = PlacedTensor(spec.name, spec.datatype, shape, 0, len(body))
    return DecodedRequest((placed,), 1, wanted, False, None, None, 0, {})
