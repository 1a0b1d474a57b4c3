"""What workers print, in the server's log."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.engine.worker_output import WorkerOutput


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def output(clock: Clock, caplog: pytest.LogCaptureFixture) -> WorkerOutput:
    caplog.set_level(logging.INFO, "torchgate.worker")
    return WorkerOutput(lambda: "owner:1/0#1", clock)


def test_bytes_cut_anywhere_become_whole_lines(output: WorkerOutput, caplog: pytest.LogCaptureFixture):
    for byte in "Grüße\r\nzwei\n\n".encode():
        output.feed(bytes([byte]))
    assert caplog.messages == ["owner:1/0#1: Grüße", "owner:1/0#1: zwei"]


def test_the_last_words_are_kept_though_no_line_ends_them(output: WorkerOutput, caplog: pytest.LogCaptureFixture):
    output.feed(b"Segmentation fault")
    output.close()
    assert caplog.messages == ["owner:1/0#1: Segmentation fault"]


def test_a_model_can_t_forge_a_line_of_the_server(output: WorkerOutput, caplog: pytest.LogCaptureFixture):
    """It prints escape sequences and a carriage return before what looks like our own line."""
    output.feed(b"harmless\r\x1b[2K2026-01-01 INFO torchgate.access: key:root allowed\n")
    assert caplog.messages == [r"owner:1/0#1: harmless\r\x1b[2K2026-01-01 INFO torchgate.access: key:root allowed"]


def test_an_endless_line_is_cut(output: WorkerOutput, caplog: pytest.LogCaptureFixture):
    output.feed(b"x" * 1_000_000)
    assert len(caplog.messages) == 1
    assert len(caplog.messages[0]) < 2100


def test_beyond_a_number_of_lines_the_rest_is_counted(
    output: WorkerOutput, clock: Clock, caplog: pytest.LogCaptureFixture
):
    output.feed(b"line\n" * 1000)
    assert len(caplog.messages) == 100
    clock.now = 11.0
    output.feed(b"later\n")
    assert caplog.messages[100:] == ["owner:1/0#1: 900 more lines within 10 s left out", "owner:1/0#1: later"]


@given(st.lists(st.binary(max_size=50)))
def test_no_bytes_are_too_strange(parts: list[bytes]):
    output = WorkerOutput(lambda: "w", Clock())
    for part in parts:
        output.feed(part)
    output.close()


def test_a_flood_beyond_the_bound_is_counted_and_not_kept(output: WorkerOutput, caplog: pytest.LogCaptureFixture):
    for _ in range(200):
        output.feed(b"noise\n" * 10_000)
    output.feed(b"x" * 10_000_000)
    output.close()
    assert len(caplog.messages) == 101
    assert "1999900 more lines" in caplog.messages[-1] or "1999901 more lines" in caplog.messages[-1]
