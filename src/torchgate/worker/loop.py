"""The worker's whole life: say hello, load one model, answer runs, in one thread, until told to stop."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable

import torch

from torchgate.contract.caller_tokens import CannotImpersonate, Impersonation
from torchgate.contract.os_services import WorkerEnd
from torchgate.contract.worker_seal import Opener
from torchgate.contract.worker_wire import (
    PROTOCOL_VERSION,
    Frames,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    NeedSpace,
    Order,
    Run,
    Sealed,
    Space,
    Stop,
    ToWorker,
    Warming,
    WireError,
    decode_to_worker,
    encode,
)
from torchgate.worker.callers_rights import CallersRights
from torchgate.worker.loader import load_runner
from torchgate.worker.runner import Runner

LoadRunner = Callable[[Load, memoryview, Callable[[float], None]], tuple[Runner | None, Loaded | LoadFailed]]


class WorkerLoop:
    """Reads a message, does it, answers it.

    Args:
        end: the channel to the engine.
        load: makes a runner.
        impersonation: what this process can do with callers' tokens; None: this system has none.
    """

    def __init__(
        self, end: WorkerEnd, *, load: LoadRunner = load_runner, impersonation: Impersonation | None = None
    ) -> None:
        self._end = end
        self._impersonation = impersonation
        self._impersonates = False
        self._load_runner = load
        self._frames = Frames()
        self._waiting: deque[Load | Order | Stop] = deque()
        self._opener: Opener | None = None
        self._runner: Runner | None = None

    def run(self) -> None:
        """Until Stop, or the channel's end.

        Raises:
            WireError: the engine sent what is no message, or one that has no place here.
            OSError: the engine is gone while we answer.
        """
        version = str(torch.__version__)
        self._end.write(encode(Hello(PROTOCOL_VERSION, os.getpid(), version, platform.python_version())))
        while (message := self._next()) is not None:
            if isinstance(message, Run):
                self._run(message)
            elif isinstance(message, Load):
                self._load(message)
            elif isinstance(message, Stop):
                return
            else:
                raise WireError("Space that nobody asked for")

    def _next(self) -> Load | Order | Stop | None:
        while not self._waiting:
            data = self._end.read()
            if not data:
                return None
            for frame in self._frames.feed(data):
                self._waiting.append(self._opened(decode_to_worker(frame)))
        return self._waiting.popleft()

    def _opened(self, message: ToWorker) -> Load | Order | Stop:
        """What the message says, once it has proven to be our pool's; nothing of an order was decoded before."""
        if isinstance(message, Load):
            if self._runner is not None:
                raise WireError("a second Load; a worker holds one model for life")
            self._opener = Opener(message.channel_key)
        if not isinstance(message, Sealed):
            return message
        if self._opener is None:
            raise WireError("an order before a model is loaded")
        return self._opener.opened(message)

    def _load(self, message: Load) -> None:
        if self._runner is not None:
            raise WireError("a second Load; a worker holds one model for life")
        section = self._end.open_section(message.section_token, message.section_length)
        if message.impersonates and (why := self._no_impersonation()):
            sentence = f"Model '{message.model}' version '{message.version}' acts with its callers' rights: {why}."
            self._end.write(encode(LoadFailed(sentence, "")))
            return
        self._impersonates = message.impersonates
        self._runner, answer = self._load_runner(message, section.view, self._loaded)
        self._end.write(encode(answer))

    def _loaded(self, load_s: float) -> None:
        self._end.write(encode(Warming(load_s)))

    def _run(self, message: Run) -> None:
        if self._runner is None:
            raise WireError("Run before a model is loaded")
        if not all(item.principal.key for item in message.items):
            raise WireError("rows of nobody: each must have the principal that was authorised")
        rights = self._rights(message) if message.token else None
        self._end.write(encode(self._runner.run(message, self._ask_for_space, rights)))

    def _no_impersonation(self) -> str:
        return "this system has no callers' tokens" if self._impersonation is None else self._impersonation.obstacle()

    def _rights(self, message: Run) -> CallersRights:
        """Of the caller, whose token was lent with these rows.

        Raises:
            WireError: it is none, or somebody else's, or the model has not asked for one.
        """
        if self._impersonation is None or not self._impersonates:
            raise WireError("a caller's token for a model that asks for none")
        try:
            user = self._impersonation.user_of(message.token)
        except CannotImpersonate as error:
            raise WireError(str(error)) from None
        if any(item.principal.key != user for item in message.items):
            raise WireError("rows of others than the user of the token that came with them")
        return CallersRights(self._impersonation, message.token)

    def _ask_for_space(self, batch_id: int, length: int) -> Space:
        """Ask, and put aside what else the engine sends until it answers."""
        self._end.write(encode(NeedSpace(batch_id, length)))
        put_aside: list[Load | Order | Stop] = []
        while (message := self._next()) is not None:
            if isinstance(message, Space) and message.batch_id == batch_id:
                self._waiting.extendleft(reversed(put_aside))
                return message
            put_aside.append(message)
        raise OSError("the engine is gone while a batch waits for space")
