"""Handle tables for the tests of tokens: the fake one, and on Windows this process's own."""

from __future__ import annotations

import os
import struct
import sys
from typing import Protocol

from tests.fakes.windows_tokens import OWN_SID, FakeKept, FakeObject, FakeTokens

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.windows_tokens import Level, TokenFacts, WindowsTokens

ADMINISTRATORS = "S-1-5-32-544"
EVERYONE = "S-1-1-0"


class HandleTable(Protocol):
    """Puts things into a process as somebody else does who may duplicate handles into it."""

    tokens: WindowsTokens
    own_sid: str

    def token(self, level: Level = "primary", *, denied_group: str = "") -> int:
        """A token of our own account."""
        ...

    def twin(self, handle: int) -> int:
        """Another handle to the same token."""
        ...

    def number_of(self, token: CallerToken) -> int:
        """The handle of one that was kept."""
        ...

    def own_token(self) -> int:
        """Another handle to our own process's token."""
        ...

    def weak_token(self) -> int:
        """A handle to a token without the right to read it."""
        ...

    def other_things(self) -> dict[str, int]:
        """Handles that are no tokens, by what they are."""
        ...

    def is_open(self, handle: int) -> bool:
        """Whether it names something."""
        ...

    def count(self) -> int:
        """How many handles are open."""
        ...

    def close(self, handle: int) -> None:
        """Close it."""
        ...


class FakeTable:
    """Implements HandleTable without Windows."""

    def __init__(self) -> None:
        self.tokens = FakeTokens()
        self.own_sid = OWN_SID

    def token(self, level: Level = "primary", *, denied_group: str = "") -> int:
        groups = frozenset({ADMINISTRATORS, EVERYONE}) - {denied_group}
        denials = frozenset({denied_group} - {""})
        facts = TokenFacts(OWN_SID, groups, denials, is_own_account=True, level=level)
        return self.tokens.put(FakeObject(facts))

    def twin(self, handle: int) -> int:
        return self.tokens.put(self.tokens.open[handle])

    def number_of(self, token: CallerToken) -> int:
        assert isinstance(token, FakeKept)
        return token.handle

    def own_token(self) -> int:
        facts = TokenFacts(OWN_SID, frozenset({EVERYONE}), is_own_process=True, is_own_account=True)
        return self.tokens.put(FakeObject(facts))

    def weak_token(self) -> int:
        return self.tokens.put(FakeObject(TokenFacts(OWN_SID), can_be_read=False))

    def other_things(self) -> dict[str, int]:
        return {kind: self.tokens.put(FakeObject()) for kind in ("event", "file", "process", "section")}

    def is_open(self, handle: int) -> bool:
        return handle in self.tokens.open

    def count(self) -> int:
        return len(self.tokens.open)

    def close(self, handle: int) -> None:
        del self.tokens.open[handle]


if sys.platform == "win32":
    import ctypes

    import win32api
    import win32con
    import win32event
    import win32file
    import win32security

    from torchgate.windows.access_list import own_sid
    from torchgate.windows.kept_token import KeptToken
    from torchgate.windows.tokens import WindowsTokenReader

    _SYSTEM_EXTENDED_HANDLE_INFORMATION = 64
    _INFO_LENGTH_MISMATCH = 0xC000_0004
    _LEVELS = ("anonymous", "identification", "impersonation", "delegation")

    class RealTable:
        """Implements HandleTable with this process's own handles."""

        def __init__(self) -> None:
            self.tokens = WindowsTokenReader()
            self.own_sid = own_sid()

        def token(self, level: Level = "primary", *, denied_group: str = "") -> int:
            if denied_group:
                group = win32security.ConvertStringSidToSid(denied_group)
                return win32security.CreateRestrictedToken(_own(), 0, [(group, 0)], [], []).Detach()
            is_primary = level == "primary"
            token = win32security.DuplicateTokenEx(
                _own(),
                win32security.SecurityImpersonation if is_primary else _LEVELS.index(level),
                win32security.TOKEN_ALL_ACCESS,
                win32security.TokenPrimary if is_primary else win32security.TokenImpersonation,
            )
            return token.Detach()

        def twin(self, handle: int) -> int:
            return _duplicate(handle, 0, win32con.DUPLICATE_SAME_ACCESS)

        def number_of(self, token: CallerToken) -> int:
            assert isinstance(token, KeptToken)
            return token._handle

        def own_token(self) -> int:
            return _duplicate(_own(), 0, win32con.DUPLICATE_SAME_ACCESS)

        def weak_token(self) -> int:
            return _duplicate(_own(), win32security.TOKEN_DUPLICATE, 0)

        def other_things(self) -> dict[str, int]:
            me = win32api.GetCurrentProcess()
            section = ctypes.WinDLL("kernel32").CreateFileMappingW
            section.restype = ctypes.c_void_p
            section.argtypes = [
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.c_uint,
                ctypes.c_uint,
                ctypes.c_uint,
                ctypes.c_wchar_p,
            ]
            file = win32file.CreateFile(
                sys.executable, win32con.GENERIC_READ, win32con.FILE_SHARE_READ, None, win32con.OPEN_EXISTING, 0, None
            )
            return {
                "event": win32event.CreateEvent(None, 0, 0, None).Detach(),
                "file": file.Detach(),
                "process": _duplicate(me, 0, win32con.DUPLICATE_SAME_ACCESS),
                "section": section(ctypes.c_void_p(-1), None, 4, 0, 4096, None),
            }

        def is_open(self, handle: int) -> bool:
            flags = ctypes.c_uint()
            return bool(ctypes.windll.kernel32.GetHandleInformation(ctypes.c_void_p(handle), ctypes.byref(flags)))

        def count(self) -> int:
            return handles_of(os.getpid())

        def close(self, handle: int) -> None:
            win32api.CloseHandle(handle)

    def handles_of(pid: int) -> int:
        """How many handles a process has open; by the system's list, because Wine counts 0 for each process."""
        query = ctypes.WinDLL("ntdll").NtQuerySystemInformation
        length = 1 << 20
        while True:
            memory = ctypes.create_string_buffer(length)
            status = query(_SYSTEM_EXTENDED_HANDLE_INFORMATION, memory, length, None) & 0xFFFF_FFFF
            if status != _INFO_LENGTH_MISMATCH:
                break
            length *= 2
        assert status == 0, hex(status)
        (number,) = struct.unpack_from("<Q", memory)
        owners = (struct.unpack_from("<QQ", memory, 16 + 40 * index)[1] for index in range(number))
        return sum(owner == pid for owner in owners)

    def _own() -> object:
        return win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32security.TOKEN_ALL_ACCESS)

    def _duplicate(handle: object, rights: int, options: int) -> int:
        me = win32api.GetCurrentProcess()
        return win32api.DuplicateHandle(me, handle, me, rights, False, options).Detach()
