"""The table of a worker's life."""

from __future__ import annotations

import itertools

from torchgate.engine.worker_states import OVER, TRANSITIONS, WorkerEvent, WorkerState, after


def test_a_worker_lives_as_the_diagram_says():
    state = WorkerState.STARTING
    way = [
        WorkerEvent.SAID_HELLO, WorkerEvent.GOT_LOAD, WorkerEvent.LOADED, WorkerEvent.WARMED_UP, WorkerEvent.GOT_RUN,
        WorkerEvent.NEEDED_SPACE,
        WorkerEvent.DONE_RUN, WorkerEvent.GOT_RUN, WorkerEvent.GOT_STOP, WorkerEvent.DONE_RUN, WorkerEvent.ENDED,
    ]  # fmt: skip
    for event in way:
        following = after(state, event)
        assert following is not None
        state = following
    assert state is WorkerState.STOPPED


def test_every_state_can_be_reached_and_every_living_one_can_be_left_by_death():
    assert {*TRANSITIONS.values(), WorkerState.STARTING} == set(WorkerState)
    for state in set(WorkerState) - OVER:
        assert after(state, WorkerEvent.ENDED) in OVER
        assert after(state, WorkerEvent.MISBEHAVED) is WorkerState.FAILED


def test_nothing_leaves_what_is_over():
    for state, event in itertools.product(OVER, WorkerEvent):
        assert after(state, event) in (None, state)


def test_a_worker_that_has_nothing_to_run_can_t_be_done_with_it():
    for state in set(WorkerState) - {WorkerState.BUSY, WorkerState.DRAINING}:
        assert after(state, WorkerEvent.DONE_RUN) is None


def test_only_a_ready_worker_gets_a_batch():
    assert [state for state in WorkerState if after(state, WorkerEvent.GOT_RUN)] == [WorkerState.READY]
