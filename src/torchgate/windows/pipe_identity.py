"""Who is at the other end of a named pipe, as the system says; never by a process's number."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import os
    from ctypes import wintypes

    import win32api
    import win32con
    import win32security

    from torchgate.contract.local_pipes import Peer
    from torchgate.windows.access_list import own_sid, owner_of

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _client_process = _kernel32.GetNamedPipeClientProcessId
    _client_process.argtypes = [wintypes.HANDLE, ctypes.POINTER(wintypes.ULONG)]
    _server_process = _kernel32.GetNamedPipeServerProcessId
    _server_process.argtypes = [wintypes.HANDLE, ctypes.POINTER(wintypes.ULONG)]

    def client_of(pipe: int) -> Peer:
        """Who connected: by its own token, which it lends for identification once it has written to us.

        Raises:
            OSError: it has lent none.
        """
        try:
            win32security.ImpersonateNamedPipeClient(pipe)
        except win32security.error as error:
            raise OSError(0, error.strerror, None, error.winerror) from None
        try:
            account = _account_of_thread()
        finally:
            _be_ourselves()
        pid = wintypes.ULONG()
        _client_process(pipe, ctypes.byref(pid))
        return Peer(account, pid.value, account == own_sid())

    def server_of(pipe: int) -> Peer:
        """Whose the pipe is: its owner, set by who made it first; nothing needs to be written to learn it.

        Raises:
            OSError: it can't be read.
        """
        account = owner_of(pipe)
        pid = wintypes.ULONG()
        _server_process(pipe, ctypes.byref(pid))
        return Peer(account, pid.value, account == own_sid())

    def _account_of_thread() -> str:
        try:
            token = win32security.OpenThreadToken(win32api.GetCurrentThread(), win32con.TOKEN_QUERY, True)
        except win32security.error as error:
            raise OSError(0, error.strerror, None, error.winerror) from None
        user = win32security.GetTokenInformation(token, win32security.TokenUser)[0]
        return str(win32security.ConvertSidToStringSid(user))

    def _be_ourselves() -> None:
        try:
            win32security.RevertToSelf()
        except win32security.error:
            os.abort()  # no line of this process may run as somebody else
