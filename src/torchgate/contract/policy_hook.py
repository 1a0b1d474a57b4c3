"""What the user's own policy function is told beside the question, and how it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from torchgate.contract.decision import Action, Decision, RequestFacts, Resource
from torchgate.contract.principal import Principal


class PolicyContext(msgspec.Struct, frozen=True):
    """What the rules said and what is known of the request.

    Args:
        grant: name of the matching grant, e.g. `policy.grants[2]`, or None: then only this function's answer allows.
        facts: None at the door, where the body is not read yet; the function is asked again with them.
        at: Unix seconds.
        policy_version: of the rules.
    """

    grant: str | None
    facts: RequestFacts | None
    at: float
    policy_version: str

    def allow(self, reason: str = "allowed by the hook.") -> Decision:
        """The answer yes; the reason goes to the audit."""
        return Decision(True, "hook", reason, self.policy_version)

    def deny(self, reason: str = "denied by the hook.") -> Decision:
        """The answer no; the reason goes to the audit, never to the caller."""
        return Decision(False, "hook", reason, self.policy_version)


PolicyHook = Callable[[Principal, Action, Resource, PolicyContext], "Decision | Awaitable[Decision]"]
"""`authorize(principal, action, resource, context)`, sync or async."""
