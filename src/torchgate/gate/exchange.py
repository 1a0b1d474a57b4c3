"""One request on its way: what is known of it so far, and the record that will be left of it."""

from __future__ import annotations

import os
import re

import msgspec

from torchgate.access.identity.presented import Presented, Reply
from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.decision import Action, Decision, ModelRef, RequestFacts, Resource, names_every_version
from torchgate.contract.errors import Forbidden, NoCallerToken, UnknownModel
from torchgate.contract.inference import ModelDescription, Timing
from torchgate.contract.principal import Principal
from torchgate.gate.carriers import NOTHING
from torchgate.gate.http_message import HttpRequest, HttpResponse
from torchgate.gate.services import GateServices
from torchgate.gate.trace_context import parse_traceparent
from torchgate.gate.under_way import UnderWay

MAX_PATH_CHARACTERS = 512  # of a record (contract.audit_event)
MAX_NAME_CHARACTERS = 128
GROUPS_UNKNOWN = (
    "Its credential leaves its groups out: denials on groups apply, and grants on groups don't. Give roles by "
    "something else (Entra: app roles), or have its groups looked up."
)
"""For the record alone: what to do about a denial that groups may have decided."""

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names of models and versions; any other is not even looked up. Source: the class of CVE-2025-23316; DESIGN 5."""

_CLIENT_ID = re.compile(rb"[\x21-\x7e]+")


class Exchange:
    """A request, the services it may use, and the growing record of it."""

    __slots__ = (
        "action", "arrived_at", "at", "carried", "credential_reason", "decision", "description", "is_public",
        "model_name", "path", "presented", "principal", "ref", "reply", "request", "request_bytes", "request_id",
        "route_path", "rows", "services", "timing", "under_way", "version",
    )  # fmt: skip

    def __init__(self, services: GateServices, request: HttpRequest) -> None:
        self.services = services
        self.request = request
        self.request_id = os.urandom(16).hex()
        self.at = services.wall_clock()
        self.arrived_at = services.clock()
        self.path = ""
        self.route_path = ""
        self.is_public = False
        self.action: Action | None = None
        self.model_name = ""
        self.version: str | None = None
        self.ref: ModelRef | None = None
        self.description: ModelDescription | None = None
        self.principal: Principal | None = None
        self.decision: Decision | None = None
        self.credential_reason = ""
        self.presented: Presented | None = None
        self.reply: Reply | None = None
        self.rows = 0
        self.request_bytes = 0
        self.timing: Timing | None = None
        self.under_way: UnderWay | None = None
        self.carried = NOTHING

    async def resolve(self) -> None:
        """Settle which model version is meant, and that this principal may do this to it.

        Raises:
            Forbidden: it may not, or there is no such model and no grant of its own covers the name.
            UnknownModel: there is no such model, and a grant covers the name.
        """
        is_name = self.look_up()
        if self.description is not None:
            is_every_version = self.action is not None and names_every_version(self.action, self.version)
            await self.authorise(Resource(model=self.ref, is_every_version=is_every_version))
            return
        asked = Resource(name=self.model_name[:MAX_NAME_CHARACTERS], version=(self.version or "")[:MAX_NAME_CHARACTERS])
        decision = await self._decide(asked, None)
        if self.action is Action.LOAD and is_name and decision.allowed:
            return  # what has only just come into the repository is no model yet
        if decision.covers_name:
            raise self.unknown_model()
        raise Forbidden("This principal may not do this here.", detail=f"unknown model; {decision.reason}")

    def look_up(self) -> bool:
        """Take down which model version is meant, as far as there is one; whether it is named as one could be."""
        engine = self.services.engine
        is_name = bool(NAME.fullmatch(self.model_name)) and (self.version is None or bool(NAME.fullmatch(self.version)))
        self.ref = engine.resolve(self.model_name, self.version) if is_name else None
        self.description = engine.describe(self.ref) if self.ref is not None else None
        if self.description is None:
            self.ref = None
        return is_name

    def give_back_token(self) -> None:
        """Close the caller's token, if one was kept. Safe to call twice."""
        if self.carried.token is not None:
            self.carried.token.close()

    def settle_token(self) -> None:
        """A token stays open only on the way to a model that acts with its caller's rights, which needs one.

        Raises:
            NoCallerToken: there is none.
        """
        if self.action is not Action.INFER or self.token() is None:
            self.give_back_token()

    def token(self) -> CallerToken | None:
        """What the model that is asked acts with; None: it needs none.

        Raises:
            NoCallerToken: it needs one, and there is none.
        """
        description, token = self.description, self.carried.token
        if description is None or not description.impersonates:
            return None
        if token is None or not token.is_open:
            raise NoCallerToken.for_model(description.ref.name, detail=self.carried.why_no_token)
        return token

    async def authorise(self, resource: Resource, facts: RequestFacts | None = None) -> None:
        """Go on only if the policy allows it.

        Raises:
            Forbidden: it does not.
        """
        decision = await self._decide(resource, facts)
        if not decision.allowed:
            raise Forbidden("This principal may not do this here.", detail=f"{decision.rule}: {decision.reason}")

    async def may_read(self, description: ModelDescription) -> bool:
        """Whether this principal may know of a version; asked for lists, and no part of the record."""
        authorisation = self.services.authorisation
        if self.principal is None:
            return False
        resource = Resource(model=description.ref)
        return (await authorisation.authorise(self.principal, Action.READ, resource)).allowed

    def known_description(self) -> ModelDescription:
        """Of the model that the route names; only after resolve."""
        if self.description is None:
            raise self.unknown_model()
        return self.description

    def unknown_model(self) -> UnknownModel:
        """The refusal of a model or version that does not exist."""
        version = "" if self.version is None else f" version {self.version[:64]}"
        return UnknownModel(f"Request for unknown model: '{self.model_name[:64]}'{version} is not found.")

    def event(self, response: HttpResponse) -> RequestEvent:
        """The record of this request and its answer."""
        headers = self.request.headers
        traceparent = headers.first(b"traceparent")
        trace_id, span_id = parse_traceparent(traceparent) if traceparent is not None else ("", "")
        timing = self.timing
        return RequestEvent(
            request_id=self.request_id,
            at=self.at,
            duration_s=self.services.clock() - self.arrived_at,
            method=self.request.method[:32],
            path=self.path[:MAX_PATH_CHARACTERS],
            peer=self.request.peer,
            front_door=self.services.front_door.name,
            status=response.status,
            client_request_id=_client_request_id(headers.first(b"x-request-id")),
            action="" if self.action is None else self.action.value,
            model=self.ref,
            model_name=self.model_name[:MAX_NAME_CHARACTERS],
            model_digest="" if self.description is None else self.description.digest,
            principal=self.principal,
            credential_reason=self.credential_reason,
            decision=self.decision,
            code=response.code,
            rows=self.rows,
            request_bytes=self.request_bytes,
            response_bytes=len(response.body),
            queue_s=0.0 if timing is None else timing.queue_s,
            run_s=0.0 if timing is None else timing.run_s,
            worker="" if timing is None else timing.worker,
            trace_id=trace_id,
            span_id=span_id,
        )

    async def _decide(self, resource: Resource, facts: RequestFacts | None) -> Decision:
        principal, action = self.principal, self.action
        if principal is None or action is None:
            raise Forbidden("This principal may not do this here.", detail="nobody was authenticated")
        decision = await self.services.authorisation.authorise(principal, action, resource, facts)
        if not decision.allowed and not principal.groups_known:
            decision = msgspec.structs.replace(decision, reason=f"{decision.reason} {GROUPS_UNKNOWN}")
        self.decision = decision
        return decision


def _client_request_id(value: bytes | None) -> str:
    """What the client calls its request, where that can be written down safely."""
    if value is None:
        return ""
    found = _CLIENT_ID.match(value)
    return found[0][:MAX_NAME_CHARACTERS].decode("ascii") if found else ""
