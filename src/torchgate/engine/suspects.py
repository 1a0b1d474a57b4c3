"""Requests whose batch was lost, run once more, one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from torchgate.contract.back_end import Artifact, BatchAnswer, BatchLost
from torchgate.contract.clock import Clock
from torchgate.contract.errors import TorchgateError
from torchgate.engine.hand_over import HandOver
from torchgate.engine.run_errors import guilty, unexpected
from torchgate.engine.waiting import Waiting


class Suspects:
    """Runs one suspect after the other, each for the second and last time.

    Args:
        artifact: the version.
        hand_over: to the back end.
        on_answer: given a suspect that has proven harmless, alone, and its answer.
        clock: monotonic.
    """

    def __init__(
        self,
        artifact: Artifact,
        hand_over: HandOver,
        on_answer: Callable[[Sequence[Waiting], BatchAnswer], None],
        clock: Clock,
    ) -> None:
        self._artifact = artifact
        self._hand_over = hand_over
        self._on_answer = on_answer
        self._clock = clock
        self._line: deque[Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, waiting: Waiting) -> None:
        """Put it at the end of the line; its slot is held, and let go after its run."""
        self._line.append(waiting)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self, error: TorchgateError) -> None:
        """Return when the one that runs has ended; the others get this error."""
        while self._line:
            waiting = self._line.popleft()
            waiting.slot.let_go()
            waiting.fail(error)
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while self._line:
            waiting = self._line.popleft()
            try:
                if not waiting.answer.done():  # else its caller has gone
                    await self._run_alone(waiting)
            finally:
                waiting.slot.let_go()
        self._task = None

    async def _run_alone(self, waiting: Waiting) -> None:
        try:
            answer = await self._hand_over.run([waiting], self._clock(), quarantined=True)
        except BatchLost as lost:
            waiting.fail(guilty(self._artifact, lost))
        except Exception as error:  # noqa: BLE001 - whatever a back end raises, the caller must hear of it
            waiting.fail(unexpected(error))
        else:
            self._on_answer([waiting], answer)
