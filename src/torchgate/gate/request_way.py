"""The request's way, in the order of DESIGN 2: who, may they, is there room, then the body, then the run.

Whatever happens, there is one answer and one record of it, and the record is written before the answer leaves.
"""

from __future__ import annotations

import asyncio
import base64
import logging

import msgspec

from torchgate.access.identity.presented import Presented, Reply
from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.decision import Action, RequestFacts, Resource
from torchgate.contract.errors import (
    AuditUnavailable,
    Cancelled,
    CredentialProblem,
    DeadlineExceeded,
    ModelNotReady,
    TorchgateError,
    UnknownModel,
)
from torchgate.contract.inference import InferenceRequest, InferenceResponse, Permit
from torchgate.contract.principal import Principal
from torchgate.gate.binary_tensors import json_length
from torchgate.gate.body_stream import BodyStream, announced_length
from torchgate.gate.cancellation import client_ids
from torchgate.gate.errors import BodyTooSlow, TooManyRefusals
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import Disconnect, HttpRequest, HttpResponse
from torchgate.gate.inference_answer import compress, encode_answer
from torchgate.gate.limits import deadline_at, drain_refused, header_timeout_s
from torchgate.gate.open_inference import DecodedRequest, decode_request
from torchgate.gate.problems import internal_response, problem_response
from torchgate.gate.reign import Reign
from torchgate.gate.route import Route, RouteTable
from torchgate.gate.services import GateServices
from torchgate.gate.under_way import UnderWay

NOT_DRAINED = frozenset({"body_too_slow", "deadline_exceeded", "cancelled"})
"""Refusals of a body that does not come: waiting for the rest of it would only make them later."""

_log = logging.getLogger("torchgate.gate")


class RequestWay:
    """Takes each request along the way; knows no server's types."""

    def __init__(self, services: GateServices, routes: RouteTable) -> None:
        self._reign = Reign(services)
        self._routes = routes

    def change(self, services: GateServices) -> Reign:
        """Let each request from now on have these services; the reign that ends, whose requests keep theirs."""
        ended, self._reign = self._reign, Reign(services)
        ended.end()
        return ended

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The one answer to a request, its record written."""
        with self._reign as services:
            return await self._answer(Exchange(services, request))

    async def _answer(self, exchange: Exchange) -> HttpResponse:
        request = exchange.request
        try:
            response = await self._pass(exchange)
        except TorchgateError as problem:
            response = self._refuse(exchange, problem)
        except Exception:  # noqa: BLE001 - everything becomes an answer; this one says nothing but where to look
            _log.exception("Request %s failed unexpectedly.", exchange.request_id)
            response = internal_response(exchange.request_id)
        response = await self._settle(exchange, response)
        if exchange.reply is not None and exchange.reply.token:
            response.headers.append((b"www-authenticate", b"Negotiate " + base64.b64encode(exchange.reply.token)))
        if not request.body.is_complete:
            response.closes = response.code in NOT_DRAINED or not await drain_refused(
                request, exchange.services.settings.refusal_drain_bytes
            )
        return response

    async def _pass(self, exchange: Exchange) -> HttpResponse:
        services, request = exchange.services, exchange.request
        door = services.front_door
        entry = door.enter(request)
        if entry.is_stop:
            return self._stop(exchange)
        match = self._routes.match(request.method, request.raw_path)
        exchange.path, exchange.is_public = match.path, match.is_public
        exchange.model_name, exchange.version = match.model, match.version
        route = match.route
        if route is not None:
            exchange.action = route.action
        if entry.problem is not None:
            raise entry.problem
        if not match.is_public:
            exchange.principal = await self._authenticate(exchange, door.presented(request, entry.carried))
        if route is None:
            raise match.problem or UnknownModel("Not Found.")
        if route.action is not Action.INFER or exchange.principal is None:
            return await self._handled(exchange, route)
        exchange.under_way = under_way = UnderWay(services.under_way, exchange.principal.key)
        under_way.called(client_ids(request.headers.first(b"x-request-id"), None))
        return await under_way.unless_taken_back(self._handled(exchange, route))

    async def _handled(self, exchange: Exchange, route: Route) -> HttpResponse:
        if route.names_model:
            await exchange.resolve()
        elif not route.is_public:
            await exchange.authorise(Resource())
        return await route.handler(exchange)

    def _stop(self, exchange: Exchange) -> HttpResponse:
        """IIS's module asks this process to end; nothing of ours is asked before its pairing proof."""
        exchange.path, exchange.is_public = exchange.request.raw_path.decode("latin-1"), True
        _log.info("The front door asks this server to stop.")
        exchange.services.on_stop()
        return HttpResponse(202, b"", [])

    async def _authenticate(self, exchange: Exchange, presented: Presented) -> Principal:
        authentication = exchange.services.authentication
        if presented.negotiate is not None:
            exchange.reply = Reply()
            presented = msgspec.structs.replace(presented, reply=exchange.reply)
        return authentication.cached(presented) or await authentication.authenticate(presented)

    def _refuse(self, exchange: Exchange, problem: TorchgateError) -> HttpResponse:
        if isinstance(problem, CredentialProblem):
            exchange.credential_reason = problem.detail or problem.code
        if problem.detail:
            _log.debug("Request %s: %s (%s)", exchange.request_id, problem.code, problem.detail)
        return problem_response(problem, exchange.request_id, exchange.services.authentication.challenges())

    async def _settle(self, exchange: Exchange, response: HttpResponse) -> HttpResponse:
        """Write the record, or give up the answer: nothing leaves that is not written."""
        response.headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
        event = exchange.event(response)
        if not exchange.is_public and self._is_audited(exchange, response):
            try:
                await exchange.services.audit.write(event)
            except Exception as failure:  # fail closed, whatever the sink's trouble is  # noqa: BLE001
                response, event = self._unaudited(exchange, event, failure)
        elif not exchange.is_public and response.code != "issuer_unavailable":
            response, event = self._counted(exchange, event)
        try:
            exchange.services.on_request(event)
        except Exception:  # noqa: BLE001 - the trail has it; a failing log or counter is no reason to keep an answer
            _log.exception("A listener failed on request %s.", exchange.request_id)
        return response

    def _is_audited(self, exchange: Exchange, response: HttpResponse) -> bool:
        """Refusals before anybody is known are limited by address; beyond, they are counted."""
        return exchange.principal is not None or exchange.services.refusals.take(exchange.request.peer)

    def _counted(self, exchange: Exchange, event: RequestEvent) -> tuple[HttpResponse, RequestEvent]:
        problem = TooManyRefusals("Too many refused requests came from this address; wait.", retry_after_s=10.0)
        return self._replaced(exchange, event, problem)

    def _unaudited(
        self, exchange: Exchange, event: RequestEvent, failure: Exception
    ) -> tuple[HttpResponse, RequestEvent]:
        if not isinstance(failure, AuditUnavailable):
            _log.error("The audit sink failed unexpectedly on request %s.", exchange.request_id, exc_info=failure)
        problem = AuditUnavailable("This can't be answered now, because it can't be recorded.", retry_after_s=5.0)
        return self._replaced(exchange, event, problem)

    def _replaced(
        self, exchange: Exchange, event: RequestEvent, problem: TorchgateError
    ) -> tuple[HttpResponse, RequestEvent]:
        response = problem_response(problem, exchange.request_id, ())
        response.headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
        changed = msgspec.structs.replace(
            event, status=response.status, code=response.code, response_bytes=len(response.body)
        )
        return response, changed


async def infer(exchange: Exchange) -> HttpResponse:
    """One inference, after the door has let it in: room, body, facts, run, answer."""
    services, headers = exchange.services, exchange.request.headers
    settings = services.settings
    announced = announced_length(headers, settings.max_body_bytes)
    header_span_s = header_timeout_s(headers.single(b"x-request-timeout-ms"))
    body_until = None if header_span_s is None else exchange.arrived_at + header_span_s
    permit = await _admit(exchange, settings.max_body_bytes if announced is None else announced)
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
    disconnect.watch(task.cancel)
    try:
        return await permit.run(request)
    except asyncio.CancelledError:
        if not disconnect.gone:
            raise
        task.uncancel()
        raise Cancelled("The client went away while its request ran.") from None
    finally:
        disconnect.unwatch()


async def _admit(exchange: Exchange, announced: int) -> Permit:
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
    services, principal = exchange.services, exchange.principal
    if principal is None:
        raise CredentialProblem("Nobody was authenticated.")
    wishes = [span for span in (header_span_s, decoded.timeout_s) if span is not None]
    deadline = deadline_at(
        exchange.arrived_at,
        min(wishes) if wishes else None,
        services.settings.default_timeout_s,
        services.settings.max_timeout_s,
        exchange.known_description().max_timeout_s,
    )
    if services.clock() >= deadline:
        raise DeadlineExceeded("The request timeout passed before its body was read.")
    return InferenceRequest(
        request_id=exchange.request_id,
        principal=principal,
        inputs=decoded.inputs,
        rows=decoded.rows,
        deadline_at=deadline,
        outputs=tuple(output.name for output in decoded.wanted) if decoded.names_outputs else None,
        priority=decoded.priority,
        parameters=decoded.parameters,
        client_ids=client_ids(exchange.request.headers.first(b"x-request-id"), decoded.client_id),
    )
