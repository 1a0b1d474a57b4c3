"""The circuits of one model version: who is let in, who runs alone, and what the auditor is told."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import CircuitOpen
from torchgate.engine.breaker import Breaker, Entry
from torchgate.engine.settings import EngineSettings
from torchgate.engine.shared import Shared
from torchgate.engine.trial import Trial, Verdict

_log = logging.getLogger("torchgate.engine")

_TRIAL_RETRY_S = 5.0
"""Told to those who come while another request of theirs is on trial."""


class Circuits:
    """Of all principals on one version. Costs nothing while nobody's circuit is open.

    Args:
        ref: the version.
        settings: when a circuit opens, and for how long.
        shared: clock, and who is told.
        on_change: called with the number of circuits that are not closed, when it changes.

    Process: the event loop only.
    """

    def __init__(
        self, ref: ModelRef, settings: EngineSettings, shared: Shared, on_change: Callable[[int], None]
    ) -> None:
        self._ref = ref
        self._settings = settings
        self._on_lifecycle = shared.on_lifecycle
        self._on_change = on_change
        self._clock = shared.clock
        self._breaker = Breaker(settings.circuit_offences, settings.circuit_window_s, settings.circuit_pause_s)

    def refusal(self, key: str, *, is_within: bool = False) -> CircuitOpen | None:
        """Why a request of this principal is not taken now, or None.

        Args:
            is_within: it was let in before, and not on trial: then it is too late for it to become one.
        """
        if not self._breaker.open:
            return None
        entry = self._breaker.entry(key, self._clock())
        if entry is Entry.FREE or (entry is Entry.ALONE and not is_within):
            return None
        after_s = self._breaker.wait_s(key, self._clock()) or _TRIAL_RETRY_S
        told_s = max(1, math.ceil(after_s))
        return CircuitOpen(
            f"Requests of this caller ended the worker of model '{self._ref.name}' version '{self._ref.version}' again "
            f"and again; it takes none of them now. Mend the input, and try one request in {told_s} s.",
            retry_after_s=after_s,
        )

    def trial(self, key: str) -> Trial | None:
        """For a request that is let in: whether it is on trial. Asked right after `refusal`."""
        if not self._breaker.open or self._breaker.entry(key, self._clock()) is not Entry.ALONE:
            return None
        self._breaker.try_one(key)
        return Trial(lambda verdict: self._tried(key, verdict))

    def is_suspicious(self, key: str) -> bool:
        """Whether an offence of this principal is remembered."""
        return self._breaker.has_offended(key, self._clock())

    def offended(self, key: str) -> bool:
        """A request of this principal was proven guilty; True where its circuit opens by it."""
        was_open, opens = self._breaker.open, self._breaker.offended(key, self._clock())
        if was_open != self._breaker.open:
            self._on_change(self._breaker.open)
        if not opens:
            return False
        _log.warning("model %s: the circuit of one principal is open; the audit trail names it.", self._ref)
        settings = self._settings
        self._tell(
            "failure",
            f"The circuit of principal {key} on model {self._ref} is open: {settings.circuit_offences} of its requests "
            f"ended a worker within {settings.circuit_window_s:g} s.",
        )
        return True

    def _tried(self, key: str, verdict: Verdict) -> None:
        """What became of the request that was let in."""
        if verdict is Verdict.NOTHING:
            self._breaker.proved_nothing(key)
        elif verdict is Verdict.GUILTY:
            self._breaker.offended(key, self._clock(), on_trial=True)
        else:
            self._close(key)

    def _close(self, key: str) -> None:
        self._breaker.proved_harmless(key)
        self._on_change(self._breaker.open)
        _log.info("model %s: the circuit of one principal is closed again.", self._ref)
        self._tell("update", f"The circuit of principal {key} on model {self._ref} is closed: its trial was harmless.")

    def _tell(self, activity: str, sentence: str) -> None:
        self._on_lifecycle(LifecycleEvent(time.time(), activity, f"model {self._ref}", sentence))
