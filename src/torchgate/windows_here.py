"""What this system has of what only Windows has: tokens, accounts, console events; nothing where it is another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.windows_tokens import WindowsAccounts, WindowsTokens


def windows_accounts() -> WindowsAccounts | None:
    """Names and SIDs."""
    if sys.platform == "win32":
        from torchgate.windows.accounts import WindowsAccountLookup  # here: it exists on this system alone

        return WindowsAccountLookup()
    return None


def no_impersonation_here(settings: WindowsSettings) -> str:
    """Why no model can act with its caller's rights on this system, with these settings; empty: one can."""
    if sys.platform != "win32":
        return "only Windows has its callers' tokens, and this system is another"
    if not settings.impersonation:
        return "identity.windows.impersonation in torchgate.toml is not true"
    return ""


def windows_tokens() -> WindowsTokens | None:
    """The reader of tokens that IIS duplicates into this process.

    Raises:
        OSError: our own token can't be read.
    """
    if sys.platform == "win32":
        from torchgate.windows.tokens import WindowsTokenReader  # here: it exists on this system alone

        return WindowsTokenReader()
    return None


@contextmanager
def console_events(on_stop: Callable[[], None]) -> Iterator[None]:
    """For the block, a console that closes and a shutdown ask to stop, and nobody's log-off does.

    Args:
        on_stop: called on any thread.
    """
    if sys.platform == "win32":
        from torchgate.windows.console_events import ConsoleEvents  # here: it exists on this system alone

        events = ConsoleEvents(on_stop)
        try:
            yield
        finally:
            events.close()
    else:
        yield


def processes_in_our_job() -> int | None:
    """How many processes the job holds that we run in; None where there is no job, or nobody tells."""
    if sys.platform == "win32":
        from torchgate.windows.job_members import count_in_our_job  # here: it exists on this system alone

        return count_in_our_job()
    return None


def has_launcher() -> bool:
    """Whether a virtual environment's python.exe was started, which on Windows starts the interpreter as its child."""
    return sys.platform == "win32" and getattr(sys, "_base_executable", sys.executable) != sys.executable
