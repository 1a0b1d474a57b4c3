"""The request's way, in the order of DESIGN 2: who, may they, is there room, then the body, then the run.

Whatever happens, there is one answer and one record of it, and the record is written before the answer leaves.
"""

from __future__ import annotations

import base64
import logging

import msgspec

from torchgate.access.identity.presented import Presented, Reply
from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.decision import Action, Resource
from torchgate.contract.errors import (
    AuditUnavailable,
    CredentialProblem,
    TorchgateError,
    UnknownModel,
    UnknownPath,
)
from torchgate.contract.principal import Principal
from torchgate.gate.application import Application
from torchgate.gate.cancellation import client_ids
from torchgate.gate.errors import TooManyRefusals
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpRequest, HttpResponse
from torchgate.gate.limits import drain_refused
from torchgate.gate.problems import internal_response, problem_response
from torchgate.gate.reign import Reign
from torchgate.gate.route import Match, Route, RouteTable
from torchgate.gate.services import GateServices
from torchgate.gate.under_way import UnderWay

NOT_DRAINED = frozenset({"body_too_slow", "deadline_exceeded", "cancelled"})
"""Refusals of a body that does not come: waiting for the rest of it would only make them later."""

_log = logging.getLogger("torchgate.gate")


_THEIRS_WHERE_MOUNTED = frozenset({"/openapi.json"})
"""Paths of ours that an application around us has itself: FastAPI describes its own routes there."""


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

    async def answer(self, request: HttpRequest, application: Application | None = None) -> HttpResponse:
        """The one answer to a request, its record written.

        Args:
            application: answers the paths that are not ours; None: nobody does.
        """
        with self._reign as services:
            exchange = Exchange(services, request)
            try:
                return await self._answer(exchange, application)
            finally:
                exchange.give_back_token()

    def in_force(self) -> Reign:
        """The services by which what begins now is decided; entered, they last until it is left."""
        return self._reign

    async def settle(self, exchange: Exchange, response: HttpResponse) -> HttpResponse:
        """Write the record of an answer; that answer, complete, or the one that leaves in its place.

        Nothing leaves that is not written.
        """
        response = await self._settle(exchange, response)
        if exchange.reply is not None and exchange.reply.token:
            response.headers.append((b"www-authenticate", b"Negotiate " + base64.b64encode(exchange.reply.token)))
        return response

    async def _answer(self, exchange: Exchange, application: Application | None) -> HttpResponse:
        request = exchange.request
        try:
            response = await self._pass(exchange, application)
        except TorchgateError as problem:
            response = self._refuse(exchange, problem)
        except Exception:  # noqa: BLE001 - everything becomes an answer; this one says nothing but where to look
            _log.exception("Request %s failed unexpectedly.", exchange.request_id)
            response = internal_response(exchange.request_id)
        if response.has_left:
            return response
        response = await self.settle(exchange, response)
        if not request.body.is_complete:
            response.closes = response.code in NOT_DRAINED or not await drain_refused(
                request, exchange.services.settings.refusal_drain_bytes
            )
        return response

    async def _pass(self, exchange: Exchange, application: Application | None) -> HttpResponse:
        services, request = exchange.services, exchange.request
        door = services.front_door
        entry = door.enter(request)
        exchange.carried = entry.carried
        if entry.is_stop:
            return self._stop(exchange)
        match = self._routes.match(request.method, request.raw_path)
        if application is not None:
            match = _match_mounted(match, application)
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
            if application is not None and match.problem is None:
                return await application.answer(exchange, self)
            raise match.problem or UnknownModel("Not Found.")
        if route.action is not Action.INFER or exchange.principal is None:
            return await self._handled(exchange, route)
        exchange.under_way = under_way = UnderWay(services.under_way, exchange.principal.key)
        under_way.called(client_ids(request.headers.first(b"x-request-id"), None))
        return await under_way.unless_taken_back(self._handled(exchange, route))

    async def _handled(self, exchange: Exchange, route: Route) -> HttpResponse:
        if route.names_model:
            await exchange.resolve()
            exchange.settle_token()
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
        exchange.presented = presented
        return authentication.cached(presented) or await authentication.authenticate(presented)

    def _refuse(self, exchange: Exchange, problem: TorchgateError) -> HttpResponse:
        if isinstance(problem, CredentialProblem):
            exchange.credential_reason = problem.detail or problem.code
        if problem.detail:
            _log.debug("Request %s: %s (%s)", exchange.request_id, problem.code, problem.detail)
        return problem_response(problem, exchange.request_id, exchange.services.authentication.challenges())

    async def _settle(self, exchange: Exchange, response: HttpResponse) -> HttpResponse:
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


def _match_mounted(match: Match, application: Application) -> Match:
    """The same, or, for a path that the application has, neither route nor problem."""
    if not isinstance(match.problem, UnknownPath) and match.path not in _THEIRS_WHERE_MOUNTED:
        return match
    return Match(match.path, is_public=application.is_public(match.path))
