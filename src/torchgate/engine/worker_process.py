"""One worker: its process, its channel, and where it is in its life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from torchgate.contract.clock import Clock
from torchgate.contract.os_services import Child, Children, ChildSpec
from torchgate.contract.worker_wire import (
    PROTOCOL_VERSION,
    Frames,
    FromWorker,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    NeedSpace,
    Run,
    RunDone,
    Space,
    Stop,
    ToWorker,
    Warming,
    WireError,
    decode_from_worker,
)
from torchgate.engine.current_run import CurrentRun, RunningBatch, WorkerEnded
from torchgate.engine.order_line import OrderLine
from torchgate.engine.worker_output import WorkerOutput
from torchgate.engine.worker_states import OVER, WorkerEvent, WorkerState, after

_log = logging.getLogger("torchgate.engine")

_ANSWERS = {
    Hello: WorkerEvent.SAID_HELLO,
    Warming: WorkerEvent.LOADED,
    Loaded: WorkerEvent.WARMED_UP,
    LoadFailed: WorkerEvent.REFUSED_LOAD,
}

_LEVELS = {WorkerState.STOPPED: logging.DEBUG, WorkerState.FAILED: logging.WARNING}


class LoadRefused(Exception):
    """The worker said why it can't load the model; trying again would say the same."""


class WorkerProcess:
    """Implements os_services.ChannelReceiver for one child.

    Args:
        name: until it has a model.
        clock: monotonic.
        on_ended: called once, when nothing more is to be expected of it; its process may still be about to end.

    Process: the event loop only.
    """

    def __init__(self, name: str, *, clock: Clock, on_ended: Callable[[WorkerProcess], None]) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.state = WorkerState.STARTING
        self.pid = 0
        self.ended: asyncio.Future[WorkerEnded] = loop.create_future()
        self.is_gone: asyncio.Future[None] = loop.create_future()
        self._clock = clock
        self._on_ended = on_ended
        self._output = WorkerOutput(lambda: self.name, clock)
        self._frames = Frames()
        self._on_idle: Callable[[WorkerProcess], None] = lambda _: None
        self._child: Child | None = None
        self._line = OrderLine()
        self._answer: asyncio.Future[Hello | Loaded | LoadFailed] | None = None
        self._run = CurrentRun(clock, lambda limit_s: self.misbehaved(f"ran for more than {limit_s:g} s", hung=True))
        self._watch: asyncio.Task[None] | None = None

    async def start(self, children: Children, spec: ChildSpec, timeout_s: float) -> None:
        """Start it and return when torch is imported.

        Raises:
            WorkerEnded: it was not.
        """
        try:
            self._child = await children.start(spec, self, self._output.feed)
        except (OSError, asyncio.CancelledError) as error:
            self._end(WorkerEvent.ENDED, WorkerEnded(f"a worker could not be started: {error!r}"))
            self.is_gone.set_result(None)
            if isinstance(error, OSError):
                raise self.ended.result() from None
            raise
        self._line.lead_to(self._child)
        self.pid = self._child.pid
        self._watch = asyncio.get_running_loop().create_task(self._wait(self._child))
        hello = await self._ask(None, timeout_s, "import torch")
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL_VERSION:
            self.misbehaved(f"said {hello}, and we speak protocol {PROTOCOL_VERSION}: two installations are mixed")
            raise self.ended.result()
        _log.debug("%s is process %d: torch %s, Python %s", self.name, self.pid, hello.torch, hello.python)

    async def load(self, name: str, message: Callable[[Child], Load], timeout_s: float) -> Loaded | LoadFailed:
        """Load a model; from here the worker has the name of its place.

        Args:
            message: made with the child, to which the section is handed over.

        Raises:
            WorkerEnded: it ended, or took longer than it may.
        """
        self.name = name
        if self._child is None or not self._enter(WorkerEvent.GOT_LOAD):
            raise WorkerEnded(f"{name} could not load: it is {self.state}")
        try:
            load = self._line.with_key(message(self._child))
        except OSError as error:
            self.misbehaved(f"could not be given its limits and its section: {error}")
            raise self.ended.result() from None
        answer = await self._ask(load, timeout_s, "load its model")
        if isinstance(answer, Hello):  # the table forbids it
            raise self.ended.result()
        return answer

    def run(
        self, message: Run, batch: RunningBatch, max_run_s: float, on_idle: Callable[[WorkerProcess], None]
    ) -> asyncio.Future[RunDone]:
        """Run a batch; only when ready. The future fails with WorkerEnded.

        Args:
            batch: told when the worker needs space, and when it is done with the memory.
            on_idle: called when the worker is ready again.
        """
        if not self._enter(WorkerEvent.GOT_RUN):
            batch.over()
            raise WorkerEnded(f"{self.name} is {self.state}, and a batch came too late for it")
        self._on_idle = on_idle
        future = self._run.begin(message.batch_id, batch, max_run_s)
        if why := self._line.order_run(message, batch.token):
            self.misbehaved(f"could not be lent its caller's token: {why}")
        return future

    async def stop(self, grace_s: float) -> None:
        """End it after what it runs; after so many seconds at once. Returns when its process is gone."""
        if self.state not in OVER and self._enter(WorkerEvent.GOT_STOP):
            self._line.send(Stop())
        await asyncio.wait([self.is_gone], timeout=grace_s)
        self.kill()
        await asyncio.shield(self.is_gone)

    def kill(self) -> None:
        """End its process at once; what follows comes by the usual way."""
        if self._child is not None:
            self._child.kill()

    def misbehaved(self, what: str, *, hung: bool = False) -> None:
        """It broke the rules or a time limit: nothing it says counts any more, and its process is killed."""
        self._end(WorkerEvent.MISBEHAVED, WorkerEnded(f"{self.name} {what} and was killed", hung=hung))
        self.kill()

    def data_received(self, data: bytes) -> None:
        """Bytes of the channel."""
        try:
            for frame in self._frames.feed(data):
                self._received(decode_from_worker(frame))
        except WireError as error:
            self.misbehaved(f"sent what is no message of ours ({error})")

    def channel_closed(self) -> None:
        """Its end of the channel is gone: it has ended, or is of no use any more."""
        if self.state is not WorkerState.DRAINING:
            self._end(WorkerEvent.ENDED, WorkerEnded(f"{self.name} ended unasked"))
        self.kill()

    def _received(self, message: FromWorker) -> None:
        match message:
            case RunDone():
                self._run_done(message)
            case NeedSpace():
                self._need_space(message)
            case _:
                self._answered(message)

    def _run_done(self, done: RunDone) -> None:
        if done.batch_id != self._run.batch_id:
            self.misbehaved(f"answered batch {done.batch_id}, which it was not given")
        elif self._enter(WorkerEvent.DONE_RUN):
            future = self._run.memory_over()
            if self.state is WorkerState.READY:
                self._on_idle(self)
            if future is not None and not future.done():
                future.set_result(done)

    def _need_space(self, need: NeedSpace) -> None:
        batch_id = need.batch_id
        if batch_id != self._run.batch_id:
            self.misbehaved(f"wanted space for batch {batch_id}, which it was not given")
        elif self._enter(WorkerEvent.NEEDED_SPACE):
            self._run.give_space(need.length, lambda offset, length: self._line.order(Space(batch_id, offset, length)))

    def _answered(self, message: Hello | Warming | Loaded | LoadFailed) -> None:
        answer = None if isinstance(message, Warming) else message
        if self._enter(_ANSWERS[type(message)]) and answer and self._answer and not self._answer.done():
            self._answer.set_result(answer)

    async def _ask(self, message: ToWorker | None, timeout_s: float, what: str) -> Hello | Loaded | LoadFailed:
        if self.ended.done():
            raise self.ended.result()
        self._answer = asyncio.get_running_loop().create_future()
        if message is not None:
            self._line.send(message)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer
        except TimeoutError:
            self.misbehaved(f"took more than {timeout_s:g} s to {what}", hung=True)
            raise self.ended.result() from None
        finally:
            self._answer = None

    def _enter(self, event: WorkerEvent) -> bool:
        """Follow the table; an event that must not happen ends the worker."""
        state = after(self.state, event)
        if state is None:
            if self.state not in OVER:
                self.misbehaved(f"{event} while {self.state}")
            return False
        self.state = state
        return True

    def _end(self, event: WorkerEvent, reason: WorkerEnded) -> None:
        self.state = after(self.state, event) or self.state
        if self.ended.done():
            return
        self.ended.set_result(reason)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(reason)
        self._run.lost(reason)
        self._on_ended(self)

    async def _wait(self, child: Child) -> None:
        """Until the process is gone: only then is its memory nobody's."""
        code = await child.wait()
        was = self.state
        self._end(WorkerEvent.ENDED, WorkerEnded(f"{self.name} ended with exit code {code}"))
        self._output.close()
        _log.log(_LEVELS[self.state], "%s, process %d, ended while %s: exit code %d", self.name, self.pid, was, code)
        self._run.memory_over()
        self.is_gone.set_result(None)
