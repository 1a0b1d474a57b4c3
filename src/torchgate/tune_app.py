"""A process that measures one model and ends; started by `torchgate models tune`, as workers are.

Its environment is a worker's, thread budget included, so that what it measures is what a worker will do.
"""

from __future__ import annotations

import os
import sys

from torchgate.contract.os_services import WorkerEnd
from torchgate.contract.tuning import Tune, TuneDone, TuneFailed, TuneStep, decode_tune, encode_tuning
from torchgate.worker_app import do_one_order


def main() -> int:
    """Read the order, do it, answer; the exit code."""
    return do_one_order("tuner", decode_tune, _answer)


def _answer(order: Tune, end: WorkerEnd) -> None:
    # Late and on purpose: torch reads the thread budget when it is imported.
    from torchgate.worker.threads import bound_threads
    from torchgate.worker.tuning import tune

    bound_threads(os.environ)
    answer: TuneDone | TuneFailed = tune(order, lambda sentence: end.write(encode_tuning(TuneStep(sentence))))
    end.write(encode_tuning(answer))


if __name__ == "__main__":
    sys.exit(main())
