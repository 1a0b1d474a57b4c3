"""A process to which tokens are lent, as a worker is: the fake one, and on Windows this one."""

from __future__ import annotations

import sys
from typing import Protocol

from tests.fakes.impersonation import FakeImpersonation
from tests.fakes.windows_tokens import OWN_SID

from torchgate.contract.caller_tokens import Impersonation


class Desk(Protocol):
    """Lends tokens of our own account."""

    impersonation: Impersonation
    own_sid: str

    def lend(self, *, weak: bool = False) -> int:
        """A token's number here; a weak one only names its user."""
        ...

    def acts(self) -> bool:
        """Whether this thread acts as somebody else, as the system says."""
        ...


class FakeDesk:
    """Implements Desk without Windows."""

    def __init__(self) -> None:
        self.own_sid = OWN_SID
        self._fake = FakeImpersonation({})
        self.impersonation: Impersonation = self._fake

    def lend(self, *, weak: bool = False) -> int:
        number = 4 * (len(self._fake.users) + len(self._fake.given_back) + 1)
        self._fake.users[number] = OWN_SID
        if weak:
            self._fake.weak |= {number}
        return number

    def acts(self) -> bool:
        return bool(self._fake.who_still_acts())


if sys.platform == "win32":
    import pywintypes
    import win32api
    import win32con
    import win32security

    from torchgate.windows.access_list import own_sid
    from torchgate.windows.impersonation import WindowsImpersonation

    class RealDesk:
        """Implements Desk with tokens of this process's account."""

        def __init__(self) -> None:
            self.own_sid = own_sid()
            self.impersonation: Impersonation = WindowsImpersonation()

        def lend(self, *, weak: bool = False) -> int:
            own = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32security.TOKEN_ALL_ACCESS)
            level = win32security.SecurityIdentification if weak else win32security.SecurityImpersonation
            rights = win32security.TOKEN_QUERY | win32security.TOKEN_IMPERSONATE
            return win32security.DuplicateTokenEx(own, level, rights, win32security.TokenImpersonation).Detach()

        def acts(self) -> bool:
            try:
                win32security.OpenThreadToken(win32api.GetCurrentThread(), win32con.TOKEN_QUERY, True)
            except pywintypes.error:
                return False
            return True
