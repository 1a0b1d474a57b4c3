"""Counts and durations of one model version, as V2 statistics want them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from torchgate.contract.back_end import BatchAnswer
from torchgate.contract.inference import DurationStatistics, ModelStatistics
from torchgate.engine.waiting import Waiting

_NS = 1_000_000_000
_MEAN_WEIGHT = 0.1
"""Of the newest batch in the running means: the last ten or so count."""


class Statistics:
    """What a version has done since the server started."""

    def __init__(self) -> None:
        self.record = ModelStatistics()
        self.mean_run_s = 0.0
        self.mean_requests = 1.0

    def batch_done(self, batch: Sequence[Waiting], answer: BatchAnswer, run_s: float) -> None:
        """A batch came back.

        Args:
            run_s: from handing it over until it was back.
        """
        record, requests, rows = self.record, len(batch), batch[0].timing.batch_rows
        record.last_inference_ms = time.time_ns() // 1_000_000
        record.execution_count += 1
        self.mean_run_s += (run_s - self.mean_run_s) * (_MEAN_WEIGHT if self.mean_run_s else 1.0)
        self.mean_requests += (requests - self.mean_requests) * _MEAN_WEIGHT
        _add(record.compute_input, requests, answer.collate_s)
        _add(record.compute_infer, requests, answer.predict_s)
        _add(record.compute_output, requests, answer.split_s)
        by_size = record.batches.get(rows)
        if by_size is None:
            by_size = record.batches[rows] = DurationStatistics()
        by_size.count += 1
        by_size.ns += int(answer.predict_s * _NS)

    def answered(self, waiting: Waiting, now: float) -> None:
        """A caller got its answer."""
        record = self.record
        record.inference_count += waiting.request.rows
        record.success.count += 1
        record.success.ns += int((now - waiting.accepted_at) * _NS)
        record.queue.count += 1
        record.queue.ns += int(waiting.timing.queue_s * _NS)

    def failed(self, waiting: Waiting, now: float) -> None:
        """A caller got an error."""
        self.record.fail.count += 1
        self.record.fail.ns += int((now - waiting.accepted_at) * _NS)


def _add(total: DurationStatistics, requests: int, each_s: float) -> None:
    total.count += requests
    total.ns += int(each_s * _NS) * requests
