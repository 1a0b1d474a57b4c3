"""A service that does nothing: started by Windows' service control manager, or by systemd.

    python service_program.py NAME FILE well      says that it runs, and ends when it is told
    python service_program.py NAME FILE fails     ends with exit code 7 before it runs

Each start adds a line to FILE: the process, and the arguments after these.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

EXIT_CODE = 7


def main(arguments: list[str]) -> int:
    name, file, how, *others = arguments
    stop = threading.Event()
    if sys.platform == "win32":
        from torchgate.windows.service_host import WindowsServiceHost

        host = WindowsServiceHost(name, start_timeout_s=120, stop_timeout_s=120)
        host.begin()
    else:
        from torchgate.posix.service_notice import NoticeSocket

        host = NoticeSocket(os.environ["NOTIFY_SOCKET"])
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    host.listen(stop.set)
    code = EXIT_CODE
    try:
        with Path(file).open("a", encoding="utf-8") as starts:
            starts.write(f"{os.getpid()} {others}\n")
        if how == "well":
            host.ready()
            stop.wait()
            host.stopping()
            code = 0
    finally:
        if sys.platform == "win32":
            host.end(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
