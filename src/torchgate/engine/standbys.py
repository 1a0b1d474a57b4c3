"""Workers that have imported torch and wait for a model: what makes a replacement quick."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from torchgate.engine.current_run import WorkerEnded
from torchgate.engine.worker_process import WorkerProcess

_log = logging.getLogger("torchgate.engine")

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
"""Between attempts to start a standby for nobody in particular: doubled from one to the other."""


class Standbys:
    """Gives out workers, each under one number of threads, and starts others in their place.

    Args:
        start: starts a worker with so many threads and returns it when torch is imported; raises WorkerEnded.
        wanted: that should wait for each number of threads in use.

    Process: the event loop only.
    """

    def __init__(self, start: Callable[[int], Awaitable[WorkerProcess]], wanted: int) -> None:
        self._start = start
        self._wanted = wanted
        self._shelves: dict[int, _Shelf] = {}
        self._is_stopping = False

    def request(self, threads: int, *, is_urgent: bool = False) -> asyncio.Future[WorkerProcess]:
        """A worker, now or as soon as one has started; fails with WorkerEnded where one can't be started.

        Args:
            is_urgent: comes before others that wait.
        """
        shelf = self._shelves.setdefault(threads, _Shelf())
        future: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        if self._is_stopping:
            future.set_exception(WorkerEnded("the server is stopping"))
        elif shelf.ready:
            future.set_result(shelf.ready.popleft())
        elif is_urgent:
            shelf.waiting.appendleft(future)
        else:
            shelf.waiting.append(future)
        self._balance()
        return future

    def withdraw(self, future: asyncio.Future[WorkerProcess], threads: int) -> None:
        """Nobody needs what was requested; a worker that came already waits for somebody else."""
        if future.cancel() or future.cancelled():
            return
        if future.exception() is None:
            self._arrived(future.result(), threads)

    def ended(self, worker: WorkerProcess) -> None:
        """A worker is gone; if it waited here, it does no more."""
        for shelf in self._shelves.values():
            if worker in shelf.ready:
                shelf.ready.remove(worker)
                asyncio.get_running_loop().call_later(_FIRST_RETRY_S, self._balance)

    async def stop(self) -> None:
        """Start nothing more, and wait for what is being started to notice."""
        self._is_stopping = True
        tasks = [task for shelf in self._shelves.values() for task in shelf.starting]
        for task in tasks:
            task.cancel()
        for shelf in self._shelves.values():
            while shelf.waiting:
                future = shelf.waiting.popleft()
                if not future.done():
                    future.set_exception(WorkerEnded("the server is stopping"))
                    future.exception()  # nobody may be left to hear it
        if tasks:
            await asyncio.wait(tasks)

    def _balance(self) -> None:
        """Start as many as are waited for; those for nobody in particular only when everybody has one."""
        if self._is_stopping:
            return
        for shelf in self._shelves.values():
            shelf.waiting = deque(future for future in shelf.waiting if not future.done())
        is_settled = not any(shelf.waiting for shelf in self._shelves.values())
        for threads, shelf in self._shelves.items():
            missing = len(shelf.waiting) if not is_settled else self._wanted - len(shelf.ready)
            if is_settled and shelf.retry is not None:
                continue
            for _ in range(missing - len(shelf.starting)):
                task = asyncio.get_running_loop().create_task(self._start_one(threads, shelf))
                shelf.starting.add(task)

    async def _start_one(self, threads: int, shelf: _Shelf) -> None:
        try:
            worker = await self._start(threads)
        except WorkerEnded as error:
            shelf.starting.discard(_this_task())
            self._failed(shelf, error)
        except asyncio.CancelledError:
            shelf.starting.discard(_this_task())
            raise
        else:
            shelf.starting.discard(_this_task())
            shelf.failures = 0
            self._arrived(worker, threads)

    def _arrived(self, worker: WorkerProcess, threads: int) -> None:
        shelf = self._shelves[threads]
        while shelf.waiting:
            future = shelf.waiting.popleft()
            if not future.done():
                future.set_result(worker)
                break
        else:
            if not worker.ended.done():
                shelf.ready.append(worker)
        self._balance()

    def _failed(self, shelf: _Shelf, error: WorkerEnded) -> None:
        _log.error("A worker could not be started: %s", error)
        shelf.failures += 1
        while shelf.waiting:
            future = shelf.waiting.popleft()
            if not future.done():
                future.set_exception(error)
                break
        if shelf.retry is None:
            delay_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(shelf.failures, 10))
            shelf.retry = asyncio.get_running_loop().call_later(delay_s, self._try_again, shelf)
        self._balance()

    def _try_again(self, shelf: _Shelf) -> None:
        shelf.retry = None
        self._balance()


class _Shelf:
    """What there is for one number of threads."""

    def __init__(self) -> None:
        self.ready: deque[WorkerProcess] = deque()
        self.waiting: deque[asyncio.Future[WorkerProcess]] = deque()
        self.starting: set[asyncio.Task[None]] = set()
        self.retry: asyncio.TimerHandle | None = None
        self.failures = 0


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("outside of a task. This is a bug.")
    return task
