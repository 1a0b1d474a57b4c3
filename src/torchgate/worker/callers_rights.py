"""The rights of the caller whose rows run now, for the model's code to use while they do, and not a moment longer."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType

from torchgate.contract.caller_tokens import Impersonation
from torchgate.contract.model import NoCaller


class CallersRights:
    """Implements contract.model.LendsRights for one run.

    Args:
        impersonation: of this process.
        token: lent for this run; closed by `end`.
    """

    def __init__(self, impersonation: Impersonation, token: int) -> None:
        self._impersonation = impersonation
        self._token = token
        self._lock = threading.Lock()
        self._is_over = False
        self._acting = 0

    def acting(self) -> AbstractContextManager[None]:
        """A block in which the thread that enters it, and no other, acts as the caller.

        Entering raises NoCaller once the run is over, and CannotImpersonate where Windows does not give the rights.
        """
        return _Acting(self)

    def end(self) -> None:
        """The run is over: nobody gets these rights any more, and the process ends if somebody has kept them."""
        with self._lock:
            self._is_over = True
            kept = f"{self._acting} blocks of `as_caller`" if self._acting else ""
        kept = kept or self._impersonation.who_still_acts()
        if kept:
            self._impersonation.end_process(f"the model has answered, and {kept} still had its caller's rights")
        self._impersonation.give_back(self._token)

    def enter(self) -> None:
        """This thread acts as the caller from here on."""
        # Held all the way: `end` must not close the token in between, and its number be something else's by then.
        with self._lock:
            if self._is_over:
                raise NoCaller("the run of these rows is over, and with it the use of their caller's rights")
            self._impersonation.begin(self._token)
            self._acting += 1

    def leave(self, entered_by: int) -> None:
        """This thread is itself again."""
        if threading.get_ident() != entered_by:
            self._impersonation.end_process("`as_caller` was left by another thread than had entered it")
        self._impersonation.end()
        with self._lock:
            self._acting -= 1


class _Acting:
    """One block; a class of its own, because a generator that is thrown away would be left by whoever collects it.

    Args:
        rights: that it is about.
    """

    def __init__(self, rights: CallersRights) -> None:
        self._rights = rights
        self._entered_by = 0

    def __enter__(self) -> None:
        if self._entered_by:
            raise RuntimeError("this block was entered already; ask as_caller() for another one")
        self._rights.enter()
        self._entered_by = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rights.leave(self._entered_by)
