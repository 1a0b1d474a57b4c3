"""Data that Windows seals for an account or a machine (DPAPI)."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import pywintypes
    import win32crypt

    _UI_FORBIDDEN = 0x1
    _LOCAL_MACHINE = 0x4
    """CRYPTPROTECT_… of wincrypt.h."""

    class WindowsProtectedData:
        """Implements os_services.ProtectedData by CryptProtectData, as PowerShell's ProtectedData class does.

        For our account it needs the account's profile: an application pool needs `Load User Profile`.
        """

        def protect(self, value: bytes, *, for_machine: bool = False) -> bytes:
            """Sealed for our account, or for this machine."""
            flags = _UI_FORBIDDEN | (_LOCAL_MACHINE if for_machine else 0)
            try:
                # The description is stored in clear: it says nothing.
                return bytes(win32crypt.CryptProtectData(value, "", None, None, None, flags))
            except pywintypes.error as error:
                raise OSError(0, error.strerror, None, error.winerror) from None

        def unprotect(self, sealed: bytes) -> bytes:
            """What was sealed; no window ever asks anybody."""
            try:
                return bytes(win32crypt.CryptUnprotectData(sealed, None, None, None, _UI_FORBIDDEN)[1])
            except pywintypes.error as error:
                raise OSError(0, error.strerror, None, error.winerror) from None
