"""A process's handle table, and accounts, as Windows has them; verified by the suite that the real ones pass."""

from __future__ import annotations

import msgspec

from torchgate.contract.windows_tokens import Account, NotAToken, Taken, TokenFacts

OWN_SID = "S-1-5-21-10-20-30-1000"
_FIRST_SPECIAL_HANDLE = 2**31


class FakeObject(msgspec.Struct, frozen=True):
    """Something open: a token, where it has facts.

    Args:
        facts: what its reader gets; None: no token.
        can_be_read: the handle has the right to.
        fails: reading it fails after it has proven to be a token.
        mark: of what tells it from other tokens with the same facts.
    """

    facts: TokenFacts | None = None
    can_be_read: bool = True
    fails: bool = False
    mark: str = ""


class FakeKept:
    """Implements contract.caller_tokens.CallerToken.

    Args:
        tokens: whose handle table it lies in.
        handle: there.
        likeness: as the contract says.
    """

    def __init__(self, tokens: FakeTokens, handle: int, likeness: str) -> None:
        self.tokens = tokens
        self.handle = handle
        self.likeness = likeness

    @property
    def is_open(self) -> bool:
        return self.handle in self.tokens.open

    def close(self) -> None:
        self.tokens.open.pop(self.handle, None)
        self.tokens.kept.discard(self.handle)


class FakeTokens:
    """Implements contract.windows_tokens.WindowsTokens over a handle table of its own."""

    def __init__(self) -> None:
        self.open: dict[int, FakeObject] = {}
        self.closings: list[int] = []
        self.kept: set[int] = set()
        self._next = 4

    def put(self, thing: FakeObject) -> int:
        """Duplicate something into this process, as IIS does; the handle."""
        self._next += 4
        self.open[self._next] = thing
        return self._next

    def take(self, handle: int) -> TokenFacts:
        handle &= ~3
        thing = self.open.get(handle) if 0 < handle < _FIRST_SPECIAL_HANDLE and handle not in self.kept else None
        if thing is None or thing.facts is None or not thing.can_be_read:
            raise NotAToken("no object has this handle, or one that is not a token")
        del self.open[handle]
        self.closings.append(handle)
        if thing.fails:
            raise NotAToken("a token of which Windows gives no facts")
        return thing.facts

    def take_and_keep(self, handle: int) -> Taken:
        thing = self.open.get(handle & ~3)
        facts = self.take(handle)
        if facts.level in ("anonymous", "identification"):
            return Taken(facts, None, "the Windows token can't be impersonated (error 1346)")
        number = self.put(FakeObject(facts))
        self.kept.add(number)
        return Taken(facts, FakeKept(self, number, f"{facts}{thing.mark if thing else ''}"))


class FakeAccounts:
    """Implements contract.windows_tokens.WindowsAccounts.

    Args:
        accounts: all there are.
    """

    def __init__(self, *accounts: Account) -> None:
        self.accounts = accounts
        self.fails: Exception | None = None
        self.questions: list[str] = []

    def own_sid(self) -> str:
        return OWN_SID

    def by_name(self, name: str) -> Account:
        return self._first(name, [one for one in self.accounts if one.name.casefold() == name.casefold()])

    def by_sid(self, sid: str) -> Account:
        return self._first(sid, [one for one in self.accounts if one.sid == sid])

    def _first(self, asked: str, found: list[Account]) -> Account:
        self.questions.append(asked)
        if self.fails is not None:
            raise self.fails
        if not found:
            raise LookupError(f"no account is called {asked!r}")
        return found[0]
