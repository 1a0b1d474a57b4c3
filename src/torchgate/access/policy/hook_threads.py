"""Where the user's function runs: daemon threads for a plain one, a thread with its own event loop for an async one.

Daemons, because a pool of the standard library would keep the process from ending while one call hangs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

import msgspec


class HookRaised(msgspec.Struct, frozen=True):
    """Stands for the answer where the function raised: a value, so that nobody need be there to retrieve it.

    Args:
        name: of what it raised.
    """

    name: str


class HookCall:
    """One call: what is called, its answer to come, and whether anybody still wants it.

    Args:
        function: without arguments.
    """

    __slots__ = ("cancel", "function", "future", "is_abandoned")

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.future: concurrent.futures.Future[object] = concurrent.futures.Future()
        self.is_abandoned = False
        self.cancel: Callable[[], None] | None = None

    def finish(self, answer: object) -> None:
        """Give the answer. A coroutine is none: who returns one from a plain function gets told so."""
        if inspect.iscoroutine(answer):
            answer.close()
        self.future.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Give the failure, in a form that can't be taken for a cancellation of the one who waits."""
        self.future.set_result(HookRaised(type(error).__name__))

    def drop(self) -> None:
        """End it without having called, because nobody wants it any more."""
        self.future.set_result(None)


class HookPlace(Protocol):
    """Takes calls and sees each to its end."""

    def submit(self, call: HookCall) -> None:
        """Run it as soon as there is room."""
        ...

    def stop(self) -> None:
        """End when idle."""
        ...


class CallThreads:
    """Threads for a plain function, started as they are needed.

    Args:
        threads: at most.
    """

    def __init__(self, threads: int) -> None:
        self._calls: queue.SimpleQueue[HookCall | None] = queue.SimpleQueue()
        self._threads = threads
        self._started = 0

    def submit(self, call: HookCall) -> None:
        """Run it in the next free thread."""
        self._calls.put(call)
        if self._started < self._threads:
            self._started += 1
            threading.Thread(target=self._work, name=f"torchgate-hook-{self._started}", daemon=True).start()

    def stop(self) -> None:
        """End each thread after its present call."""
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if call.is_abandoned:
                call.drop()
                continue
            try:
                call.finish(call.function())
            except BaseException as error:  # noqa: BLE001 - the thread goes on; the one who waits gets it
                call.fail(error)


class LoopThread:
    """One thread with an event loop, for an async function and what it keeps open between calls."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, call: HookCall) -> None:
        """Run it beside the others; a call that blocks blocks all of them, and the limits of the runner apply."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._run, args=(self._loop,), name="torchgate-hook", daemon=True).start()
        self._loop.call_soon_threadsafe(self._begin, call, self._loop)

    def stop(self) -> None:
        """End the loop after its present step."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed already
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _begin(self, call: HookCall, loop: asyncio.AbstractEventLoop) -> None:
        if call.is_abandoned:
            call.drop()
            return
        task = loop.create_task(self._see_through(call))
        call.cancel = lambda: self._cancel(task, loop)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    def _cancel(task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the task with it
            loop.call_soon_threadsafe(task.cancel)

    @staticmethod
    async def _see_through(call: HookCall) -> None:
        try:
            call.finish(await cast("Coroutine[Any, Any, object]", call.function()))
        except BaseException as error:  # noqa: BLE001 - also a cancellation and an exit end only this call
            call.fail(error)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
