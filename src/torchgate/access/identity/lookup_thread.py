"""A thread for questions that may take seconds, such as those to a domain controller."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable


class LookupThread:
    """One daemon thread, started by the first question; questions beyond a number are not taken.

    A daemon, because a question that hangs must not keep the process from ending.

    Args:
        name: of the thread.
        max_waiting: questions.
    """

    def __init__(self, name: str, max_waiting: int) -> None:
        self._name = name
        self._questions: queue.Queue[Callable[[], None] | None] = queue.Queue(max_waiting)
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[], None]) -> bool:
        """Run it in its turn; it raises nothing. False: too many wait, and it will not run."""
        try:
            self._questions.put_nowait(question)
        except queue.Full:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return True

    async def start(self) -> None:
        """Nothing yet: the first question starts it."""

    async def stop(self) -> None:
        """End it after its present question; what waits is dropped."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._questions.get_nowait()
        self._questions.put_nowait(None)

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            question()
