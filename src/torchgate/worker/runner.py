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
from torchgate.worker.callers_rights import CallersRights
from torchgate.worker.collate import Collator

ALIGNMENT_BYTES = 64
"""Outputs begin at multiples of this: a cache line, and what the widest vector instructions want."""

_LONGEST_FOR_SPACE_S = 4.0
"""Less than the engine waits for room that others hold: after one such wait in vain, nothing more is waited for."""

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
        self._rights: CallersRights | None = None

    def run(self, message: Run, ask_for_space: AskForSpace, rights: CallersRights | None = None) -> RunDone:
        """Answer every item, in order.

        Args:
            rights: of the caller; they end with the model's last run, before anything else is done.
        """
        self._collate_s = self._predict_s = 0.0
        started = monotonic_s()
        self._rights = rights
        try:
            results = self._answers(message.items, message.deadline_at)
        finally:
            self._rights = None
            if rights is not None:
                rights.end()
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
        if isinstance(pieces, ItemFailed):
            return pieces
        for piece in pieces:
            piece.data = bytes(piece.data)
        return pieces

    def _together(self, items: Sequence[RunItem], deadline_at: float) -> list[list[Piece] | ItemFailed]:
        collating = monotonic_s()
        batch = self._collator.collate(items, deadline_at, self._rights)
        predicting = monotonic_s()
        self._collate_s += predicting - collating
        try:
            with self._inference_mode:
                answer = self._predict(batch)
        finally:
            self._predict_s += monotonic_s() - predicting
            self._collator.note_writes(batch.inputs)
        checked = check_answer(answer, self._specs, batch.rows if self._takes_batches else None)
        return self._cut(items, checked)

    def _cut(self, items: Sequence[RunItem], checked: Mapping[str, Rows]) -> list[list[Piece] | ItemFailed]:
        """Each request its own rows; or its own error, where the model must not answer as it did."""
        bad = {row: output.spec.name for output in checked.values() for row in output.unfinite}
        results: list[list[Piece] | ItemFailed] = []
        first = 0
        for item in items:
            own = range(first, first + item.rows) if self._takes_batches else range(1)
            bad_row = next((row for row in own if row in bad), None) if bad else None
            if bad_row is not None:
                results.append(self._unfinite(bad[bad_row]))
            else:
                rows = item.rows if self._takes_batches else None
                results.append(_pieces(checked, item.outputs, rows, first))
            first += item.rows
        return results

    def _unfinite(self, output: str) -> ItemFailed:
        sentence = (
            f"{self._name} answered this request with NaN or infinity, which it must not. Check the input, or ask the "
            "model's owner."
        )
        return ItemFailed(sentence, f"output '{output}' says finite = true")

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
        offset = message.space_offset
        if _needed(results) > message.space_length - _padding(offset):
            results, offset = self._with_more_space(message.batch_id, results, ask_for_space)
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

    def _with_more_space(
        self, batch_id: int, results: Sequence[list[Piece] | ItemFailed], ask_for_space: AskForSpace
    ) -> tuple[Sequence[list[Piece] | ItemFailed], int]:
        """Results for which there is room, and where it is: one answer that is too large fails alone, not with all."""
        left = list(results)
        until = monotonic_s() + _LONGEST_FOR_SPACE_S
        while (needed := _needed(left)) > 0:
            space = ask_for_space(batch_id, needed + ALIGNMENT_BYTES)
            if needed <= space.space_length - _padding(space.space_offset):
                return left, space.space_offset
            lengths = [_needed([result]) for result in left]
            largest = max(lengths)
            # Room that is only taken by others is waited for by the engine, once; what is too large is refused at once.
            floor = largest if monotonic_s() < until else 1
            left = [
                self._too_large(length) if length >= floor else result
                for result, length in zip(left, lengths, strict=True)
            ]
        return left, 0

    def _too_large(self, length: int) -> ItemFailed:
        return ItemFailed(
            f"{self._name}: the answer has {length} bytes, more than there is room for now. "
            "Send fewer rows, or try again later.",
            "the engine gave no space",
        )


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
