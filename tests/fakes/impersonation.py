"""Threads that act as somebody else, as Windows has them; verified by the suite that the real ones pass."""

from __future__ import annotations

import threading
from typing import NoReturn

from torchgate.contract.caller_tokens import CannotImpersonate


class ProcessEnded(BaseException):
    """What would have been this process's end: no Exception, because the model's code must not catch it."""


class FakeImpersonation:
    """Implements contract.caller_tokens.Impersonation over threads of this process.

    Args:
        users: number of a token that was lent -> its user.
        weak: numbers of those that only name their user.
        why_not: what keeps this process from acting as anybody.
    """

    def __init__(self, users: dict[int, str], *, weak: frozenset[int] = frozenset(), why_not: str = "") -> None:
        self.users = users
        self.weak = weak
        self.why_not = why_not
        self.acting: dict[int, str] = {}
        """Thread -> whom it acts as."""
        self.given_back: list[int] = []
        self.cannot_end = False

    def obstacle(self) -> str:
        return self.why_not

    def user_of(self, token: int) -> str:
        if token not in self.users:
            raise CannotImpersonate("what was lent is no token (error 6)")
        return self.users[token]

    def begin(self, token: int) -> None:
        if threading.get_ident() in self.acting:
            raise CannotImpersonate("this thread acts as somebody already")
        user = self.user_of(token)
        if token in self.weak:
            raise CannotImpersonate("Windows gave the caller's name without its rights (identification)")
        self.acting[threading.get_ident()] = user

    def end(self) -> None:
        if self.cannot_end:
            self.end_process("a thread could not be made itself again")
        self.acting.pop(threading.get_ident(), None)

    def who_still_acts(self) -> str:
        return f"{len(self.acting)} of its threads" if self.acting else ""

    def give_back(self, token: int) -> None:
        if self.users.pop(token, None) is None:
            self.end_process("a caller's token can't be closed")
        self.given_back.append(token)

    def end_process(self, why: str) -> NoReturn:
        raise ProcessEnded(why)
