"""Tokens that IIS duplicates into this process: read and closed on the spot.

A handle that comes from outside is a number that somebody says. It may name any object of ours, and closing that would
be the caller's way to break us; so nothing is closed that has not proven to be a token.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from collections.abc import Collection, Iterator
    from contextlib import contextmanager
    from typing import Any

    import pywintypes
    import win32api
    import win32con
    import win32security

    from torchgate.contract.windows_tokens import Level, NotAToken, Taken, TokenFacts
    from torchgate.windows.kept_token import KeptToken, kept

    _TOKEN_RESTRICTED_SIDS = 11
    """Source: winnt.h, TOKEN_INFORMATION_CLASS."""

    _GROUP_ENABLED = 0x0000_0004
    _FOR_DENY_ONLY = 0x0000_0010
    _INTEGRITY = 0x0000_0020
    _LOGON_ID = 0xC000_0000
    """Source: winnt.h, SE_GROUP_…"""

    _INVALID_HANDLE = 6
    _ACCESS_DENIED = 5
    _NOT_OFFERED = (1, 87)  # ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER

    _IMPERSONATION = 2
    """TOKEN_TYPE; 1 is a primary token."""

    _LEVELS: tuple[Level, ...] = ("anonymous", "identification", "impersonation", "delegation")
    """By SECURITY_IMPERSONATION_LEVEL."""

    _TAG_BITS = 3
    """Of a handle that Windows does not look at: 1 to 3 more name the same object. Source: winnt.h, ntdef.h."""

    _FIRST_SPECIAL_HANDLE = 2**31
    """Handles have 32 bits that count; the negative ones are pseudo-handles (-1 … -6: our own process, thread and
    their tokens) and the kernel's. Source: Microsoft Learn, "Interprocess Communication Between 32-bit and 64-bit"."""

    class WindowsTokenReader:
        """Reads tokens of this process's handle table, one at a time.

        Raises:
            OSError: our own token can't be read.

        Thread/process: the one thread that takes requests, so that no other handle is open meanwhile.
        """

        def __init__(self) -> None:
            with _translated():
                token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
                self._own_token_id = _information(int(token), win32security.TokenStatistics)["TokenId"]
                self._own_sid = _text(_information(int(token), win32security.TokenUser)[0])
            self._kept: set[int] = set()

        def take(self, handle: int) -> TokenFacts:
            """Read a token and close it."""
            statistics = self._proven(handle)
            try:
                return self._facts(handle, statistics)
            except pywintypes.error as error:
                raise NotAToken(f"a token of which Windows gives no facts (error {error.winerror})") from None
            finally:
                _close(handle)

        def take_and_keep(self, handle: int) -> Taken:
            """Read a token and close it, and keep a duplicate that lets its user be impersonated."""
            self._proven(handle)
            token, why_not = self._duplicate(handle)
            try:
                return Taken(self.take(handle), token, why_not)
            except BaseException:
                if token is not None:
                    token.close()
                raise

        def _proven(self, handle: int) -> dict[str, Any]:
            """Its statistics, once it is certain that it is a token which is not ours."""
            if not 0 < handle < _FIRST_SPECIAL_HANDLE:
                raise NotAToken("no object of this process has such a handle")
            if handle & ~_TAG_BITS in self._kept:
                raise NotAToken("a token that this server keeps for another request")
            try:
                statistics: dict[str, Any] = _information(handle, win32security.TokenStatistics)
            except pywintypes.error as error:
                raise NotAToken(_reason(error)) from None
            return statistics

        def _duplicate(self, handle: int) -> tuple[KeptToken | None, str]:
            try:
                number, token = kept(handle, self._kept.discard)
            except pywintypes.error as error:
                return None, f"the Windows token can't be impersonated (error {error.winerror})"
            self._kept.add(number)
            return token, ""

        def _facts(self, handle: int, statistics: dict[str, Any]) -> TokenFacts:
            user, user_attributes = _information(handle, win32security.TokenUser)
            sid = _text(user)
            enabled, denials = _groups(_information(handle, win32security.TokenGroups))
            return TokenFacts(
                sid,
                enabled,
                denials,
                is_own_process=statistics["TokenId"] == self._own_token_id,
                is_own_account=sid == self._own_sid,
                level=_level(statistics),
                is_restricted=bool(user_attributes & _FOR_DENY_ONLY) or _has_restricting_sids(handle),
                logon_session=f"{statistics['AuthenticationId'] & 0xFFFF_FFFF_FFFF_FFFF:#x}",
            )

    def _groups(found: Collection[tuple[Any, int]]) -> tuple[frozenset[str], frozenset[str]]:
        """Those that may grant, and those that may only deny: a group that is off can't be a way round a denial."""
        enabled: set[str] = set()
        denials: set[str] = set()
        for group, attributes in found:
            if attributes & _LOGON_ID == _LOGON_ID or attributes & _INTEGRITY:
                continue
            grants = attributes & _GROUP_ENABLED and not attributes & _FOR_DENY_ONLY
            (enabled if grants else denials).add(_text(group))
        return frozenset(enabled), frozenset(denials - enabled)

    def _level(statistics: dict[str, Any]) -> Level:
        if statistics["TokenType"] != _IMPERSONATION:
            return "primary"
        level = statistics["ImpersonationLevel"]
        return _LEVELS[level] if 0 <= level < len(_LEVELS) else "anonymous"

    def _has_restricting_sids(handle: int) -> bool:
        try:
            return bool(_information(handle, _TOKEN_RESTRICTED_SIDS))
        except pywintypes.error as error:
            if error.winerror in _NOT_OFFERED:
                return False  # a system without such tokens: Wine
            raise

    def _information(handle: int, kind: int) -> Any:
        return win32security.GetTokenInformation(handle, kind)

    def _text(sid: Any) -> str:
        return str(win32security.ConvertSidToStringSid(sid))

    def _close(handle: int) -> None:
        """What can't be closed could be named again by somebody else, so its facts must not count.

        Raises:
            NotAToken: it can't.
        """
        try:
            win32api.CloseHandle(handle)
        except pywintypes.error as error:
            raise NotAToken(f"a token that can't be closed (error {error.winerror})") from None

    def _reason(error: pywintypes.error) -> str:
        if error.winerror == _INVALID_HANDLE:
            return "no object has this handle, or one that is not a token"
        if error.winerror == _ACCESS_DENIED:
            return "a handle without the right to read it as a token"
        return f"what Windows does not read as a token (error {error.winerror})"

    @contextmanager
    def _translated() -> Iterator[None]:
        try:
            yield
        except pywintypes.error as error:
            raise OSError(0, error.strerror, None, error.winerror) from None
