"""Access lists that admit our own account, and accounts by name."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import re
    from collections.abc import Collection, Iterator
    from contextlib import contextmanager
    from ctypes import wintypes
    from pathlib import Path
    from typing import Any

    import pywintypes
    import win32api
    import win32con
    import win32security

    _SDDL_REVISION_1 = 1

    _ACCOUNT = re.compile(
        r"S-1-5-(18|19|20)"  # the system, LocalService, NetworkService
        r"|S-1-5-21(-[0-9]{1,10}){4}"  # of this machine or of a domain
        r"|S-1-5-8[02](-[0-9]{1,10}){5}"  # a service's, an IIS application pool's
        r"|S-1-12-1(-[0-9]{1,10}){4}"  # Entra ID's
    )
    """Source: Microsoft Learn, "Security identifiers"."""

    class _SecurityAttributes(ctypes.Structure):
        _fields_ = [
            ("length", wintypes.DWORD),
            ("descriptor", ctypes.c_void_p),
            ("inherits", wintypes.BOOL),
        ]

    _convert = ctypes.WinDLL("advapi32", use_last_error=True).ConvertStringSecurityDescriptorToSecurityDescriptorW
    _convert.argtypes = [wintypes.LPCWSTR, wintypes.DWORD, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p]
    _local_free = ctypes.WinDLL("kernel32").LocalFree
    _local_free.argtypes = [ctypes.c_void_p]

    def own_sid() -> str:
        """The account that this process runs as, `S-1-…`."""
        token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
        user = win32security.GetTokenInformation(token, win32security.TokenUser)[0]
        return str(win32security.ConvertSidToStringSid(user))

    def checked_sids(accounts: Collection[str]) -> frozenset[str]:
        """Of accounts as `Peer.account` says them: users, services and application pools, never groups of everybody.

        Raises:
            ValueError: one that is none.
        """
        for account in accounts:
            if not _ACCOUNT.fullmatch(account):
                raise ValueError(f"{account!r} is no account of this system; say its SID, e.g. S-1-5-20 or S-1-5-21-…")
        return frozenset(accounts)

    def owner_of(handle: int) -> str:
        """The SID of the account that a kernel object belongs to.

        Raises:
            OSError: it can't be read.
        """
        try:
            descriptor = win32security.GetKernelObjectSecurity(handle, win32security.OWNER_SECURITY_INFORMATION)
        except win32security.error as error:
            raise OSError(0, error.strerror, None, error.winerror) from None
        return str(win32security.ConvertSidToStringSid(descriptor.GetSecurityDescriptorOwner()))

    @contextmanager
    def own_account_only() -> Iterator[int]:
        """The address of SECURITY_ATTRIBUTES that admit our own account and inherit nothing; valid inside."""
        with admitting((), 0) as attributes:
            yield attributes

    @contextmanager
    def admitting(accounts: Collection[str], rights: int) -> Iterator[int]:
        """The address of SECURITY_ATTRIBUTES that admit us to all, `accounts` to `rights`; valid inside.

        We are the owner by name: a token of an administrator would make the group of administrators the owner.
        """
        own = own_sid()
        others = "".join(f"(A;;{rights:#x};;;{sid})" for sid in sorted(checked_sids(accounts) - {own}))
        descriptor = ctypes.c_void_p()
        if not _convert(f"O:{own}D:P(A;;GA;;;{own}){others}", _SDDL_REVISION_1, ctypes.byref(descriptor), None):
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            attributes = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
            yield ctypes.addressof(attributes)
        finally:
            _local_free(descriptor)

    def allowed_entries(folder: Path) -> list[tuple[str, int]] | None:
        """Whom a folder's access list lets do what: SIDs and rights; None where it has no list, and everybody may.

        Raises:
            OSError: it can't be read.
        """
        try:
            descriptor = win32security.GetNamedSecurityInfo(
                str(folder), win32security.SE_FILE_OBJECT, win32security.DACL_SECURITY_INFORMATION
            )
        except pywintypes.error as error:
            raise OSError(0, error.strerror, str(folder), error.winerror) from None
        entries = descriptor.GetSecurityDescriptorDacl()
        return None if entries is None else list(_allowed(entries))

    def _allowed(entries: Any) -> Iterator[tuple[str, int]]:
        for number in range(entries.GetAceCount()):
            (kind, flags), mask, sid = entries.GetAce(number)[:3]
            # What is there to be inherited alone says nothing of the folder itself.
            if kind == win32con.ACCESS_ALLOWED_ACE_TYPE and not flags & win32con.INHERIT_ONLY_ACE:
                yield str(win32security.ConvertSidToStringSid(sid)), mask
