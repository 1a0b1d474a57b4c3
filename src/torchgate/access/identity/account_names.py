"""Names of SIDs, for people: looked up aside, never waited for."""

from __future__ import annotations

import functools

import msgspec

from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.contract.clock import Clock
from torchgate.contract.windows_tokens import WindowsAccounts

MAX_NAME_CHARACTERS = 128
_REFRESH_S = 3600.0  # an account may be renamed
_RETRY_S = 60.0  # where nobody could be asked


class _Known(msgspec.Struct, frozen=True):
    name: str
    until: float


class AccountNames:
    """Remembers names, the latest of them.

    Args:
        accounts: asked on a thread of its own.
        thread: of its own.
        clock: seconds, monotonic.
        max_names: remembered.

    Thread/process: `name_of` on the event loop; the thread writes what it learns.
    """

    def __init__(
        self, accounts: WindowsAccounts, thread: LookupThread, clock: Clock, *, max_names: int = 10_000
    ) -> None:
        self._accounts = accounts
        self._thread = thread
        self._clock = clock
        self._max_names = max_names
        self._known: dict[str, _Known] = {}
        self._asked: set[str] = set()

    def name_of(self, sid: str) -> str:
        """Its name, or the SID itself until that is known."""
        known = self._known.get(sid)
        if (known is None or self._clock() >= known.until) and sid not in self._asked:
            self._asked.add(sid)
            if not self._thread.ask(functools.partial(self._learn, sid)):
                self._asked.discard(sid)
        return sid if known is None else known.name

    def _learn(self, sid: str) -> None:
        """On the thread."""
        before = self._known.get(sid)
        name, valid_s = sid if before is None else before.name, _RETRY_S
        try:
            name, valid_s = cleaned_name(self._accounts.by_sid(sid).name) or sid, _REFRESH_S
        except LookupError:
            name, valid_s = sid, _REFRESH_S
        except Exception:  # noqa: BLE001, S110 - a name is for people: whatever fails, the SID does for a while
            pass
        self._known.pop(sid, None)
        while len(self._known) >= self._max_names:
            del self._known[next(iter(self._known))]
        self._known[sid] = _Known(name, self._clock() + valid_s)
        self._asked.discard(sid)


def cleaned_name(name: str) -> str:
    """A name for people and logs: no control characters, and not long."""
    return "".join(c for c in name[:MAX_NAME_CHARACTERS] if c.isprintable())
