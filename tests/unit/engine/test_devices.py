"""Versions that share a device: turns by weight, no idle room, nothing left over."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchgate.contract.back_end import Artifact
from torchgate.contract.decision import ModelRef
from torchgate.contract.tensors import Signature
from torchgate.engine.devices import Device, Devices, DeviceUser, Started


class Version:
    """As a dispatcher: batches that want to run, and as many replicas as its artifact says."""

    def __init__(
        self,
        device: Device,
        name: str,
        *,
        weight: float = 1.0,
        batch_s: float = 0.1,
        threads: int = 1,
        replicas: int = 1,
    ) -> None:
        artifact = Artifact(
            ModelRef(name, "1"), "class", "", "", "", Signature((), ()), 8, replicas=replicas, threads=threads
        )
        self.device = device
        self.user = DeviceUser(artifact, weight, self.pump)
        self.name = name
        self.batch_s = batch_s
        self.waiting = 0
        self.running: list[Started] = []

    def want(self, batches: int) -> None:
        self.waiting += batches
        self.pump()

    def pump(self) -> None:
        while self.waiting and len(self.running) < self.user.artifact.replicas and self.device.may_start(self.user):
            self.waiting -= 1
            self.running.append(self.device.start(self.user))

    def end(self, used_s: float | None = None) -> None:
        self.device.end(self.user, self.running.pop(0), self.batch_s if used_s is None else used_s)
        self.pump()
        self.device.pass_on(self.user)


def used_time(versions: list[Version], rounds: int) -> Counter[str]:
    """Run one batch after the other on a device with room for one; all always want more."""
    used: Counter[str] = Counter()
    for version in versions:
        version.want(rounds)
    for _ in range(rounds):
        (runs,) = [version for version in versions if version.running]
        used[runs.name] += 1
        runs.end()
    return Counter({version.name: used[version.name] * version.batch_s for version in versions})


def test_weights_divide_a_device_whatever_a_batch_takes():
    device = Device(1)
    versions = [Version(device, "a", weight=3.0, batch_s=0.05), Version(device, "b", batch_s=0.2)]
    used = used_time(versions, 2000)
    assert used["a"] / used["b"] == pytest.approx(3.0, rel=0.05)


def test_a_version_alone_is_never_held_back():
    alone = Version(Device(2), "a", threads=2, replicas=4)
    alone.want(4)
    assert len(alone.running) == 4


def test_where_there_is_room_for_all_nobody_waits():
    device = Device(2)
    versions = [Version(device, "a"), Version(device, "b")]
    for version in versions:
        version.want(1)
    assert [len(version.running) for version in versions] == [1, 1]


def test_a_version_that_needs_the_whole_processor_gets_its_turn_among_small_ones():
    device = Device(2)
    small = [Version(device, name) for name in "ab"]
    large = Version(device, "large", threads=2)
    for version in small:
        version.want(100)
    large.want(1)
    small[0].end()
    assert not large.running
    small[1].end()
    assert large.running


def test_who_was_idle_has_saved_nothing():
    device = Device(1)
    early, late = Version(device, "early"), Version(device, "late")
    early.want(100)
    for _ in range(50):
        early.end()
    late.want(100)
    order = []
    for _ in range(10):
        runs = early if early.running else late
        order.append(runs.name)
        runs.end()
    assert Counter(order) == {"early": 5, "late": 5}


def test_a_lost_batch_gives_its_room_back_and_is_paid():
    device = Device(1)
    dying, other = Version(device, "dying"), Version(device, "other")
    dying.want(10)
    other.want(10)
    dying.end(used_s=5.0)
    for _ in range(5):
        assert other.running
        other.end()


def test_a_version_that_took_back_its_wish_keeps_nobody_waiting():
    device = Device(2)
    a, b, large = Version(device, "a"), Version(device, "b"), Version(device, "large", threads=2)
    a.want(1)
    large.want(1)
    b.want(1)
    assert not b.running, "the large one is before it"
    large.waiting = 0
    device.withdraw(large.user)
    assert b.running


def test_an_unloaded_version_leaves_nothing_behind():
    device = Device(1)
    a, b = Version(device, "a"), Version(device, "b")
    a.want(1)
    b.want(1)
    device.leave(b.user)
    device.leave(b.user)
    a.end()
    assert not b.running
    a.want(1)
    assert a.running


def test_cuda_is_the_first_cuda_device():
    def on(device: str) -> Artifact:
        return Artifact(ModelRef("m", "1"), "class", "", "", "", Signature((), ()), 8, device=device)

    devices = Devices(4)
    assert devices.of(on("cuda")) is devices.of(on("cuda:0"))
    assert devices.of(on("cuda:1")) is not devices.of(on("cuda:0"))
    assert devices.of(on("cpu")) is devices.of(on("cpu"))


EVENTS = st.lists(st.tuples(st.sampled_from(["want", "end", "withdraw"]), st.integers(0, 3)), max_size=60)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_room_is_never_exceeded_and_never_idle_while_somebody_wants_it(events: list[tuple[str, int]]):
    device = Device(2)
    versions = [
        Version(device, "a"), Version(device, "b", replicas=2), Version(device, "c", threads=2),
        Version(device, "d", weight=5.0),
    ]  # fmt: skip
    for what, index in events:
        version = versions[index]
        if what == "want":
            version.want(1)
        elif what == "end" and version.running:
            version.end()
        elif what == "withdraw":
            version.waiting = 0
            device.withdraw(version.user)
        occupied = sum(len(one.running) * one.user.units for one in versions)
        assert occupied <= 2
        assert occupied or not any(one.waiting for one in versions)
    while any(version.running for version in versions):
        next(version for version in versions if version.running).end()
    assert not any(version.waiting for version in versions)
    assert not any(version.user.is_active for version in versions)
