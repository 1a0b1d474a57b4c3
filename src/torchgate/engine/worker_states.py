"""A worker's life as a table. All of it is here: no other file says what may follow on what.

starting → standby → loading → warming → ready ⇄ busy → draining → stopped, and failed from anywhere
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"  # its process runs; torch is being imported
    STANDBY = "standby"  # torch is imported; it waits for a model
    LOADING = "loading"  # loads its model
    WARMING = "warming"  # runs it on made-up input
    READY = "ready"  # waits for a batch
    BUSY = "busy"  # runs one
    DRAINING = "draining"  # was told to stop; may finish what it runs
    STOPPED = "stopped"  # ended, as it was told
    FAILED = "failed"  # ended, or was killed, for a reason of its own


class WorkerEvent(StrEnum):
    """What happens to a worker."""

    SAID_HELLO = "said hello"
    GOT_LOAD = "got a model to load"
    LOADED = "loaded"
    WARMED_UP = "answered its warm-up"
    REFUSED_LOAD = "could not load"
    GOT_RUN = "got a batch"
    NEEDED_SPACE = "needed space"
    DONE_RUN = "was done with a batch"
    GOT_STOP = "was told to stop"
    MISBEHAVED = "broke the rules or a time limit"
    ENDED = "ended"


S, E = WorkerState, WorkerEvent

TRANSITIONS: Mapping[tuple[WorkerState, WorkerEvent], WorkerState] = {
    (S.STARTING, E.SAID_HELLO): S.STANDBY,
    (S.STANDBY, E.GOT_LOAD): S.LOADING,
    (S.LOADING, E.LOADED): S.WARMING,
    (S.LOADING, E.REFUSED_LOAD): S.DRAINING,
    (S.WARMING, E.WARMED_UP): S.READY,
    (S.WARMING, E.REFUSED_LOAD): S.DRAINING,
    (S.READY, E.GOT_RUN): S.BUSY,
    (S.BUSY, E.NEEDED_SPACE): S.BUSY,
    (S.BUSY, E.DONE_RUN): S.READY,
    (S.STARTING, E.GOT_STOP): S.DRAINING,
    (S.STANDBY, E.GOT_STOP): S.DRAINING,
    (S.LOADING, E.GOT_STOP): S.DRAINING,
    (S.WARMING, E.GOT_STOP): S.DRAINING,
    (S.READY, E.GOT_STOP): S.DRAINING,
    (S.BUSY, E.GOT_STOP): S.DRAINING,
    (S.DRAINING, E.GOT_STOP): S.DRAINING,
    # What was on its way when it was told to stop.
    (S.DRAINING, E.SAID_HELLO): S.DRAINING,
    (S.DRAINING, E.LOADED): S.DRAINING,
    (S.DRAINING, E.WARMED_UP): S.DRAINING,
    (S.DRAINING, E.REFUSED_LOAD): S.DRAINING,
    (S.DRAINING, E.NEEDED_SPACE): S.DRAINING,
    (S.DRAINING, E.DONE_RUN): S.DRAINING,
    (S.DRAINING, E.ENDED): S.STOPPED,
    (S.STARTING, E.ENDED): S.FAILED,
    (S.STANDBY, E.ENDED): S.FAILED,
    (S.LOADING, E.ENDED): S.FAILED,
    (S.WARMING, E.ENDED): S.FAILED,
    (S.READY, E.ENDED): S.FAILED,
    (S.BUSY, E.ENDED): S.FAILED,
    (S.FAILED, E.ENDED): S.FAILED,
    (S.STARTING, E.MISBEHAVED): S.FAILED,
    (S.STANDBY, E.MISBEHAVED): S.FAILED,
    (S.LOADING, E.MISBEHAVED): S.FAILED,
    (S.WARMING, E.MISBEHAVED): S.FAILED,
    (S.READY, E.MISBEHAVED): S.FAILED,
    (S.BUSY, E.MISBEHAVED): S.FAILED,
    (S.DRAINING, E.MISBEHAVED): S.FAILED,
}
"""What is not here must not happen: a worker that does it has misbehaved."""

OVER = frozenset({WorkerState.STOPPED, WorkerState.FAILED})
"""Nothing is heard of it any more."""


def after(state: WorkerState, event: WorkerEvent) -> WorkerState | None:
    """The state that follows, or None where this must not happen in this state."""
    return TRANSITIONS.get((state, event))
