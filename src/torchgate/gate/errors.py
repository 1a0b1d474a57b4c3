"""What can go wrong with a request before anybody else sees it: the gate's own additions to the contract's errors."""

from __future__ import annotations

from torchgate.contract.errors import Forbidden, InvalidRequest, TorchgateError


class MalformedCredential(InvalidRequest):
    """A credential is there, but not in a form that could be examined; or there is more than one."""

    code = "malformed_credential"


class UnprovenFrontDoor(InvalidRequest):
    """The request lacks the proof that the configured front door sent it; its answer has no body and no reason."""

    code = "unproven_front_door"


class ForeignPage(Forbidden):
    """A browser sent this request on behalf of a page that is not ours."""

    code = "foreign_page"


class BodyTooSlow(InvalidRequest):
    """The body did not arrive within the time that a body may take."""

    code = "body_too_slow"


class TooManyRefusals(TorchgateError):
    """This address was refused too often; it is not examined one by one for a while."""

    code = "too_many_refusals"
