"""An event loop on a thread of its own, for a process whose own threads wait: under a WSGI server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

Opened = TypeVar("Opened")
Answer = TypeVar("Answer")


class LoopThread(Generic[Opened]):
    """Runs a loop in which something is open, from `start` to `stop`.

    Args:
        name: of the thread.
        loop_factory: makes the loop.

    Thread: `start` and `stop` on any but the loop's, one at a time; `submit` on any but the loop's.
    """

    def __init__(self, name: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop_factory = loop_factory
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        # It never keeps a process alive that wants to end: then what is open is closed by whoever opened it, or lost.
        self._thread: threading.Thread | None = None

    def start(self, opening: Callable[[], AbstractAsyncContextManager[Opened]]) -> Opened:
        """Run the loop, and open what it is for.

        Raises:
            What opening it raises; then there is no thread.
        """
        opened: concurrent.futures.Future[Opened] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(opening, opened), name=self._name, daemon=True)
        self._thread.start()
        try:
            return opened.result()
        except BaseException:
            self._thread.join()
            raise

    def submit(self, work: Coroutine[Any, Any, Answer]) -> concurrent.futures.Future[Answer]:
        """Have the loop do some work.

        Raises:
            RuntimeError: there is no loop.
        """
        if self._loop is None:
            work.close()
            raise RuntimeError("the loop does not run")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise

    def stop(self, timeout_s: float) -> bool:
        """Close what is open, and end the loop; whether it has ended within so long. Safe to call twice."""
        loop, end, thread = self._loop, self._end, self._thread
        if loop is None or end is None or thread is None:
            return True
        with contextlib.suppress(RuntimeError):  # it has ended already
            loop.call_soon_threadsafe(end.set)
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(
        self,
        opening: Callable[[], AbstractAsyncContextManager[Opened]],
        opened: concurrent.futures.Future[Opened],
    ) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            try:
                runner.run(self._keep_open(opening, opened))
            except BaseException as error:
                if opened.done():
                    raise
                opened.set_exception(error)

    async def _keep_open(
        self,
        opening: Callable[[], AbstractAsyncContextManager[Opened]],
        opened: concurrent.futures.Future[Opened],
    ) -> None:
        async with opening() as value:
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            opened.set_result(value)
            await self._end.wait()
            self._loop = None
