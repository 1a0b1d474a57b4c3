"""What the gate is given: everything it asks, and everybody it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from torchgate.access.identity.presented import Presented
from torchgate.contract.audit_event import RefusalsEvent, RequestEvent
from torchgate.contract.audit_sink import AuditSink
from torchgate.contract.clock import Clock
from torchgate.contract.decision import Action, Decision, RequestFacts, Resource
from torchgate.contract.inference import Engine
from torchgate.contract.policy_status import KeepsPolicy
from torchgate.contract.principal import Principal
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.settings import GateSettings
from torchgate.gate.under_way import RequestsUnderWay


class Authenticates(Protocol):
    """access.identity.authenticate.Authentication, as the gate uses it."""

    def cached(self, presented: Presented) -> Principal | None:
        """The principal where that takes no I/O."""
        ...

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal.

        Raises:
            NoCredential, RejectedCredential, IssuerUnavailable, InvalidRequest.
        """
        ...

    def challenges(self) -> tuple[str, ...]:
        """Schemes that exist here, each with parameters of its own, if any, after one space."""
        ...


class Authorises(Protocol):
    """access.policy.authorise.Authorisation, as the gate uses it."""

    async def authorise(
        self, principal: Principal, action: Action, resource: Resource, facts: RequestFacts | None = None
    ) -> Decision:
        """The decision, the user's function included."""
        ...


class LimitsRefusals(Protocol):
    """access.identity.refusals.RefusalLimiter, as the gate uses it."""

    def take(self, peer: str) -> bool:
        """Whether this refusal is answered and audited by itself."""
        ...

    def drain(self) -> list[RefusalsEvent]:
        """What went beyond, since the last call."""
        ...


@dataclass(frozen=True)
class GateServices:
    """Filled by the composition root.

    Args:
        on_request: is told each answer, public routes included; must not raise and not wait.
        render_metrics: body and content type of /metrics.
        server_version: of this package, for metadata.
        clock: seconds, monotonic; wall_clock: Unix seconds.
        resource_metadata: what clients may learn without a credential, as JSON (RFC 9728), or None.
        policy: tells of the policy in force and changes it; None where it does not change.
        under_way: requests that the engine does not have yet; the same whatever the policy.
        on_stop: is told that the front door asks this process to end; returns at once.
    """

    settings: GateSettings
    front_door: FrontDoor
    engine: Engine
    authentication: Authenticates
    authorisation: Authorises
    refusals: LimitsRefusals
    audit: AuditSink
    on_request: Callable[[RequestEvent], None]
    render_metrics: Callable[[], Awaitable[tuple[bytes, str]]]
    server_version: str
    clock: Clock
    wall_clock: Callable[[], float] = field(repr=False)
    resource_metadata: bytes | None = None
    policy: KeepsPolicy | None = None
    under_way: RequestsUnderWay = field(default_factory=RequestsUnderWay, repr=False)
    on_stop: Callable[[], None] = field(default=lambda: None, repr=False)
