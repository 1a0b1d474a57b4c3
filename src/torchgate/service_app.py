"""`torchgate service host`: the pool, started by Windows' service control manager."""

from __future__ import annotations

import argparse
import sys
import traceback

from torchgate.contract.services import Supervisor
from torchgate.telemetry.log_files import LogFiles
from torchgate.terminal import fail


def host(parsed: argparse.Namespace) -> int:
    """Be the service until it is told to stop; the exit code.

    Process: the main thread.
    """
    if sys.platform == "win32":
        return _hosted(parsed)
    return fail("this is what Windows starts. Here systemd starts `torchgate pool` itself.")


if sys.platform == "win32":

    def _hosted(parsed: argparse.Namespace) -> int:
        # Imported here, and nothing slow before the manager has heard of us: it waits 30 s.
        from torchgate.windows.event_log import tell_event_log
        from torchgate.windows.service_host import NotAService, WindowsServiceHost

        manager = WindowsServiceHost(
            parsed.name, start_timeout_s=parsed.start_timeout_s, stop_timeout_s=parsed.stop_timeout_s
        )
        try:
            manager.begin()
        except NotAService:
            return fail(
                f"this is what the service control manager starts. Say `torchgate service start --name {parsed.name}`, "
                "or `torchgate pool` for a pool in this console."
            )
        except OSError as error:
            return fail(f"the service control manager can't be reached: {error}.")
        try:
            lines = LogFiles(parsed.log_folder, parsed.name)
        except OSError as error:
            tell_event_log(
                parsed.name, "error", f"{parsed.name} does not start: {error}. Its account must write there."
            )
            manager.end(1)
            return 1
        sys.stdout = sys.stderr = lines
        code = _run(parsed, manager)
        where = f"{parsed.name} has ended with exit code {code}. What it said: {lines.path}"
        tell_event_log(parsed.name, "error" if code else "info", where)
        manager.end(code)
        return code


def _run(parsed: argparse.Namespace, manager: Supervisor) -> int:
    from torchgate.pool_app import run_pool  # here: it is slow to import

    try:
        return run_pool(parsed.project, parsed.set, manager)
    except BaseException:  # noqa: BLE001, the manager must hear of the end, whatever it is
        sys.stderr.write(traceback.format_exc())
        return 1
