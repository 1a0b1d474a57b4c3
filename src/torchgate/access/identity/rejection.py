"""The one sentence for a refused credential; what was wrong with it stays private."""

from __future__ import annotations

from torchgate.contract.errors import IssuerUnavailable, RejectedCredential

RETRY_AFTER_S = 5.0  # seconds; the refresh of an issuer's keys is tried again within this order of time


def reject(failure: str) -> RejectedCredential:
    """The error for a refused credential.

    Args:
        failure: the class of failure, e.g. `expired`; never a word of the credential itself.
    """
    return RejectedCredential(
        "The credential was refused. Get a new one from its issuer; "
        "if that is refused too, ask this server's administrator, who finds the reason in the request log.",
        detail=failure,
    )


def unavailable(issuer: str) -> IssuerUnavailable:
    """The error while the keys of an issuer can't be had."""
    return IssuerUnavailable(
        "The credential can't be examined now, because the keys of its issuer are out of reach. Try again later.",
        detail=f"no keys of issuer {issuer}",
        retry_after_s=RETRY_AFTER_S,
    )
