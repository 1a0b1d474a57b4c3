"""One inference that came as HTTP: room, body, facts, run, answer, after the door has let it in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from torchgate.contract.decision import RequestFacts, Resource
from torchgate.contract.errors import (
    Cancelled,
    CredentialProblem,
    DeadlineExceeded,
    ModelNotReady,
    UnknownModel,
)
from torchgate.contract.inference import InferenceRequest, InferenceResponse, Permit
from torchgate.gate.binary_tensors import json_length
from torchgate.gate.body_stream import BodyStream, announced_length
from torchgate.gate.cancellation import client_ids
from torchgate.gate.errors import BodyTooSlow
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import Disconnect, HttpResponse
from torchgate.gate.inference_answer import compress, encode_answer
from torchgate.gate.limits import deadline_at, header_timeout_s
from torchgate.gate.open_inference import DecodedRequest, decode_request

_Room = TypeVar("_Room")


async def infer(exchange: Exchange) -> HttpResponse:
    """One inference, after the door has let it in: room, body, facts, run, answer."""
    services, headers = exchange.services, exchange.request.headers
    settings = services.settings
    announced = announced_length(headers, settings.max_body_bytes)
    header_span_s = header_timeout_s(headers.single(b"x-request-timeout-ms"))
    body_until = None if header_span_s is None else exchange.arrived_at + header_span_s
    until = deadline_of(exchange, header_span_s)  # what the body wishes is not known yet
    permit = await in_time(
        exchange, until, admit(exchange, settings.max_body_bytes if announced is None else announced)
    )
    try:
        exchange.description = permit.description  # another artifact may have taken the place of what was resolved
        decoded = await _read_and_decode(exchange, permit, announced, body_until)
        exchange.rows = decoded.rows
        if decoded.client_id and exchange.under_way is not None:
            exchange.under_way.called(client_ids(None, decoded.client_id))
        await exchange.authorise(
            Resource(model=exchange.ref), RequestFacts(rows=decoded.rows, body_bytes=exchange.request_bytes)
        )
        request = _contract_request(exchange, decoded, header_span_s)
        if exchange.under_way is not None:
            exchange.under_way.handed_over()
        answer = await run_until_gone(permit, request, exchange.request.disconnect)
        exchange.timing = answer.timing
        response = encode_answer(answer, exchange.known_description().ref, decoded.wanted, decoded.client_id)
    finally:
        permit.release()
    await compress(response, headers.first(b"accept-encoding"), settings.compress_from_bytes)
    return response


async def run_until_gone(permit: Permit, request: InferenceRequest, disconnect: Disconnect) -> InferenceResponse:
    """The engine's answer, unless the client goes first: then the run is taken back.

    Raises:
        Cancelled: it went. And what Permit.run raises.
    """
    task = asyncio.current_task()
    if disconnect.gone or task is None:
        raise Cancelled("The client went away before its request ran.")
    cancelled_before = task.cancelling()
    disconnect.watch(task.cancel)
    try:
        return await permit.run(request)
    except asyncio.CancelledError:
        if not disconnect.gone or task.uncancel() > cancelled_before:
            raise  # somebody else's, too: a framework that ends what it began
        raise Cancelled("The client went away while its request ran.") from None
    finally:
        disconnect.unwatch()


async def in_time(exchange: Exchange, until: float, room: Awaitable[_Room]) -> _Room:
    """Room in the engine, before a deadline: a pool that stands still says neither yes nor no.

    Raises:
        DeadlineExceeded: it passed.
    """
    try:
        async with asyncio.timeout(until - exchange.services.clock()):
            return await room
    except TimeoutError:
        raise DeadlineExceeded("The request timeout passed before there was room for it.") from None


async def admit(exchange: Exchange, announced: int) -> Permit:
    """Room in the engine. Where a bare name means another version by now, it is decided anew, once."""
    engine, principal = exchange.services.engine, exchange.principal
    if principal is None or exchange.ref is None:
        raise exchange.unknown_model()
    try:
        return await engine.admit(exchange.ref, principal, announced)
    except UnknownModel:
        await exchange.resolve()
    except ModelNotReady:
        before = exchange.ref
        await exchange.resolve()
        if exchange.ref == before:
            raise
    return await engine.admit(exchange.known_description().ref, principal, announced)


async def _read_and_decode(
    exchange: Exchange, permit: Permit, announced: int | None, body_until: float | None
) -> DecodedRequest:
    """The request in the body, which has its own time limit and never outlives the client's deadline."""
    headers, settings = exchange.request.headers, exchange.services.settings
    encoding = headers.single(b"content-encoding")
    stream = BodyStream(
        exchange.request.body,
        encoding,
        max_body_bytes=settings.max_body_bytes,
        max_inflated_bytes=settings.max_inflated_bytes,
        max_json_bytes=settings.max_json_bytes,
    )
    json_bytes = json_length(headers.single(b"inference-header-content-length"))
    whole = None if stream.is_encoded else announced
    limit_s = settings.body_timeout_s
    if body_until is not None:
        limit_s = min(limit_s, body_until - exchange.services.clock())
    reading = decode_request(stream, json_bytes, whole, exchange.known_description(), permit.reserve)
    try:
        if exchange.request.body.is_here:
            return await reading  # waits for nobody, so that it needs no timer
        async with asyncio.timeout(limit_s):
            return await reading
    except TimeoutError:
        if limit_s < settings.body_timeout_s:
            raise DeadlineExceeded("The request timeout passed before its body was read.") from None
        raise BodyTooSlow(f"The body did not arrive within {settings.body_timeout_s:g} s.") from None
    finally:
        exchange.request_bytes = stream.received_bytes


def _contract_request(exchange: Exchange, decoded: DecodedRequest, header_span_s: float | None) -> InferenceRequest:
    if exchange.principal is None:
        raise CredentialProblem("Nobody was authenticated.")
    return InferenceRequest(
        request_id=exchange.request_id,
        principal=exchange.principal,
        inputs=decoded.inputs,
        rows=decoded.rows,
        deadline_at=deadline_of(exchange, header_span_s, decoded.timeout_s),
        outputs=tuple(output.name for output in decoded.wanted) if decoded.names_outputs else None,
        priority=decoded.priority,
        parameters=decoded.parameters,
        client_ids=client_ids(exchange.request.headers.first(b"x-request-id"), decoded.client_id),
        token=exchange.token(),
    )


def deadline_of(exchange: Exchange, *wishes_s: float | None) -> float:
    """After which nobody waits: the earliest wish, capped by the server and the model.

    Raises:
        DeadlineExceeded: that is now, or was before.
    """
    settings = exchange.services.settings
    wishes = [span for span in wishes_s if span is not None]
    deadline = deadline_at(
        exchange.arrived_at,
        min(wishes) if wishes else None,
        settings.default_timeout_s,
        settings.max_timeout_s,
        exchange.known_description().max_timeout_s,
    )
    if exchange.services.clock() >= deadline:
        raise DeadlineExceeded("The request timeout passed before its body was read.")
    return deadline
