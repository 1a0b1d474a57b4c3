"""What callers hear when their request did not come to an answer."""

from __future__ import annotations

from torchgate.contract.back_end import Artifact, BatchLost
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Cancelled, DeadlineExceeded, Overloaded, RunTooLong, TorchgateError, WorkerDied
from torchgate.contract.inference import InferenceRequest


def too_late(ref: ModelRef, request: InferenceRequest) -> DeadlineExceeded:
    """Its deadline has passed."""
    return DeadlineExceeded(
        f"The timeout of this request passed before model '{ref.name}' version '{ref.version}' had answered it. "
        "Allow more time, or try again later.",
        detail=f"request {request.request_id}",
    )


def taken_back(request: InferenceRequest) -> Cancelled:
    """Its caller said that it wants no answer any more."""
    return Cancelled("This request was cancelled by its caller.", detail=f"request {request.request_id}")


def queue_full(ref: ModelRef, waiting: int, retry_after_s: float) -> Overloaded:
    """The queue is full, and nobody in it holds more of it than this caller does."""
    return Overloaded(
        f"Model '{ref.name}' version '{ref.version}' has {waiting} requests waiting, no more may, and no caller has "
        f"more among them than you. Try again in {retry_after_s:g} s.",
        retry_after_s=retry_after_s,
    )


def guilty(artifact: Artifact, lost: BatchLost) -> TorchgateError:
    """It ended what ran it: alone, or in a model whose rows must not run twice."""
    name = f"Model '{artifact.ref.name}' version '{artifact.ref.version}'"
    if lost.hung:
        return RunTooLong(
            f"{name} ran on this request for more than {artifact.max_run_s:g} s and was stopped. "
            "Send less, or ask the model's owner.",
            detail=str(lost),
        )
    again = "It was run alone and ended again" if artifact.idempotent else "It was not run again"
    return WorkerDied(
        f"{name} ended while it ran this request. {again}. Check the input, or ask the model's owner.",
        detail=str(lost),
    )


def unexpected(error: Exception) -> TorchgateError:
    """A back end raised something: our own errors as they are, anything else without its text."""
    if isinstance(error, TorchgateError):
        return error
    return TorchgateError("Something went wrong here; the request log has more.", detail=repr(error))
