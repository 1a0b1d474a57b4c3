"""Access lists that admit our own account."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    from collections.abc import Iterator
    from contextlib import contextmanager
    from ctypes import wintypes

    import win32api
    import win32con
    import win32security

    _SDDL_REVISION_1 = 1

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

    @contextmanager
    def own_account_only() -> Iterator[int]:
        """The address of SECURITY_ATTRIBUTES that admit our own account and inherit nothing; valid inside."""
        descriptor = ctypes.c_void_p()
        if not _convert(f"D:P(A;;GA;;;{own_sid()})", _SDDL_REVISION_1, ctypes.byref(descriptor), None):
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            attributes = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
            yield ctypes.addressof(attributes)
        finally:
            _local_free(descriptor)
