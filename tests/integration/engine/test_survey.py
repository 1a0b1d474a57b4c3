"""The throw-away process that says what an installation is: the real one here, and broken ones."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rigs.local_workers import PACKAGE_FOLDER, Children
from tests.rigs.loop_clock import LoopClock
from tests.rigs.processes import has_ended

from torchgate import __version__
from torchgate.contract.os_services import ChannelReceiver, Child, ChildSpec
from torchgate.contract.survey import CANARY_OPERATIONS
from torchgate.engine.pin.compare import mismatches
from torchgate.engine.pin.lock import lock_of
from torchgate.engine.pin.surveyor import MODULE, SurveyEnded, Surveyor
from torchgate.engine.worker_environment import worker_environment

HERE = Path(__file__).parents[3]
LIMIT_S = 240.0
CANARY, TORCH = "computing the canary on cuda:0", "importing torch"


class NotedChildren:
    """The real children, and the processes that they were.

    Args:
        hangs_at: what a process says that it does when it hangs: from then on its time is over.
    """

    def __init__(self, hangs_at: str = "") -> None:
        self._children = Children(module_folders=(PACKAGE_FOLDER, HERE))
        self._hangs_at = hangs_at
        self.pids: list[int] = []

    async def start(self, spec: ChildSpec, receiver: ChannelReceiver, on_output: Callable[[bytes], None]) -> Child:
        child = await self._children.start(spec, Overheard(receiver, self._hangs_at), on_output)
        self.pids.append(child.pid)
        return child

    def close(self) -> None:
        self._children.close()


class Overheard:
    """Puts the loop's clock beyond the limit when a process has said what it hangs in."""

    def __init__(self, receiver: ChannelReceiver, hangs_at: str) -> None:
        self._receiver = receiver
        self._sought = hangs_at.encode()
        self._said = bytearray()
        self._clock = LoopClock()
        self.channel_closed = receiver.channel_closed

    def data_received(self, data: bytes) -> None:
        self._receiver.data_received(data)
        self._said += data
        if self._sought and self._sought in self._said:
            self._clock.forward(LIMIT_S)
            self._sought = b""


def surveyor(*, breaks: str = "", hangs_at: str = "") -> tuple[Surveyor, NotedChildren]:
    children = NotedChildren(hangs_at)
    environment = worker_environment(os.environ, (), 2) | ({"TEST_BREAKS": breaks} if breaks else {})
    module = "tests.rigs.broken_surveyor" if breaks else MODULE
    return Surveyor(lambda: children, environment, LIMIT_S, module=module), children


@pytest.mark.torch_start
@pytest.mark.timeout(900)
async def test_this_installation_is_found_out_and_is_what_its_own_lock_says():
    surveying, children = surveyor()
    first = await surveying.survey(None)
    facts = first.facts
    assert (facts.torchgate, facts.python.version) == (__version__, platform.python_version())
    assert facts.torch.version == importlib.metadata.version("torch") or "+" in facts.torch.version
    assert facts.wheels["msgspec"].version == importlib.metadata.version("msgspec")
    assert sorted(first.canaries["cpu"]) == list(CANARY_OPERATIONS)
    assert first.failures == {}
    second = await surveying.survey(["cpu", "cuda:7"])
    assert second.failures == {"cuda:7": "there is no such device"}
    lock = lock_of(facts, first.canaries, {})
    assert mismatches(lock, lock_of(second.facts, {"cpu": second.canaries["cpu"]}, {}), second.troubles) == ()
    assert all(has_ended(pid) for pid in children.pids), "they are thrown away"


@pytest.mark.parametrize("how", ["hangs", "dies", "babbles"])
async def test_a_device_that_breaks_the_process_is_named_and_the_rest_is_known(how: str):
    surveying, children = surveyor(breaks=f"canary:{how}", hangs_at=CANARY if how == "hangs" else "")
    seen = await surveying.survey(["cuda:0"])
    what = {
        "hangs": "took longer than 240 s and was ended",
        "dies": "ended",
        "babbles": "sent what is no message of ours",
    }
    assert seen.facts.torch.version == "2.11.0+cu130"
    assert seen.canaries == {}
    assert seen.failures["cuda:0"].startswith(f"the throw-away process {what[how]}")
    assert seen.failures["cuda:0"].endswith(f"while it was {CANARY}")
    assert seen.troubles == {"canary.cuda:0": seen.failures["cuda:0"]}
    assert all(has_ended(pid) for pid in children.pids)


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        ("torch:hangs", "took longer than 240 s and was ended while it was importing torch"),
        ("torch:dies", "ended while it was importing torch"),
        ("start:babbles", "sent what is no message of ours"),
        ("start:dies", "ended while it was starting"),
    ],
)
async def test_a_process_that_breaks_before_it_knows_anything_is_told_by_what_it_was_doing(breaks: str, words: str):
    surveying, children = surveyor(breaks=breaks, hangs_at=TORCH if breaks.endswith("hangs") else "")
    with pytest.raises(SurveyEnded) as ended:
        await surveying.survey(None)
    assert words in str(ended.value)
    if breaks.endswith("dies"):
        assert "c10::Error" in " ".join(ended.value.printed)
    assert all(has_ended(pid) for pid in children.pids)


async def test_where_no_process_can_be_started_that_is_told():
    environment = worker_environment(os.environ, (), 1)
    children = Children(module_folders=(PACKAGE_FOLDER,))

    class NoChildren:
        async def start(self, *arguments) -> Child:
            raise OSError(12, "Cannot allocate memory")

        def close(self) -> None:
            children.close()

    with pytest.raises(SurveyEnded, match="no process could be started: Cannot allocate memory"):
        await Surveyor(NoChildren, environment, 5).survey(None)
