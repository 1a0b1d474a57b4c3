"""The user's own function, loaded and kept at arm's length: in bounded time, and with no way to allow by accident."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import cast

from torchgate.access.policy.hook_threads import CallThreads, HookCall, HookPlace, HookRaised, LoopThread
from torchgate.contract.decision import Action, Decision, Resource
from torchgate.contract.policy_hook import PolicyContext, PolicyHook
from torchgate.contract.principal import Principal

_MAX_WAITING_PER_THREAD = 64  # calls that wait for a thread; more would be late anyway


class HookFailure(Exception):
    """The function gave no decision; the sentence says why, for the audit."""


def load_hook(reference: str, folder: Path) -> tuple[PolicyHook, str]:
    """The function, and a digest of the file that it is in.

    Args:
        reference: `module:function` or `file.py:function`.
        folder: where a relative file starts.

    Raises:
        ValueError: it can't be had; the sentence says why.
    """
    place, _, name = reference.rpartition(":")
    path = hook_file(reference, folder)
    try:
        source = b"" if path is None else _source(path)
        module = importlib.import_module(place) if path is None else _module_of_file(path, source)
    except Exception as error:  # the user's module may raise anything; the sentence must say what
        raise ValueError(f"{place!r} can't be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = sorted(key for key, value in vars(module).items() if inspect.isfunction(value))
        raise ValueError(f"{place!r} has no function {name!r}; it has {', '.join(known) or 'none'}")  # noqa: TRY004 - of a setting
    if path is None:
        return cast("PolicyHook", function), f"{reference} {_imported_digest(module)}"
    return cast("PolicyHook", function), f"{reference} {hashlib.sha256(source).hexdigest()}"


def _imported_digest(module: ModuleType) -> str:
    """Of the file as it was when we first saw the module, kept on it: later changes of the file are not in force."""
    file = getattr(module, "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    kept: str = vars(module).setdefault("__torchgate_digest__", digest)
    return kept


def hook_file(reference: str, folder: Path) -> Path | None:
    """The file that a reference names; None for a module, which is imported once in the life of a process."""
    place = reference.rpartition(":")[0]
    return folder / place if place.endswith(".py") else None


def _source(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return path.read_bytes()


def _module_of_file(path: Path, source: bytes) -> ModuleType:
    """A module of exactly these bytes: not of a compiled file beside it, which can be older and look as new."""
    # A name of its own, so that a file called json.py takes nobody's place, nor a new hook that of the one before.
    digest = hashlib.sha256(str(path).encode() + source).hexdigest()
    module = ModuleType(f"torchgate_policy_hook_{digest[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and annotations look their module up there
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - the operator's own code
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


class HookRunner:
    """Asks the function. A late answer, an exception or anything but a decision is a HookFailure, thus a denial.

    A function that is async runs in an event loop of its own, so that one that blocks can't stop the server.

    Args:
        function: the user's.
        timeout_s: seconds for one answer, the wait for a thread included.
        threads: calls at once; so many calls that hang at the same time make it degraded.
        origin: reference and digest, by which a successor knows the function again.

    Thread/process: `ask` from one event loop.
    """

    def __init__(self, function: PolicyHook, *, timeout_s: float, threads: int, origin: str = "") -> None:
        self.origin = origin
        self._kind = (origin, timeout_s, threads)
        self._function = function
        self._timeout_s = timeout_s
        self._max_overdue = threads
        self._waiting = 0
        self._overdue = 0
        self._lock = threading.Lock()
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
        self._place: HookPlace = LoopThread() if is_async else CallThreads(threads)

    def is_like(self, other: HookRunner) -> bool:
        """Whether the other runs the same function within the same limits."""
        return self._kind == other._kind

    @property
    def is_degraded(self) -> bool:
        """Whether so many calls hang that none is made any more; over when one of them ends."""
        return self._overdue >= self._max_overdue

    async def ask(self, principal: Principal, action: Action, resource: Resource, context: PolicyContext) -> Decision:
        """The function's decision.

        Raises:
            HookFailure: there is none.
        """
        if self.is_degraded:
            raise HookFailure(f"the hook hangs in {self._overdue} calls and is not asked until one of them ends")
        if self._waiting >= self._max_overdue * _MAX_WAITING_PER_THREAD:
            raise HookFailure("too many calls wait for the hook")
        call = HookCall(lambda: self._function(principal, action, resource, context))
        self._place.submit(call)
        self._waiting += 1
        try:
            answer = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(call.future)), self._timeout_s)
        except TimeoutError:
            raise HookFailure(f"the hook gave no answer within {self._timeout_s} s") from None
        finally:
            self._waiting -= 1
            self._give_up(call)
        if isinstance(answer, HookRaised):
            raise HookFailure(f"the hook raised {answer.name}")
        if not isinstance(answer, Decision) or not isinstance(answer.allowed, bool):
            raise HookFailure(f"the hook answered {type(answer).__name__} instead of a decision")
        return answer

    def stop(self) -> None:
        """Let the threads end when they are idle; one that hangs does not keep the process."""
        self._place.stop()

    def _give_up(self, call: HookCall) -> None:
        """Count a call that has not ended, until it does; nobody wants its answer."""
        if call.future.done():
            return
        call.is_abandoned = True
        with self._lock:
            self._overdue += 1
        call.future.add_done_callback(self._came_back)
        if call.cancel is not None:
            call.cancel()

    def _came_back(self, _: object) -> None:
        with self._lock:
            self._overdue -= 1
