"""Error code → HTTP answer: the only file where a failure becomes a status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import orjson

from torchgate.contract.errors import (
    CredentialProblem,
    Forbidden,
    MethodNotAllowed,
    NoCallerToken,
    NoCredential,
    RejectedCredential,
    TorchgateError,
)
from torchgate.gate.errors import ForeignPage, MalformedCredential, UnprovenFrontDoor
from torchgate.gate.http_message import HttpResponse, json_response

STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "invalid_request": 400,
        "malformed_credential": 400,
        "unproven_front_door": 400,
        "credential_problem": 401,
        "no_credential": 401,
        "rejected_credential": 401,
        "forbidden": 403,
        "foreign_page": 403,
        "no_caller_token": 403,
        "unknown_model": 404,
        "unknown_path": 404,
        "method_not_allowed": 405,
        "body_too_slow": 408,
        "conflict": 409,
        "body_too_large": 413,
        "quota_exceeded": 429,
        "circuit_open": 429,
        "too_many_refusals": 429,
        "headers_too_large": 431,
        "cancelled": 499,
        "internal_error": 500,
        "load_failed": 500,
        "model_error": 500,
        "worker_died": 500,
        "unsupported": 501,
        "unavailable": 503,
        "overloaded": 503,
        "model_not_ready": 503,
        "audit_unavailable": 503,
        "issuer_unavailable": 503,
        "deadline_exceeded": 504,
        "run_too_long": 504,
    }
)
"""The whole table. 499 stands in records alone: its client is gone."""

RETRIED = frozenset({429, 503})
"""Statuses that say when to come back."""

UNAUTHORISED_SENTENCE = "This needs a credential: a bearer token in Authorization, or an API key in X-API-Key."
REJECTED_SENTENCE = "The credential was refused."
FORBIDDEN_SENTENCE = "This principal may not do this here."
INTERNAL_SENTENCE = "The server failed on this request. Its log has the reason under this request id."


def problem_body(sentence: str, code: str, request_id: str) -> bytes:
    """Our one shape of an error; `error` alone is the protocol's, the other members are ours."""
    return orjson.dumps({"error": sentence, "code": code, "request_id": request_id})


def problem_response(problem: TorchgateError, request_id: str, challenges: Sequence[str]) -> HttpResponse:
    """The answer to a failed request.

    Args:
        challenges: authentication schemes of this server, for WWW-Authenticate; own parameters follow after one space.
    """
    code = problem.code if problem.code in STATUSES else "internal_error"
    status = STATUSES[code]
    if isinstance(problem, UnprovenFrontDoor):
        return HttpResponse(status, b"", [], code)
    response = json_response(status, problem_body(_sentence(problem), code, request_id), code)
    if isinstance(problem, CredentialProblem | MalformedCredential) or status == 403:
        response.headers += _challenges(problem, challenges)
    if isinstance(problem, MethodNotAllowed):
        response.headers.append((b"allow", ", ".join(problem.allowed).encode("ascii")))
    if status in RETRIED:
        response.headers.append((b"retry-after", b"%d" % max(1, math.ceil(problem.retry_after_s or 1.0))))
    return response


def internal_response(request_id: str) -> HttpResponse:
    """The answer to a failure that nobody foresaw: a request id, and nothing else of it."""
    return json_response(500, problem_body(INTERNAL_SENTENCE, "internal_error", request_id), "internal_error")


def _sentence(problem: TorchgateError) -> str:
    """The public sentence; for 401 and 403 a constant, so that no refusal tells more than another."""
    if isinstance(problem, NoCredential):
        return UNAUTHORISED_SENTENCE
    if isinstance(problem, RejectedCredential):
        return REJECTED_SENTENCE
    if isinstance(problem, Forbidden) and not isinstance(problem, ForeignPage | NoCallerToken):
        return FORBIDDEN_SENTENCE
    return problem.sentence


def _challenges(problem: TorchgateError, schemes: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """WWW-Authenticate: the bare scheme where nothing was presented, else what class of thing was wrong.

    Source: RFC 6750, section 3.
    """
    if STATUSES[problem.code] >= 500 or isinstance(problem, ForeignPage | NoCallerToken):
        return []
    if isinstance(problem, MalformedCredential):
        attributes = ', error="invalid_request"'
    elif isinstance(problem, RejectedCredential):
        attributes = ', error="invalid_token", error_description="The credential was refused"'
    elif isinstance(problem, Forbidden):
        attributes = ', error="insufficient_scope"'
    else:
        attributes = ""
    return [(b"www-authenticate", _challenge(scheme, attributes)) for scheme in (schemes or ("Bearer",))]


def _challenge(scheme: str, attributes: str) -> bytes:
    """One challenge; what class of thing was wrong is a matter of the scheme Bearer."""
    name, _, own = scheme.partition(" ")
    if name.lower() == "negotiate":
        return b"Negotiate"  # RFC 4559, section 4.1: what stands behind it is a token, and no parameters
    said = attributes if name.lower() == "bearer" else ""
    return f'{name} realm="torchgate"{said}{f", {own}" if own else ""}'.encode("ascii")
