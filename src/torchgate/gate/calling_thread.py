"""What the thread of a WSGI server does for the gate while it waits for its answer."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class CallingThread:
    """The thread of one call: reads its body, and runs the user's application, because only it may wait for either.

    Thread: `run` on the event loop, `serve` on the server's thread, `end` anywhere.
    """

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """What comes of some work over there; and what it raises."""
        done: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._asked.put((work, done))
        return await done

    def serve(self) -> None:
        """Do what is asked for, until `end`.

        Raises:
            BaseException: what ends a thread, such as SystemExit; whoever asked learns of it, too.
        """
        while (asked := self._asked.get()) is not None:
            work, done = asked
            try:
                result = work()
            except BaseException as error:
                _tell(done, _failed, error if isinstance(error, Exception) else RuntimeError("the thread ends"))
                if not isinstance(error, Exception):
                    raise
            else:
                _tell(done, _settled, result)

    def end(self) -> None:
        """Nothing more will be asked for."""
        self._asked.put(None)


def _tell(done: asyncio.Future[Any], how: Callable[[asyncio.Future[Any], Any], None], what: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
        done.get_loop().call_soon_threadsafe(how, done, what)


def _settled(done: asyncio.Future[Any], result: object) -> None:
    if not done.done():
        done.set_result(result)


def _failed(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
