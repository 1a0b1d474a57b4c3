"""Runs batches on one loaded model, so that each request gets its own rows or its own error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence

import msgspec
import torch

from torchgate.contract.clock import monotonic_s
from torchgate.contract.model import Array, Batch
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.contract.worker_wire import ItemDone, ItemFailed, Run, RunDone, RunItem, Space
from torchgate.worker.answer import Rows, WrongAnswer, check_answer
from torchgate.worker.collate import Collator

ALIGNMENT_BYTES = 64
"""Outputs begin at multiples of this: a cache line, and what the widest vector instructions want."""

Predict = Callable[[Batch], Mapping[str, Array]]
AskForSpace = Callable[[int, int], Space]
"""(batch id, bytes) → where there is room."""


class Piece(msgspec.Struct):
    """One output of one request, not yet in the section."""

    spec: TensorSpec
    shape: tuple[int, ...]
    data: memoryview | bytes


class Runner:
    """Answers batches.

    Args:
        name: model and version, for sentences.
        signature: of the model.
        takes_batches: False: one request a run, shapes whole.
        idempotent: a batch that raises may be run again request by request.
        predict: of the loaded model.
        collator: makes the inputs.
        memory: the section.
    """

    def __init__(  # noqa: PLR0913 - what a run needs, each once
        self,
        name: str,
        signature: Signature,
        *,
        takes_batches: bool,
        idempotent: bool,
        predict: Predict,
        collator: Collator,
        memory: memoryview,
    ) -> None:
        self._name = name
        self._specs = signature.outputs
        self._takes_batches = takes_batches
        self._idempotent = idempotent
        self._predict = predict
        self._collator = collator
        self._memory = memory
        self._inference_mode = torch.inference_mode()
        self._collate_s = 0.0
        self._predict_s = 0.0

    def run(self, message: Run, ask_for_space: AskForSpace) -> RunDone:
        """Answer every item, in order."""
        self._collate_s = self._predict_s = 0.0
        started = monotonic_s()
        results = self._answers(message.items, message.deadline_at)
        items = self._place(message, results, ask_for_space)
        split_s = monotonic_s() - started - self._collate_s - self._predict_s
        return RunDone(message.batch_id, items, self._collate_s, self._predict_s, split_s)

    def _answers(self, items: Sequence[RunItem], deadline_at: float) -> list[list[Piece] | ItemFailed]:
        try:
            return list(self._together(items, deadline_at))
        except Exception as error:  # noqa: BLE001 - the model's code may raise anything, and it must become an answer
            failed = self._failure(error)
        if len(items) == 1 or not self._idempotent:
            return [failed] * len(items)
        return [self._alone(item, deadline_at) for item in items]

    def _alone(self, item: RunItem, deadline_at: float) -> list[Piece] | ItemFailed:
        """One request of a batch that raised. Its bytes are copied: the next run may reuse the model's own buffers."""
        try:
            (pieces,) = self._together((item,), deadline_at)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failure(error)
        for piece in pieces:
            piece.data = bytes(piece.data)
        return pieces

    def _together(self, items: Sequence[RunItem], deadline_at: float) -> list[list[Piece]]:
        collating = monotonic_s()
        batch = self._collator.collate(items, deadline_at)
        predicting = monotonic_s()
        self._collate_s += predicting - collating
        try:
            with self._inference_mode:
                answer = self._predict(batch)
        finally:
            self._predict_s += monotonic_s() - predicting
            self._collator.note_writes(batch.inputs)
        checked = check_answer(answer, self._specs, batch.rows if self._takes_batches else None)
        if not self._takes_batches:
            return [_pieces(checked, item.outputs, None, 0) for item in items]
        pieces, first = [], 0
        for item in items:
            pieces.append(_pieces(checked, item.outputs, item.rows, first))
            first += item.rows
        return pieces

    def _failure(self, error: Exception) -> ItemFailed:
        detail = "".join(traceback.format_exception(error))
        if isinstance(error, WrongAnswer):
            sentence = f"{self._name} answered against its signature. Ask the model's owner; the request log has more."
        else:
            sentence = f"{self._name} failed on this request. Check its input, or ask the model's owner."
        return ItemFailed(sentence, detail)

    def _place(
        self, message: Run, results: Sequence[list[Piece] | ItemFailed], ask_for_space: AskForSpace
    ) -> tuple[ItemDone | ItemFailed, ...]:
        offset, room = message.space_offset, message.space_length
        needed = _needed(results)
        if needed > room - _padding(offset):
            space = ask_for_space(message.batch_id, needed + ALIGNMENT_BYTES)
            offset, room = space.space_offset, space.space_length
            if needed > room - _padding(offset):
                failed = ItemFailed(
                    f"{self._name}: the answer has {needed} bytes, more than there is room for now. "
                    "Send fewer rows, or try again later.",
                    "the engine gave no space",
                )
                return (failed,) * len(results)
        position = offset + _padding(offset)
        done: list[ItemDone | ItemFailed] = []
        for result in results:
            if isinstance(result, ItemFailed):
                done.append(result)
                continue
            placed = []
            for piece in result:
                length = len(piece.data)
                self._memory[position : position + length] = piece.data
                placed.append(PlacedTensor(piece.spec.name, piece.spec.datatype, piece.shape, position, length))
                position += length + _padding(length)
            done.append(ItemDone(tuple(placed)))
        return tuple(done)


def _pieces(checked: Mapping[str, Rows], wanted: Sequence[str] | None, rows: int | None, first: int) -> list[Piece]:
    pieces = []
    for name in wanted if wanted is not None else checked:
        output = checked[name]
        shape, data = output.whole() if rows is None else output.cut(first, rows)
        pieces.append(Piece(output.spec, shape, data))
    return pieces


def _padding(length: int) -> int:
    return -length % ALIGNMENT_BYTES


def _needed(results: Sequence[list[Piece] | ItemFailed]) -> int:
    return sum(
        len(piece.data) + _padding(len(piece.data))
        for result in results
        if not isinstance(result, ItemFailed)
        for piece in result
    )
