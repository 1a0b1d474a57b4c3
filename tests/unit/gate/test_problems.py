"""Each error code has one status and one shape, and no refusal tells more than another."""

from __future__ import annotations

import json

import pytest

from torchgate.contract import errors
from torchgate.gate import errors as gate_errors
from torchgate.gate.problems import STATUSES, internal_response, problem_response

EVERY_ERROR = [
    found
    for module in (errors, gate_errors)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, errors.TorchgateError)
]


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_has_a_status(kind: type[errors.TorchgateError]) -> None:
    """A new error without a row would be a 500 for what may be the caller's mistake."""
    assert kind.code in STATUSES


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (errors.InvalidRequest("x"), 400),
        (errors.BodyTooLarge("x"), 413),
        (errors.Unsupported("x"), 501),
        (errors.NoCredential("x"), 401),
        (errors.RejectedCredential("x"), 401),
        (errors.IssuerUnavailable("x"), 503),
        (errors.Forbidden("x"), 403),
        (errors.UnknownModel("x"), 404),
        (errors.QuotaExceeded("x"), 429),
        (errors.Overloaded("x"), 503),
        (errors.ModelNotReady("x"), 503),
        (errors.AuditUnavailable("x"), 503),
        (errors.DeadlineExceeded("x"), 504),
        (errors.ModelError("x"), 500),
        (errors.WorkerDied("x"), 500),
        (errors.RunTooLong("x"), 504),
    ],
)
def test_statuses_are_those_of_the_design(problem: errors.TorchgateError, status: int) -> None:
    """The table that clients of the Open Inference Protocol rely on."""
    response = problem_response(problem, "7" * 32, ("Bearer",))
    assert response.status == status
    assert set(json.loads(response.body)) == {"error", "code", "request_id"}


@pytest.mark.parametrize("kind", [errors.RejectedCredential, errors.NoCredential, errors.Forbidden])
def test_refusals_have_constant_bodies_and_no_detail(kind: type[errors.TorchgateError]) -> None:
    """The attacker compares refusals to learn which check failed, or which model exists."""
    first = problem_response(kind("no such user", detail="secret one"), "7" * 32, ("Bearer",))
    second = problem_response(kind("expired", detail="secret two"), "7" * 32, ("Bearer",))
    assert first.body == second.body
    assert b"secret" not in first.body
    assert first.headers == second.headers


def test_refusals_that_pass_say_when_to_come_back() -> None:
    """Retry-After, in whole seconds and never 0."""
    headers = dict(problem_response(errors.Overloaded("x", retry_after_s=0.2), "7" * 32, ()).headers)
    assert headers[b"retry-after"] == b"1"


def test_challenges_are_those_of_rfc_6750() -> None:
    """Nothing presented: the bare scheme; refused: invalid_token; no right: insufficient_scope."""

    def challenge(problem: errors.TorchgateError) -> bytes:
        return dict(problem_response(problem, "7" * 32, ("Bearer",)).headers)[b"www-authenticate"]

    assert challenge(errors.NoCredential("x")) == b'Bearer realm="torchgate"'
    assert b'error="invalid_token"' in challenge(errors.RejectedCredential("x"))
    assert b'error="insufficient_scope"' in challenge(errors.Forbidden("x"))
    assert b'error="invalid_request"' in challenge(gate_errors.MalformedCredential("x"))


def test_a_challenge_has_its_own_parameters_last() -> None:
    """Only the scheme Bearer says what class of thing was wrong."""
    schemes = ('Bearer resource_metadata="https://a.example/x"', "Negotiate")
    found = [value for name, value in problem_response(errors.RejectedCredential("x"), "7" * 32, schemes).headers
             if name == b"www-authenticate"]  # fmt: skip
    assert found == [
        (
            b'Bearer realm="torchgate", error="invalid_token", error_description="The credential was refused", '
            b'resource_metadata="https://a.example/x"'
        ),
        b"Negotiate",
    ]


def test_what_nobody_foresaw_says_only_where_to_look() -> None:
    """A request id, and nothing of the exception."""
    document = json.loads(internal_response("7" * 32).body)
    assert (document["code"], document["request_id"]) == ("internal_error", "7" * 32)
