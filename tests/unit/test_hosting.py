"""When workers may be started behind IIS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from torchgate.composition import ENGINE_STOP_S
from torchgate.engine.local_workers import STOP_GRACE_S as WORKERS_S
from torchgate.gate.early_port import EarlyPort
from torchgate.gate.http_server import STOP_GRACE_S as CANCELLED_S
from torchgate.gate.settings import GateSettings
from torchgate.hosting import Hosting
from torchgate.stop_signals import StopSignals


@pytest.fixture
def number() -> int:
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def port(number: int) -> Iterator[EarlyPort]:
    with EarlyPort({"ASPNETCORE_PORT": str(number)}) as port:
        yield port


async def has_looked(port: EarlyPort) -> None:
    await asyncio.wait_for(Hosting(StopSignals(asyncio.get_running_loop()), port).module_has_looked(), 120)


async def test_a_module_that_connects_has_looked(port: EarlyPort, number: int):
    with socket.create_connection(("127.0.0.1", number), 120):
        await has_looked(port)
        assert port.is_open, "nothing was taken from whoever waits"


async def test_without_a_connection_its_looks_are_waited_for(port: EarlyPort):
    await has_looked(port)
    assert port.since_s >= 1.0


async def test_where_no_module_waits_nobody_else_does():
    with pytest.raises(StopIteration):
        Hosting(StopSignals(asyncio.get_running_loop()), EarlyPort({})).module_has_looked().send(None)


def test_by_default_all_that_a_stop_waits_for_is_over_in_eight_seconds() -> None:
    """IIS's modules kill after ten; what is left is for the end of the audit trail and of the process."""
    assert GateSettings().drain_s + CANCELLED_S + ENGINE_STOP_S + WORKERS_S <= 8
