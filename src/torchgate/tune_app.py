"""A process that measures one model and ends; started by `torchgate models tune`, as workers are.

Its environment is a worker's, thread budget included, so that what it measures is what a worker will do.
"""

from __future__ import annotations

import os
import sys

import msgspec

from torchgate.contract.tuning import TuneDone, TuneFailed, TuneStep, decode_tune, encode_tuning
from torchgate.contract.worker_wire import Frames, WireError
from torchgate.worker_app import EXIT_BAD_MESSAGE, open_end


def main() -> int:
    """Read the order, do it, answer; the exit code."""
    sys.dont_write_bytecode = True
    end = open_end(sys.argv[1:])
    frames, received = Frames(), list[bytes]()
    try:
        while not received:
            data = end.read()
            if not data:
                return 0
            received.extend(frames.feed(data))
        order = decode_tune(received[0])
    except (WireError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"tuner: what came is no message: {error}\n")
        return EXIT_BAD_MESSAGE
    # Late and on purpose: torch reads the thread budget when it is imported.
    from torchgate.worker.threads import bound_threads
    from torchgate.worker.tuning import tune

    bound_threads(os.environ)
    answer: TuneDone | TuneFailed = tune(order, lambda sentence: end.write(encode_tuning(TuneStep(sentence))))
    end.write(encode_tuning(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
