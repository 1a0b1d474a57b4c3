"""Methods of the engine by name over the wire."""

from __future__ import annotations

import inspect

import msgspec
import pytest
from tests.fakes.in_process_engine import InProcessEngine, describe_model, forever

from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import Engine
from torchgate.engine.link.calls import asked_methods
from torchgate.engine.link.remote_engine import RemoteEngine
from torchgate.engine.link.wire import LinkBroken


def test_every_awaited_method_of_the_engine_is_forwarded_with_the_same_arguments():
    for name, method in asked_methods().items():
        ours = inspect.signature(getattr(RemoteEngine, name))
        assert list(ours.parameters) == list(inspect.signature(getattr(Engine, name)).parameters), method.name


async def test_a_method_is_called_as_if_it_were_here():
    engine = InProcessEngine()
    engine.add(describe_model("m", (), ()), forever)
    method = asked_methods()["statistics"]
    answer = await method.call(engine, method.write_arguments((ModelRef("m", "1"),), {}))
    assert method.read_answer(answer) == await engine.statistics(ModelRef("m", "1"))
    assert method.read_answer(await method.call(engine, method.write_arguments((ModelRef("m", "2"),), {}))) is None


@pytest.mark.parametrize("arguments", [[], [1], [["m"]], [["m", "1"], 2], {"ref": 1}, None])
async def test_arguments_that_do_not_fit_never_reach_the_engine(arguments: object):
    method = asked_methods()["statistics"]
    with pytest.raises(LinkBroken):
        await method.call(InProcessEngine(), msgspec.Raw(msgspec.msgpack.encode(arguments)))


def test_an_answer_that_does_not_fit_is_refused():
    with pytest.raises(LinkBroken):
        asked_methods()["statistics"].read_answer(msgspec.Raw(b"\x01"))
