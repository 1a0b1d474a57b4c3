"""A worker process: picks the operating system's room, imports torch, and answers until the channel ends.

Started by the engine as `python -I -X utf8 -m torchgate.worker_app <channel>`, with the thread budget in the
environment: torch reads it when it is imported, and so it is imported here, late.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import msgspec

from torchgate.contract.caller_tokens import Impersonation
from torchgate.contract.os_services import WorkerEnd
from torchgate.contract.worker_wire import Frames, WireError

Order = TypeVar("Order")

EXIT_BAD_MESSAGE = 70
"""The exit code after a message that is none of ours; EX_SOFTWARE of sysexits.h."""


def main() -> int:
    """Answer until the parent is gone or says Stop; the exit code."""
    # The version's folder is part of its digest: bytecode must not be written into it.
    sys.dont_write_bytecode = True
    end = open_end(sys.argv[1:])
    # Late and on purpose: see the module's first lines.
    from torchgate.worker.loop import WorkerLoop
    from torchgate.worker.threads import bound_threads

    bound_threads(os.environ)
    try:
        WorkerLoop(end, impersonation=open_impersonation()).run()
    except WireError as error:
        sys.stderr.write(f"worker: the engine sent what is no message: {error}. The worker ends.\n")
        return EXIT_BAD_MESSAGE
    except OSError as error:
        sys.stderr.write(f"worker: the engine is gone: {error}\n")
    return 0


def do_one_order(program: str, decode: Callable[[bytes], Order], obey: Callable[[Order, WorkerEnd], None]) -> int:
    """Read the one order that this process is there for, and obey it; the exit code.

    Args:
        program: for what it says on stderr.
        decode: of the first message that comes; nothing comes where the parent has ended.
        obey: what it answers goes through the same end.
    """
    sys.dont_write_bytecode = True
    end = open_end(sys.argv[1:])
    frames, received = Frames(), list[bytes]()
    try:
        while not received:
            data = end.read()
            if not data:
                return 0
            received.extend(frames.feed(data))
        order = decode(received[0])
    except (WireError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"{program}: what came is no message: {error}\n")
        return EXIT_BAD_MESSAGE
    obey(order, end)
    return 0


def open_end(arguments: list[str]) -> WorkerEnd:
    """Our end of the channel, by the room that fits this platform."""
    if sys.platform == "win32":
        from torchgate.windows.worker_end import WindowsWorkerEnd

        return WindowsWorkerEnd.from_arguments(arguments)
    from torchgate.posix.worker_end import PosixWorkerEnd

    return PosixWorkerEnd.from_arguments(arguments)


def open_impersonation() -> Impersonation | None:
    """What this process can do with callers' tokens; None: this platform has none."""
    if sys.platform == "win32":
        from torchgate.windows.impersonation import WindowsImpersonation

        return WindowsImpersonation()
    return None


if __name__ == "__main__":
    sys.exit(main())
