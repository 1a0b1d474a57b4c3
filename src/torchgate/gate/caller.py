"""Who is asking, as the routes of a mounted application see it, and what may be asked for them.

Each question is one audit event of its own, written before its answer is known to the route: a decision that can't be
recorded is none.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar, Token
from typing import Any, TypeVar

import numpy

from torchgate.contract.decision import Action, Decision, RequestFacts, Resource
from torchgate.contract.errors import AuditUnavailable, Cancelled, NoCredential, TorchgateError
from torchgate.contract.inference import InferenceRequest, ParameterValue
from torchgate.contract.principal import Principal
from torchgate.gate.application import Way
from torchgate.gate.caller_tensors import Values, decode_outputs, encode_inputs
from torchgate.gate.cancellation import client_ids
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import Disconnect, HttpResponse
from torchgate.gate.inference_parameters import request_wishes
from torchgate.gate.inference_way import admit, deadline_of, in_time, run_until_gone
from torchgate.gate.limits import header_timeout_s
from torchgate.gate.problems import STATUSES
from torchgate.gate.services import GateServices
from torchgate.gate.still_proven import prove_again

_Answer = TypeVar("_Answer")
_OVER = "this request is over, and its caller with it. Ask before the route returns, or while its background tasks run."
_NOT_GUARDED = "nobody asks: this runs outside of a request, or in an application that torchgate.Gate does not guard."

_current: ContextVar[Caller | None] = ContextVar("torchgate_caller")


class Caller:
    """The proven principal of one request, and the questions that its route may ask for it.

    Each question is decided by the policy in force when it is asked, for a caller whose credential still counts then.

    Args:
        visit: the request; its principal is proven.
        principal: the same, with the roles that it had when the request came.
        way: writes the record of each question, and has what is in force.
        client: makes, for one inference, what tells of a client that hangs up.

    Thread/process: the event loop of the gate; from other threads, BlockingCaller.
    """

    __slots__ = ("_client", "_is_over", "_numbers", "_visit", "_way", "principal")

    def __init__(self, visit: Exchange, principal: Principal, way: Way, client: Callable[[], Disconnect]) -> None:
        self.principal = principal
        self._visit = visit
        self._way = way
        self._client = client
        self._numbers = itertools.count(1)
        self._is_over = False

    @property
    def request_id(self) -> str:
        """What the audit trail calls this request; each question adds a point and its number."""
        return self._visit.request_id

    async def authorise(self, action: Action | str, model: str | None = None, version: str | None = None) -> Decision:
        """The decision that lets this caller do an action, on a model or on the server.

        Args:
            action: as in a grant: `infer`, `read`, `load`, `unload`, `metrics`, `admin`.
            model: its name; None: the server itself.
            version: None: the default one.

        Raises:
            Forbidden: the policy does not allow it; a route that lets this through answers 403.
            UnknownModel: there is no such model, and a grant covers the name (404).
            CredentialProblem: the credential has expired or was withdrawn since the request came (401).
            AuditUnavailable: it can't be recorded.
            ValueError: there is no such action.
        """
        names_model = model is not None
        return await self._asked(
            Action(action), model, version, lambda question: _decided(question, names_model=names_model)
        )

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Values],
        *,
        version: str | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, numpy.ndarray[Any, Any]]:
        """The model's outputs by name, as numpy arrays; policy, quotas and audit as for a request of the protocol.

        Args:
            model: its name.
            inputs: name → array, with the batch dimension where the model takes batches.
            version: None: the default one.
            parameters: of the request, as the protocol has them.
            timeout_s: capped by the client's own X-Request-Timeout-Ms, the model and the server.

        Raises:
            TorchgateError: what the same request would have been refused with, had it come now; uncaught, the route
                answers with it. Where the client hangs up meanwhile: 499, `cancelled`.
        """
        return await self._asked(
            Action.INFER,
            model,
            version,
            lambda question: _inferred(question, self._client(), inputs, parameters, timeout_s),
        )

    def end(self) -> None:
        """The request is over; nothing more is asked for it."""
        self._is_over = True

    async def _asked(
        self, action: Action, model: str | None, version: str | None, work: Callable[[Exchange], Awaitable[_Answer]]
    ) -> _Answer:
        if self._is_over:
            raise RuntimeError(_OVER)
        with self._way.in_force() as services:
            question = self._question(services, action, model, version)
            return await self._recorded(question, work)

    def _question(self, services: GateServices, action: Action, model: str | None, version: str | None) -> Exchange:
        visit = self._visit
        question = Exchange(services, visit.request)
        question.request_id = f"{visit.request_id}.{next(self._numbers)}"
        question.path, question.principal, question.action = visit.path, self.principal, action
        question.model_name, question.version = model or "", version
        question.carried = visit.carried  # the token in it is the visit's to give back
        return question

    async def _recorded(self, question: Exchange, work: Callable[[Exchange], Awaitable[_Answer]]) -> _Answer:
        """The answer, once its record is written; a refusal's record is written, too."""
        try:
            await prove_again(question, self._visit)
            answer = await work(question)
        except TorchgateError as problem:
            await self._write(question, problem.code)
            raise
        except asyncio.CancelledError:
            await self._write(question, Cancelled.code)
            raise
        except Exception:
            await self._write(question, TorchgateError.code)
            raise
        finally:
            self._visit.decision = question.decision or self._visit.decision
        await self._write(question, "")
        return answer

    async def _write(self, question: Exchange, code: str) -> None:
        status = STATUSES.get(code, 500) if code else 200
        settled = await self._way.settle(question, HttpResponse(status, b"", [], code))
        if settled.code == AuditUnavailable.code:
            raise AuditUnavailable("This can't be answered now, because it can't be recorded.", retry_after_s=5.0)


class BlockingCaller:
    """The same for code on threads: `def` routes of FastAPI, routes of Flask.

    Args:
        caller: the caller.
        loop: of the gate.

    Thread/process: any thread but the loop's own.
    """

    __slots__ = ("_caller", "_loop")

    def __init__(self, caller: Caller, loop: asyncio.AbstractEventLoop) -> None:
        self._caller = caller
        self._loop = loop

    @property
    def principal(self) -> Principal:
        """As of Caller."""
        return self._caller.principal

    @property
    def request_id(self) -> str:
        """As of Caller."""
        return self._caller.request_id

    def authorise(self, action: Action | str, model: str | None = None, version: str | None = None) -> Decision:
        """As Caller.authorise."""
        return self._wait(self._caller.authorise(action, model, version))

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Values],
        *,
        version: str | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, numpy.ndarray[Any, Any]]:
        """As Caller.infer."""
        return self._wait(
            self._caller.infer(model, inputs, version=version, parameters=parameters, timeout_s=timeout_s)
        )

    def _wait(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        if _runs_a_loop():
            work.close()
            raise RuntimeError("this would wait for itself: in `async def` code, await torchgate.caller() instead.")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def caller() -> Caller:
    """The caller of the request that this code answers; also a dependency of FastAPI: `Depends(torchgate.caller)`.

    Raises:
        NoCredential: on a public path, where nobody was asked who they are; uncaught, the route answers 401.
        RuntimeError: outside of a request.
    """
    try:
        found = _current.get()
    except LookupError:
        raise RuntimeError(_NOT_GUARDED) from None
    if found is None:
        raise NoCredential("This route asks who is calling, and its path is public.")
    return found


def blocking_caller() -> BlockingCaller:
    """The same for code that runs on a thread.

    Raises:
        NoCredential, RuntimeError: as caller.
    """
    found = caller()
    loop = _loops.get(None)
    if loop is None:
        raise RuntimeError(_NOT_GUARDED)
    return BlockingCaller(found, loop)


_loops: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("torchgate_caller_loop", default=None)

Tokens = tuple[Token[Caller | None], Token[asyncio.AbstractEventLoop | None]]


def enter_request(found: Caller | None, loop: asyncio.AbstractEventLoop) -> Tokens:
    """Let `caller` give this one, in this context; None: the path is public.

    Args:
        loop: of the gate.
    """
    return _current.set(found), _loops.set(loop)


def leave_request(tokens: Tokens) -> None:
    """Undo enter_request."""
    _current.reset(tokens[0])
    _loops.reset(tokens[1])


async def _decided(question: Exchange, *, names_model: bool) -> Decision:
    if names_model:  # an empty name is the name of no model, and not the server
        await question.resolve()
    else:
        await question.authorise(Resource())
    if question.decision is None:
        raise RuntimeError("a question ended without a decision. This is a bug.")
    return question.decision


async def _inferred(
    question: Exchange,
    client: Disconnect,
    inputs: Mapping[str, Values],
    parameters: Mapping[str, ParameterValue] | None,
    timeout_s: float | None,
) -> dict[str, numpy.ndarray[Any, Any]]:
    """The way of DESIGN 2, with arrays in place of a body."""
    headers = question.request.headers
    header_span_s = header_timeout_s(headers.single(b"x-request-timeout-ms"))
    await question.resolve()
    principal, description = question.principal, question.known_description()
    if principal is None:
        raise NoCredential("Nobody was authenticated.")
    question.token()  # refused before anything else is done for it
    wishes = request_wishes(None if parameters is None else dict(parameters), description)
    encoded, rows, length = encode_inputs(inputs, description)
    question.rows, question.request_bytes = rows, length
    until = deadline_of(question, header_span_s, wishes.timeout_s, timeout_s)
    permit = await in_time(question, until, admit(question, length))
    try:
        if permit.description.signature != description.signature:  # another artifact took its place meanwhile
            encoded, rows, length = encode_inputs(inputs, permit.description)
        question.description = permit.description
        await question.authorise(Resource(model=question.ref), RequestFacts(rows=rows, body_bytes=length))
        view = await in_time(question, until, permit.reserve(length))
        for tensor in encoded:
            view[tensor.placed.offset : tensor.placed.offset + tensor.placed.length] = tensor.content
        request = InferenceRequest(
            request_id=question.request_id,
            principal=principal,
            inputs=tuple(tensor.placed for tensor in encoded),
            rows=rows,
            deadline_at=deadline_of(question, header_span_s, wishes.timeout_s, timeout_s),
            priority=wishes.priority,
            parameters=dict(wishes.for_model),
            client_ids=client_ids(headers.first(b"x-request-id"), None),
            token=question.token(),
        )
        answer = await run_until_gone(permit, request, client)
        question.timing = answer.timing
        return decode_outputs(answer)
    finally:
        permit.release()


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
