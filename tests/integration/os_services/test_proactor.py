"""What the named pipes use of asyncio's own: not public, so that a new Python may take it away."""

from __future__ import annotations

import asyncio
import inspect

import pytest

pytestmark = pytest.mark.windows("its event loop")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("accept_pipe", ["pipe"]), ("recv", ["conn", "nbytes", "flags"]), ("send", ["conn", "buf", "flags"])],
)
def test_the_proactor_has_what_the_pipes_call(name: str, parameters: list[str]):
    """Where this fails, torchgate.windows.local_pipes and peer_channel need other calls with this Python."""
    proactor = getattr(asyncio, "IocpProactor")()  # noqa: B009 - not there on Linux
    try:
        assert list(inspect.signature(getattr(proactor, name)).parameters) == parameters
    finally:
        proactor.close()


def test_the_loop_gives_it_away():
    loop = getattr(asyncio, "ProactorEventLoop")()  # noqa: B009 - not there on Linux
    try:
        assert isinstance(loop._proactor, getattr(asyncio, "IocpProactor"))  # noqa: B009
        transport = list(inspect.signature(loop._make_duplex_pipe_transport).parameters)
        assert transport[:2] == ["sock", "protocol"]
    finally:
        loop.close()
