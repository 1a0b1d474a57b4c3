"""The memory of one batch while a worker has it, and the answers cut out of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from torchgate.contract.back_end import Batch, BatchAnswer, BatchItem, ItemAnswer
from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.errors import Cancelled, ModelError, TorchgateError
from torchgate.contract.principal import Principal, RowPrincipal
from torchgate.contract.tensors import ITEM_BYTES, PlacedTensor, Signature, element_count
from torchgate.contract.worker_wire import ItemDone, ItemFailed, Run, RunDone, RunItem, WireError
from torchgate.engine.section_memory import SectionMemory, SectionPart, SectionPiece, padded

_LONGEST_WAIT_FOR_SPACE_S = 5.0
"""Answers are encoded within milliseconds; room that has not come after so long will not come soon."""


_LARGEST_GUESS = 8
"""Part of the memory for outputs that a guess takes at most: one huge answer must not make all later ones wait."""


class OutputSpace:
    """Room for the answers of one version: handed out by what the signature says, or by what was needed before.

    Args:
        memory: the region for outputs.
        section: view of the whole section.
        signature: of the version.
        takes_batches: whether its shapes are of one row.
    """

    def __init__(
        self, memory: SectionMemory, section: memoryview, signature: Signature, *, takes_batches: bool
    ) -> None:
        self.memory = memory
        self.section = section
        memory.on_free = self._serve
        self._row_bytes = _row_bytes(signature)
        self._takes_batches = takes_batches
        self._seen_row_bytes = 0
        self._waiting: deque[tuple[int, Callable[[SectionPiece | None], None]]] = deque()

    def guess(self, items: Sequence[BatchItem]) -> int:
        """Bytes that the answers of these requests will take: exact where the signature leaves nothing open."""
        if self._row_bytes is None:
            guessed = sum([padded(item.request.rows * self._seen_row_bytes) for item in items])
            return min(guessed, padded(self.memory.length // _LARGEST_GUESS))
        if not self._takes_batches:
            return sum(map(padded, self._row_bytes)) * len(items)
        return sum([padded(item.request.rows * length) for item in items for length in self._row_bytes])

    def learn(self, length: int, rows: int) -> None:
        """An answer of so many rows needed so much; the next guess is as large as the largest seen."""
        self._seen_row_bytes = max(self._seen_row_bytes, -(-length // max(1, rows)))

    def take_soon(self, length: int, give: Callable[[SectionPiece | None], None]) -> None:
        """Call `give` with a piece as soon as there is one; with None where there never will be, or not soon."""
        if length > self.memory.length:
            give(None)
            return
        entry = (length, give)
        self._waiting.append(entry)
        self._serve()
        if entry in self._waiting:
            asyncio.get_running_loop().call_later(_LONGEST_WAIT_FOR_SPACE_S, self._give_up, entry)

    def _serve(self) -> None:
        while self._waiting:
            length, give = self._waiting[0]
            piece = self.memory.take(length)
            if piece is None:
                return
            self._waiting.popleft()
            give(piece)

    def _give_up(self, entry: tuple[int, Callable[[SectionPiece | None], None]]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            entry[1](None)
            self._serve()


class PlacedBatch:
    """A batch in the section; implements worker_process.RunningBatch.

    Args:
        batch: whose inputs are pinned here until the run is over.
        outputs: where room for answers comes from.
    """

    __slots__ = ("_batch", "_is_over", "_outputs", "_space", "token")

    def __init__(self, batch: Batch, outputs: OutputSpace) -> None:
        self._batch = batch
        self._outputs = outputs
        self._is_over = False
        self.token: CallerToken | None = None
        for item in batch.items:
            _piece(item).pin()
        self._space = outputs.memory.take(outputs.guess(batch.items))
        if self._space is not None:
            self._space.pin()

    def message(self) -> Run:
        """What the worker is told."""
        items = self._batch.items
        space = self._space
        return Run(
            self._batch.batch_id,
            tuple([_run_item(item) for item in items]),
            space.offset if space is not None else 0,
            space.length if space is not None else 0,
            min([item.request.deadline_at for item in items]),
        )

    def take_token(self) -> None:
        """Find the one that all of its callers have; there is none for a made-up input.

        Raises:
            Cancelled: every one of them is given back, and with them went whoever waited.
            RuntimeError: they have different ones.
        """
        requests = [item.request for item in self._batch.items]
        tokens = [request.token for request in requests if request.token is not None]
        if not tokens:
            return
        kinds = {(request.principal.key, request.token and request.token.likeness) for request in requests}
        if len(kinds) > 1:
            raise RuntimeError("a batch of callers with different rights. This is a bug.")
        self.token = next((token for token in tokens if token.is_open), None)
        if self.token is None:
            raise Cancelled("The client went away before its request ran.")

    def give_space(self, length: int, reply: Callable[[int, int], None]) -> None:
        """Swap the space for a longer one."""
        self._drop_space()
        self._outputs.learn(length, self._batch.rows)

        def give(piece: SectionPiece | None) -> None:
            if piece is None:
                reply(0, 0)
            elif self._is_over:
                piece.release()  # the worker has died meanwhile
            else:
                piece.pin()
                self._space = piece
                reply(piece.offset, piece.length)

        self._outputs.take_soon(length, give)

    def over(self) -> None:
        """The worker touches inputs and outputs no more."""
        if not self._is_over:
            self._is_over = True
            for item in self._batch.items:
                _piece(item).unpin()
            if self._space is not None:
                self._space.unpin()

    def forget(self) -> None:
        """Nobody will ask for the answer any more; the space is free once the run is over and the parts are."""
        if self._space is not None:
            self._space.release()

    def answer(self, done: RunDone, worker: str) -> BatchAnswer:
        """Cut the answers out of the space.

        Raises:
            WireError: they lie where they must not, or are not as many as the requests.
        """
        if len(done.items) != len(self._batch.items):
            raise WireError(f"{len(done.items)} answers to {len(self._batch.items)} requests")
        answers: list[ItemAnswer | TorchgateError] = []
        try:
            answers.extend(self._result(item) for item in done.items)
        except WireError:
            for one in answers:
                if isinstance(one, ItemAnswer):
                    one.memory.release()
            raise
        return BatchAnswer(tuple(answers), done.collate_s, done.predict_s, done.split_s, worker)

    def _result(self, item: ItemDone | ItemFailed) -> ItemAnswer | TorchgateError:
        if isinstance(item, ItemFailed):
            return ModelError(item.sentence, detail=item.detail)
        space = self._space
        if space is None:
            raise WireError("outputs, although there was no space for any")
        first = min([placed.offset for placed in item.outputs], default=space.offset)
        last = max([placed.offset + placed.length for placed in item.outputs], default=space.offset)
        if first < space.offset or last > space.offset + space.length or any(one.length < 0 for one in item.outputs):
            raise WireError(f"outputs from {first} to {last}, outside of the space given")
        outputs = tuple(
            [PlacedTensor(one.name, one.datatype, one.shape, one.offset - first, one.length) for one in item.outputs]
        )
        return ItemAnswer(outputs, SectionPart(space, self._outputs.section, first, last))

    def _drop_space(self) -> None:
        if self._space is not None:
            self._space.unpin()
            self._space.release()
            self._space = None


def _run_item(item: BatchItem) -> RunItem:
    request, offset = item.request, _piece(item).offset
    inputs = tuple(
        [PlacedTensor(one.name, one.datatype, one.shape, one.offset + offset, one.length) for one in request.inputs]
    )
    return RunItem(inputs, request.rows, _row_principal(request.principal), request.outputs, request.parameters)


def _row_principal(principal: Principal) -> RowPrincipal:
    roles = principal.roles
    return RowPrincipal(principal.key, principal.name, tuple(sorted(roles)) if len(roles) > 1 else tuple(roles))


def _piece(item: BatchItem) -> SectionPiece:
    if not isinstance(item.slot, SectionPiece):
        raise TypeError("a slot of another back end. This is a bug.")
    return item.slot


def _row_bytes(signature: Signature) -> tuple[int, ...] | None:
    """Bytes of one row of each output, or None where that is open."""
    lengths = []
    for spec in signature.outputs:
        if spec.datatype == "BYTES" or -1 in spec.shape:
            return None
        lengths.append(element_count(spec.shape) * ITEM_BYTES[spec.datatype])
    return tuple(lengths)
