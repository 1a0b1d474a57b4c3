"""A caller once more, in the middle of its request: a stream may outlive the credential that began it."""

from __future__ import annotations

from torchgate.access.identity.rejection import reject
from torchgate.contract.errors import CredentialProblem, NoCredential
from torchgate.contract.principal import Principal
from torchgate.gate.exchange import Exchange


async def prove_again(question: Exchange, visit: Exchange) -> Principal:
    """The principal of a question, proven by what its request presented and by what counts now.

    Expiry, withdrawn keys and roles are those of this moment; until then the record names who began the request.

    Args:
        question: its services are those in force; its principal becomes this one.
        visit: the request that asks it.

    Raises:
        RejectedCredential: what proved its caller when the request came proves nobody any more.
        IssuerUnavailable: that can't be known now.
    """
    before, presented = visit.principal, visit.presented
    if before is None or presented is None:
        raise NoCredential("Nobody was authenticated.")
    question.principal = before
    authentication = question.services.authentication
    try:
        now = authentication.cached(presented) or await authentication.authenticate(presented)
        if now.key != before.key:
            raise reject("the credential is another caller's by now")
    except CredentialProblem as problem:
        question.credential_reason = problem.detail or problem.code
        raise
    question.principal = now
    return now
