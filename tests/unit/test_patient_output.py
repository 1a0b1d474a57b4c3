"""Output that nobody reads: nothing waits for it, nothing fails, and what is lost is said."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from torchgate.patient_output import MAX_WAITING_CHARS, PatientOutput, patient_output

WAIT_S = 120.0


class End:
    """A raw end that takes nothing until it is told to, and then so many bytes at a time."""

    def __init__(self, at_once: int = 1 << 20, fails_with: Exception | None = None) -> None:
        self.taken = b""
        self.is_read = threading.Event()
        self.was_written = threading.Event()
        self._at_once = at_once
        self._fails_with = fails_with
        self._refuses = True

    def write(self, data: bytes, /) -> int | None:
        self.was_written.set()
        assert self.is_read.wait(WAIT_S)
        if self._fails_with is not None:
            raise self._fails_with
        if self._refuses:
            self._refuses = False
            return None
        self.taken += data[: self._at_once]
        return len(data[: self._at_once])


@pytest.fixture
def stream() -> Iterator[io.TextIOWrapper]:
    """Its encoding alone counts: cp1252, as Windows has it for pipes."""
    with io.TextIOWrapper(io.BytesIO(), encoding="cp1252") as stream:
        yield stream


def lines(end: End) -> list[str]:
    return end.taken.decode("cp1252").replace(os.linesep, "\n").splitlines()


def test_what_is_written_arrives_whole_and_in_order(stream: io.TextIOWrapper):
    end = End(at_once=7)
    end.is_read.set()
    output = PatientOutput(stream, end)
    for number in range(2000):
        assert output.write(f"line {number}\n") == len(f"line {number}\n")
    output.flush()
    output.finish(WAIT_S)
    assert lines(end) == [f"line {number}" for number in range(2000)]


def test_what_the_encoding_lacks_is_escaped(stream: io.TextIOWrapper):
    end = End()
    end.is_read.set()
    output = PatientOutput(stream, end)
    output.write("Grüße \U0001f525\n")
    output.finish(WAIT_S)
    assert lines(end) == ["Grüße \\U0001f525"]


def test_nobody_waits_for_a_reader_and_what_is_lost_is_said(stream: io.TextIOWrapper):
    end = End()
    output = PatientOutput(stream, end)
    output.write("first\n")
    assert end.was_written.wait(WAIT_S), "the thread waits in this write now"
    line = "x" * 999 + "\n"
    for _ in range(3 * MAX_WAITING_CHARS // len(line)):
        output.write(line)
    output.finish(0.0)  # returns, although the thread still waits
    end.is_read.set()


def test_lost_lines_are_counted_once_there_is_room_again(stream: io.TextIOWrapper):
    end = End()
    output = PatientOutput(stream, end)
    output.write("first\n")
    assert end.was_written.wait(WAIT_S)
    output.write("y" * MAX_WAITING_CHARS)
    for _ in range(5):
        output.write("lost\n")
    end.is_read.set()
    output.write("")
    output.finish(WAIT_S)
    text = end.taken.decode("cp1252")
    assert "torchgate: 5 lines were lost here" in text
    assert "lost\n" not in text.replace("were lost", "")
    assert text.startswith("first")


@pytest.mark.parametrize("failure", [BrokenPipeError(), OSError(5, "gone"), ValueError("closed")])
def test_a_reader_that_goes_is_no_failure_of_ours(stream: io.TextIOWrapper, failure: Exception):
    end = End(fails_with=failure)
    end.is_read.set()
    output = PatientOutput(stream, end)
    output.write("a\n")
    output.finish(WAIT_S)
    assert output.write("b\n") == 2
    assert end.taken == b""


def test_where_there_is_no_stream_everything_is_taken_and_leads_nowhere(monkeypatch: pytest.MonkeyPatch):
    """Under pythonw.exe there is none, and libraries that write to it must not fail."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with patient_output():
        print("heard by nobody")
        assert sys.stderr.write("neither\n") == 8
        sys.stderr.flush()
        assert (sys.stdout.isatty(), sys.stdout.writable(), sys.stdout.encoding) == (False, True, "utf-8")
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
    assert sys.stdout is None
    assert sys.stderr is None


def test_a_stream_in_memory_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    ours = io.StringIO()
    monkeypatch.setattr(sys, "stdout", ours)
    with patient_output():
        assert sys.stdout is ours


@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_real_pipe_is_replaced_and_given_back(monkeypatch: pytest.MonkeyPatch, is_buffered: bool):
    """With PYTHONUNBUFFERED, which behind IIS is usual, there is no buffer."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read_end:
        end = os.fdopen(writer, "wb") if is_buffered else os.fdopen(writer, "wb", buffering=0)
        with io.TextIOWrapper(end, encoding="utf-8", write_through=not is_buffered) as ours:  # type: ignore[type-var]
            monkeypatch.setattr(sys, "stdout", ours)
            with patient_output():
                assert sys.stdout is not ours
                assert sys.stdout.fileno() == writer
                print("héard")
            assert sys.stdout is ours
        assert read_end.read().decode("utf-8") == f"héard{os.linesep}"
