"""Questions to the engine about the owner model, each answer checked against its question."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from torchgate.contract.clock import monotonic_s
from torchgate.contract.inference import Engine, InferenceRequest, InferenceResponse, Permit, Timing
from torchgate.contract.principal import Principal
from torchgate.contract.tensors import PlacedTensor
from torchgate.engine.catalog import Catalog, read_catalog
from torchgate.engine.settings import ModelsSettings

MODELS = Path(__file__).parents[1] / "models"
RAISES, DIES, HANGS, PRINTS = -13, -666, -999, -777
"""Numbers that make the owner model misbehave."""

_request_ids = itertools.count(1)


def catalog_of(*names: str, folder: Path = MODELS) -> Catalog:
    """These models of a folder, all of their code allowed."""
    catalog, _ = read_catalog(ModelsSettings(folder=folder.absolute(), allow_code=names))
    entries = {ref: entry for ref, entry in catalog.entries.items() if ref.name in names}
    return Catalog(entries, {name: catalog.defaults[name] for name in names})


def person(key: str) -> Principal:
    """A principal of this key."""
    return Principal(key, key, "api_key", "key", roles=frozenset({"asker", "reader"}))


def number_request(
    numbers: Sequence[int],
    principal: Principal,
    *,
    timeout_s: float = 200.0,
    priority: int = 0,
    client_ids: tuple[str, ...] = (),
) -> InferenceRequest:
    """One row for each number."""
    placed = PlacedTensor("number", "INT64", (len(numbers), 1), 0, 8 * len(numbers))
    return InferenceRequest(
        f"r{next(_request_ids)}",
        principal,
        (placed,),
        len(numbers),
        monotonic_s() + timeout_s,
        priority=priority,
        client_ids=client_ids,
    )


async def ask(
    engine: Engine,
    numbers: Sequence[int],
    key: str = "ada",
    *,
    model: str = "owner",
    timeout_s: float = 200.0,
    client_ids: tuple[str, ...] = (),
) -> Timing:
    """Ask for some numbers, and check that the answer belongs to this question and to nobody else's.

    Raises:
        TorchgateError: what the engine says.
    """
    ref = engine.resolve(model, None)
    assert ref is not None
    principal = person(key)
    permit = await engine.admit(ref, principal, 64)
    try:
        (await permit.reserve(8 * len(numbers)))[:] = struct.pack(f"<{len(numbers)}q", *numbers)
        request = number_request(numbers, principal, timeout_s=timeout_s, client_ids=client_ids)
        response = await permit.run(request)
        check(response, numbers, key)
        return response.timing
    finally:
        permit.release()


def check(response: InferenceResponse, numbers: Sequence[int], key: str) -> None:
    """An answer is the double plus one of its own numbers, and names its own asker."""
    double, owner = response.outputs
    data = bytes(response.payload)
    assert (double.name, double.shape) == ("double", (len(numbers), 1))
    assert struct.unpack_from(f"<{len(numbers)}q", data, double.offset) == tuple(2 * one + 1 for one in numbers)
    each = struct.pack("<I", len(key)) + key.encode()
    assert data[owner.offset : owner.offset + owner.length] == each * len(numbers)


async def raw_ask(
    engine: Engine, model: str, placed: PlacedTensor, data: bytes, rows: int
) -> list[tuple[tuple[int, ...], bytes]]:
    """Ask any model with one input; shape and bytes of each output."""
    ref = engine.resolve(model, None)
    assert ref is not None
    permit: Permit = await engine.admit(ref, person("ada"), len(data))
    try:
        (await permit.reserve(len(data)))[:] = data
        request = InferenceRequest("raw", person("ada"), (placed,), rows, monotonic_s() + 200.0)
        response = await permit.run(request)
        payload = bytes(response.payload)
        return [(one.shape, payload[one.offset : one.offset + one.length]) for one in response.outputs]
    finally:
        permit.release()


async def until(condition: Callable[[], bool], timeout_s: float = 200.0) -> None:
    """Return once it holds; looks again after each turn of the loop, with a breath between."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions are of many kinds, most without an event
            await asyncio.sleep(0.005)
