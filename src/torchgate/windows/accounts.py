"""Names and SIDs of accounts, as the local security authority knows them."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import pywintypes
    import win32security

    from torchgate.contract.windows_tokens import Account, AccountKind
    from torchgate.windows.access_list import own_sid

    _MAX_NAME_CHARACTERS = 512
    """More than any domain and name together; and NUL would end the name before its end."""

    _NONE_MAPPED = 1332
    """ERROR_NONE_MAPPED: normal for SIDs of logons and of deleted accounts."""
    _INVALID_SID = (1337, 87)  # ERROR_INVALID_SID, ERROR_INVALID_PARAMETER

    class WindowsAccountLookup:
        """Asks the local security authority, which may ask a domain controller for seconds.

        Thread/process: any thread.
        """

        def own_sid(self) -> str:
            """The account that this process runs as."""
            return own_sid()

        def by_name(self, name: str) -> Account:
            """The account with this name."""
            if "\0" in name or len(name) > _MAX_NAME_CHARACTERS:
                raise LookupError("no account has a name with NUL, or so long a one")
            try:
                sid, domain, use = win32security.LookupAccountName(None, name)
            except pywintypes.error as error:
                raise _translated(error, name) from None
            text = str(win32security.ConvertSidToStringSid(sid))
            return Account(text, f"{domain}\\{name.rpartition(chr(92))[2]}", _kind(use, name))

        def by_sid(self, sid: str) -> Account:
            """The account with this SID."""
            try:
                name, domain, use = win32security.LookupAccountSid(None, win32security.ConvertStringSidToSid(sid))
            except pywintypes.error as error:
                raise _translated(error, sid) from None
            return Account(sid, f"{domain}\\{name}" if domain else name, _kind(use, sid))

    def _kind(use: int, asked: str) -> AccountKind:
        """What SID_NAME_USE says.

        Raises:
            LookupError: a domain, or what was deleted.
        """
        if use in (win32security.SidTypeUser, win32security.SidTypeComputer):
            return "user"
        if use in (win32security.SidTypeGroup, win32security.SidTypeAlias):
            return "group"
        if use == win32security.SidTypeWellKnownGroup:
            return "well_known"
        raise LookupError(f"{asked!r} is neither a user nor a group")

    def _translated(error: pywintypes.error, asked: str) -> Exception:
        if error.winerror == _NONE_MAPPED or error.winerror in _INVALID_SID:
            return LookupError(f"no account is called {asked!r}")
        return OSError(0, error.strerror, None, error.winerror)
