"""What stands around the gate, in memory: identity by fixed keys, policy by sets, an audit that remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from torchgate.access.identity.presented import Presented
from torchgate.contract.audit_event import AuditEvent, PolicyEvent, RefusalsEvent, RequestEvent
from torchgate.contract.decision import Action, Decision, RequestFacts, Resource
from torchgate.contract.errors import AuditUnavailable, IssuerUnavailable, NoCredential, RejectedCredential
from torchgate.contract.principal import Principal


@dataclass
class FixedKeys:
    """Knows the keys that it was given; a token `unreachable` is of an issuer that can't be reached."""

    principals: dict[str, Principal] = field(default_factory=dict)
    asked: int = 0

    def cached(self, presented: Presented) -> Principal | None:
        """Never remembers, so that authenticate is asked."""
        return None

    async def authenticate(self, presented: Presented) -> Principal:
        """As the contract says."""
        self.asked += 1
        credential = presented.api_key or presented.bearer
        if presented.windows is not None:
            credential = presented.windows.sid
        if presented.asserted is not None:
            credential = presented.asserted.user
        if credential is None:
            raise NoCredential("no")
        if credential == "unreachable":
            raise IssuerUnavailable("The issuer can't be reached.", retry_after_s=7.0)
        if credential not in self.principals:
            raise RejectedCredential("no", detail="unknown key")
        return self.principals[credential]

    def challenges(self) -> tuple[str, ...]:
        """One scheme."""
        return ("Bearer",)


@dataclass
class PolicyBySets:
    """Allows (principal key, action) pairs; `max_rows` is a rule on facts; `covered` names are no secret."""

    allowed: set[tuple[str, Action]] = field(default_factory=set)
    covered: frozenset[str] = frozenset()
    max_rows: int = 1_000_000
    asked: list[tuple[Action, Resource, RequestFacts | None]] = field(default_factory=list)

    async def authorise(
        self, principal: Principal, action: Action, resource: Resource, facts: RequestFacts | None = None
    ) -> Decision:
        """Free actions are free."""
        self.asked.append((action, resource, facts))
        is_free = action in (Action.DESCRIBE, Action.IDENTIFY, Action.CANCEL)
        allowed = is_free or (principal.key, action) in self.allowed
        if facts is not None and facts.rows > self.max_rows:
            allowed = False
        return Decision(allowed, "rule" if allowed else "default deny", "because", "v1", resource.name in self.covered)


@dataclass
class RefusalBucket:
    """A bucket that never fills again."""

    left: int = 1_000_000
    excess: int = 0

    def take(self, peer: str) -> bool:
        """Whether this one is answered by itself."""
        if self.left:
            self.left -= 1
            return True
        self.excess += 1
        return False

    def drain(self) -> list[RefusalsEvent]:
        """Nobody asks here."""
        return []


@dataclass
class RememberingAudit:
    """Keeps events, or refuses them."""

    events: list[RequestEvent] = field(default_factory=list)
    policies: list[PolicyEvent] = field(default_factory=list)
    is_available: bool = True
    failure: Exception | None = None

    async def write(self, event: AuditEvent) -> None:
        """As the contract says."""
        if self.failure is not None:
            raise self.failure
        if not self.is_available:
            raise AuditUnavailable("the disk is full")
        if isinstance(event, RequestEvent):
            self.events.append(event)
        elif isinstance(event, PolicyEvent):
            self.policies.append(event)
