"""A worker's threads, as themselves or as a caller; and the end of a process that is not itself any more."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import contextlib
    import ctypes
    import os
    from collections.abc import Iterator
    from ctypes import wintypes
    from typing import NoReturn

    import pywintypes
    import win32api
    import win32con
    import win32process
    import win32security

    from torchgate.contract.caller_tokens import CannotImpersonate

    EXIT_NOT_OURSELVES = 71
    """The exit code of a worker that would have gone on with somebody else's rights."""

    _NO_TOKEN = 1008
    _STILL_ACTIVE = 259
    _NO_MORE_ENTRIES = 0x8000_001A
    _THREAD_QUERY_INFORMATION = 0x0040
    _PRIVILEGE = "SeImpersonatePrivilege"
    _PRIVILEGE_ENABLED = 0x0000_0002
    _IMPERSONATION = 2  # SECURITY_IMPERSONATION_LEVEL: 1 only names its user, 2 has its rights here, 3 elsewhere, too

    _next_thread = ctypes.WinDLL("ntdll").NtGetNextThread
    _next_thread.restype = wintypes.LONG
    _next_thread.argtypes = [
        wintypes.HANDLE,
        wintypes.HANDLE,
        wintypes.DWORD,
        wintypes.ULONG,
        wintypes.ULONG,
        ctypes.POINTER(wintypes.HANDLE),
    ]

    class WindowsImpersonation:
        """Implements contract.caller_tokens.Impersonation for this process."""

        def obstacle(self) -> str:
            """Without the privilege Windows gives every thread the caller's name, and none of its rights."""
            own = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
            wanted = win32security.LookupPrivilegeValue(None, _PRIVILEGE)
            for privilege, attributes in win32security.GetTokenInformation(own, win32security.TokenPrivileges):
                if privilege == wanted and attributes & _PRIVILEGE_ENABLED:
                    return ""
            return f"the account that the workers run as lacks {_PRIVILEGE}"

        def user_of(self, token: int) -> str:
            """The SID of a lent token's user."""
            try:
                user = win32security.GetTokenInformation(token, win32security.TokenUser)[0]
            except pywintypes.error as error:
                raise CannotImpersonate(f"what was lent is no token (error {error.winerror})") from None
            return str(win32security.ConvertSidToStringSid(user))

        def begin(self, token: int) -> None:
            """Become the caller, and read back who that is and how far: Windows gives less without an error."""
            if _token_of(win32api.GetCurrentThread()):
                raise CannotImpersonate("this thread acts as somebody already")
            wanted = self.user_of(token)
            try:
                win32security.ImpersonateLoggedOnUser(token)
            except pywintypes.error as error:
                self.end()
                raise CannotImpersonate(f"Windows refused it (error {error.winerror})") from None
            try:
                seen, level = _of_this_thread()
            except pywintypes.error as error:
                self.end()
                raise CannotImpersonate(f"it can't be read back (error {error.winerror})") from None
            if seen != wanted or level < _IMPERSONATION:
                self.end()
                raise CannotImpersonate(
                    "Windows gave the caller's name without its rights (identification): the account that the workers "
                    f"run as lacks {_PRIVILEGE}"
                )

        def end(self) -> None:
            """Be ourselves again, and look whether it is so."""
            try:
                win32security.RevertToSelf()
            except pywintypes.error as error:
                self.end_process(f"a thread could not be made itself again (error {error.winerror})")
            if _token_of(win32api.GetCurrentThread()):
                self.end_process("a thread acts as somebody else although it was made itself again")

        def who_still_acts(self) -> str:
            """Ask every thread of this process, whoever made it."""
            try:
                acting = sum(_token_of(thread) for thread in _threads())
            except OSError as error:
                return f"threads that can't be asked ({error})"
            return f"{acting} of its threads" if acting else ""

        def give_back(self, token: int) -> None:
            """Close it: what can't be closed could still be used."""
            try:
                win32api.CloseHandle(token)
            except pywintypes.error as error:
                self.end_process(f"a caller's token can't be closed (error {error.winerror})")

        def end_process(self, why: str) -> NoReturn:
            """Without a word to Python's own end of a process, where the model's code could have its say."""
            with contextlib.suppress(OSError):
                os.write(2, f"worker: {why}; it ends, so that nothing more runs with a caller's rights.\n".encode())
            win32process.TerminateProcess(win32api.GetCurrentProcess(), EXIT_NOT_OURSELVES)
            os.abort()

    def _of_this_thread() -> tuple[str, int]:
        """Who this thread acts as, and how far."""
        token = win32security.OpenThreadToken(win32api.GetCurrentThread(), win32con.TOKEN_QUERY, True)
        user = win32security.GetTokenInformation(token, win32security.TokenUser)[0]
        level = win32security.GetTokenInformation(token, win32security.TokenStatistics)["ImpersonationLevel"]
        return str(win32security.ConvertSidToStringSid(user)), int(level)

    def _token_of(thread: int) -> bool:
        """Whether a thread acts as somebody else; where that can't be learnt, it does, unless it has ended."""
        try:
            win32security.OpenThreadToken(thread, win32con.TOKEN_QUERY, True)
        except pywintypes.error as error:
            if error.winerror == _NO_TOKEN:
                return False
            return bool(win32process.GetExitCodeThread(thread) == _STILL_ACTIVE)
        return True

    def _threads() -> Iterator[int]:
        """A handle to each thread of this process, good until the next is asked for.

        Raises:
            OSError: they can't be listed.
        """
        last: int | None = None
        try:
            while True:
                found = wintypes.HANDLE()
                ours = win32api.GetCurrentProcess()
                status = _next_thread(ours, last, _THREAD_QUERY_INFORMATION, 0, 0, ctypes.byref(found)) & 0xFFFF_FFFF
                if status == _NO_MORE_ENTRIES:
                    return
                if status or not found.value:
                    raise OSError(f"NtGetNextThread: {status:#x}")
                if last is not None:
                    win32api.CloseHandle(last)
                last = found.value
                yield last
        finally:
            if last is not None:
                win32api.CloseHandle(last)
