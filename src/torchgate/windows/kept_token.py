"""A caller's token that stays open here until its request is over, and is lent to the worker that runs its rows."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import _winapi
    import hashlib
    from collections.abc import Callable
    from typing import Any

    import pywintypes
    import win32api
    import win32security

    _TOKEN_RESTRICTED_SIDS = 11
    _TOKEN_INTEGRITY_LEVEL = 25
    """Source: winnt.h, TOKEN_INFORMATION_CLASS."""

    _NOT_OFFERED = (1, 87)  # ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER

    _RIGHTS = win32security.TOKEN_QUERY | win32security.TOKEN_IMPERSONATE
    """What is kept: to be read and to be impersonated. Nobody who holds it can make more of it."""

    class KeptToken:
        """Implements contract.caller_tokens.CallerToken.

        Args:
            handle: in this process; this object owns it.
            likeness: equal for tokens that allow the same.
            on_close: called once, when the handle is closed.
        """

        __slots__ = ("_handle", "_on_close", "likeness")

        def __init__(self, handle: int, likeness: str, on_close: Callable[[int], None]) -> None:
            self._handle = handle
            self.likeness = likeness
            self._on_close = on_close

        def __repr__(self) -> str:
            return f"KeptToken({'open' if self._handle else 'closed'})"

        @property
        def is_open(self) -> bool:
            """Whether it can still be lent."""
            return self._handle != 0

        def lent_to(self, process: int) -> int:
            """A handle of its own for another process; its number there.

            Raises:
                OSError: it is closed, or the process is gone.
            """
            if not self._handle:
                raise OSError("the caller's token was given back already")
            ours, same = _winapi.GetCurrentProcess(), _winapi.DUPLICATE_SAME_ACCESS
            return _winapi.DuplicateHandle(ours, self._handle, process, 0, False, same)

        def close(self) -> None:
            """Give it back. Safe to call twice."""
            handle, self._handle = self._handle, 0
            if handle:
                win32api.CloseHandle(handle)
                self._on_close(handle)

    def kept(handle: int, on_close: Callable[[int], None]) -> tuple[int, KeptToken]:
        """A duplicate of a token by which its user can be impersonated, and its handle.

        Raises:
            pywintypes.error: Windows makes none: the token is for identification alone, or may not be duplicated.
        """
        likeness = _likeness(handle)
        token = win32security.DuplicateTokenEx(
            handle, win32security.SecurityImpersonation, _RIGHTS, win32security.TokenImpersonation
        )
        number = int(token.Detach())
        return number, KeptToken(number, likeness, on_close)

    def _likeness(handle: int) -> str:
        """All that decides what a token's holder may do: any difference makes two of them different.

        ModifiedId tells apart what was changed in one of two copies of a token of one logon session.
        """
        statistics = win32security.GetTokenInformation(handle, win32security.TokenStatistics)
        said = (
            statistics["AuthenticationId"],
            statistics["ModifiedId"],
            _sids([win32security.GetTokenInformation(handle, win32security.TokenUser)]),
            _sids(win32security.GetTokenInformation(handle, win32security.TokenGroups)),
            sorted(win32security.GetTokenInformation(handle, win32security.TokenPrivileges)),
            _sids(_offered(handle, _TOKEN_RESTRICTED_SIDS) or ()),
            _sids([_offered(handle, _TOKEN_INTEGRITY_LEVEL)]),
        )
        return hashlib.sha256(repr(said).encode("ascii")).hexdigest()

    def _sids(found: Any) -> list[tuple[str, int]]:
        return sorted(
            (str(win32security.ConvertSidToStringSid(sid)), attributes & 0xFFFF_FFFF)
            for sid, attributes in (one for one in found if one is not None)
        )

    def _offered(handle: int, kind: int) -> Any:
        """What a token says of this; None from a system without such tokens."""
        try:
            return win32security.GetTokenInformation(handle, kind)
        except pywintypes.error as error:
            if error.winerror in _NOT_OFFERED:
                return None
            raise
