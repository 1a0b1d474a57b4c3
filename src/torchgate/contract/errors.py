"""The one exception tree: what can go wrong with a request, in words that a caller may see.

TorchgateError
├── InvalidRequest            the caller's mistake in the request itself            (400)
│   ├── BodyTooLarge          more bytes than the limit says                        (413)
│   └── Unsupported           part of the protocol that we do not offer             (501)
├── CredentialProblem         who is asking is not proven
│   ├── NoCredential          none presented where one is needed                    (401)
│   ├── RejectedCredential    presented and refused                                 (401)
│   └── IssuerUnavailable     can't be examined now: no keys of that issuer         (503)
├── Forbidden                 proven, and not allowed                               (403)
│   └── NoCallerToken         the model acts with its caller's rights, and has none (403)
├── UnknownModel              no such model or version                              (404)
├── UnknownPath               no such route                                         (404)
├── MethodNotAllowed          a route, but not with this method                     (405)
├── Conflict                  a change that can't be made as things are             (409)
├── LoadFailed                a model version could not be put into service         (500)
├── QuotaExceeded             the principal's own quota                             (429)
├── CircuitOpen               its requests ended this model's workers repeatedly     (429)
├── Unavailable               ours, and temporary                                   (503)
│   ├── Overloaded            no room: a queue or the memory for bodies is full
│   ├── ModelNotReady         loading, failed, or unloading
│   └── AuditUnavailable      the audit event can't be written, so nothing may leave
├── DeadlineExceeded          the caller's, the model's or the server's             (504)
├── Cancelled                 the caller no longer wants it                         (499, in logs only)
└── ModelError                the model's own failure on this request               (500)
    ├── WorkerDied            its process ended while it ran this
    └── RunTooLong            it outlived the model's max_run_s                      (504)

Only `gate/problems.py` knows HTTP; the numbers above are its table, here for the reader.
"""

from __future__ import annotations

from typing import ClassVar


class TorchgateError(Exception):
    """A failure with a stable code and a sentence that the caller may see.

    Args:
        sentence: public; says what, which, seen against allowed, and what to do next.
        detail: private; goes to the request log, never to the caller.
        retry_after_s: seconds after which trying again makes sense, where known.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, sentence: str, *, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.detail = detail
        self.retry_after_s = retry_after_s


class InvalidRequest(TorchgateError):
    """The request itself is wrong; sending it again as it is can't help."""

    code = "invalid_request"


class BodyTooLarge(InvalidRequest):
    """The body, announced or as it came, or inflated, exceeds the limit."""

    code = "body_too_large"


class Unsupported(InvalidRequest):
    """A part of the protocol that this server does not offer."""

    code = "unsupported"


class CredentialProblem(TorchgateError):
    """Who is asking is not proven."""

    code = "credential_problem"


class NoCredential(CredentialProblem):
    """The route needs a credential and none was presented."""

    code = "no_credential"


class RejectedCredential(CredentialProblem):
    """A credential was presented and refused; the reason stays in `detail`."""

    code = "rejected_credential"


class IssuerUnavailable(CredentialProblem):
    """The credential's issuer can't be reached, so it can be neither accepted nor refused."""

    code = "issuer_unavailable"


class Forbidden(TorchgateError):
    """The principal is known and not allowed; the deciding rule stays in `detail`."""

    code = "forbidden"


class NoCallerToken(Forbidden):
    """The model acts with its caller's Windows rights, and this request brought no token that gives them."""

    code = "no_caller_token"

    @classmethod
    def for_model(cls, model: str, *, detail: str = "") -> NoCallerToken:
        """The refusal of a caller of this model."""
        return cls(
            f"Model '{model}' acts with the Windows rights of its caller, and this request brought no Windows token "
            "that gives them. Call it through IIS with Windows authentication.",
            detail=detail,
        )


class UnknownModel(TorchgateError):
    """No model, or no version of it, has this name."""

    code = "unknown_model"


class UnknownPath(TorchgateError):
    """No route has this path."""

    code = "unknown_path"


class MethodNotAllowed(TorchgateError):
    """The route exists, but not with this method."""

    code = "method_not_allowed"

    def __init__(self, sentence: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.allowed = allowed


class Conflict(TorchgateError):
    """A change that can't be made as things are: another is under way, or what it is made of has mistakes."""

    code = "conflict"


class LoadFailed(TorchgateError):
    """A model version could not be put into service; the reason stands in `detail` and in the state of the model."""

    code = "load_failed"


class QuotaExceeded(TorchgateError):
    """The principal has used up a quota of its own."""

    code = "quota_exceeded"


class CircuitOpen(TorchgateError):
    """The principal's requests ended this model's workers again and again, so that none is taken for a while."""

    code = "circuit_open"


class Unavailable(TorchgateError):
    """The server can't do this now, through no fault of the caller."""

    code = "unavailable"


class Overloaded(Unavailable):
    """A bounded queue, or the memory for bodies, is full."""

    code = "overloaded"


class ModelNotReady(Unavailable):
    """The model is loading, failed or unloading."""

    code = "model_not_ready"


class AuditUnavailable(Unavailable):
    """The audit trail can't take the event, so no answer may leave."""

    code = "audit_unavailable"


class DeadlineExceeded(TorchgateError):
    """The deadline passed before the answer was there."""

    code = "deadline_exceeded"


class Cancelled(TorchgateError):
    """The caller went away or took the request back."""

    code = "cancelled"


class ModelError(TorchgateError):
    """The model failed on this request: it raised, or answered something else than its signature."""

    code = "model_error"


class WorkerDied(ModelError):
    """The worker's process ended while it ran this request, alone or in a model that may not run twice."""

    code = "worker_died"


class RunTooLong(ModelError):
    """The run outlived the model's max_run_s, and the worker was killed."""

    code = "run_too_long"
