"""Being told to stop by signals, as Ctrl+C, a service manager and IIS's module do it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from torchgate.stop_signals import StopSignals

NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def _handlers_are_given_back() -> Iterator[None]:
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_heard_while_the_loop_sleeps(name: str):
    """On Windows SIGBREAK is what IIS's module sends where its request to stop was not answered."""

    async def server(stop: StopSignals) -> str:
        asyncio.get_running_loop().call_soon(signal.raise_signal, getattr(signal, name))
        await asyncio.wait_for(stop.wait(), 120)
        return "stopped"

    with asyncio.Runner() as runner:
        stop = StopSignals(runner.get_loop())
        stop.install()
        assert runner.run(server(stop)) == "stopped"


def test_it_may_be_asked_from_any_thread_and_more_than_once():
    async def server(stop: StopSignals) -> None:
        await asyncio.to_thread(stop.ask_from_anywhere)
        await asyncio.wait_for(stop.wait(), 120)
        stop.ask()

    with asyncio.Runner() as runner:
        stop = StopSignals(runner.get_loop())
        runner.run(server(stop))
    stop.ask_from_anywhere()  # the loop has ended, and nothing happens


def test_windows_knows_ctrl_break():
    assert ("SIGBREAK" in NAMES) == hasattr(signal, "CTRL_BREAK_EVENT")
