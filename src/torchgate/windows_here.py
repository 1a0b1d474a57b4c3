"""What this system has for the Protocols of Windows tokens and accounts; nothing where it is not Windows."""

from __future__ import annotations

import sys

from torchgate.contract.windows_tokens import WindowsAccounts, WindowsTokens


def windows_accounts() -> WindowsAccounts | None:
    """Names and SIDs."""
    if sys.platform == "win32":
        from torchgate.windows.accounts import WindowsAccountLookup  # here: it exists on this system alone

        return WindowsAccountLookup()
    return None


def windows_tokens() -> WindowsTokens | None:
    """The reader of tokens that IIS duplicates into this process.

    Raises:
        OSError: our own token can't be read.
    """
    if sys.platform == "win32":
        from torchgate.windows.tokens import WindowsTokenReader  # here: it exists on this system alone

        return WindowsTokenReader()
    return None
