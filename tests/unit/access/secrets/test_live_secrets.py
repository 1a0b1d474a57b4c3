"""Secrets are there from the start, are refreshed in the background, and survive an outage of their store."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from torchgate.access.secret_settings import SecretRefreshSettings
from torchgate.access.secrets.live_secrets import LiveSecrets, SecretsMissing
from torchgate.access.secrets.secret import Secret, SecretUnreadable, SecretValue

SETTINGS = SecretRefreshSettings(interval_s=300.0, file_interval_s=10.0, timeout_s=60.0)
IMPATIENT = SecretRefreshSettings(interval_s=300.0, file_interval_s=10.0, timeout_s=1.0)


class Store:
    """A source that answers as it is told."""

    def __init__(self, answer: Callable[[], Secret], *, changes: bool = True, is_near: bool = False) -> None:
        self.reference = "file:there"
        self.changes = changes
        self.is_near = is_near
        self.answer = answer
        self.reads = 0

    def read(self) -> Secret:
        self.reads += 1
        return self.answer()


def fixed(*values: str, expires_at: float | None = None) -> Callable[[], Secret]:
    secret = Secret(*(SecretValue(value.encode(), f"of {value[-1]}", expires_at=expires_at) for value in values))
    return lambda: secret


def failing(error: Exception) -> Callable[[], Secret]:
    def fail() -> Secret:
        raise error

    return fail


class Rig:
    def __init__(self, settings: SecretRefreshSettings = SETTINGS, /, **stores: Store) -> None:
        self.now = 1000.0
        self.changes: list[tuple[str, str]] = []
        self.secrets = LiveSecrets(
            stores,
            settings,
            clock=lambda: self.now,
            wall_clock=lambda: self.now,
            jitter=lambda: 1.0,
            on_change=lambda name, versions: self.changes.append((name, versions)),
        )


async def test_a_secret_that_is_not_there_keeps_the_server_from_starting_and_all_are_named() -> None:
    rig = Rig(
        one=Store(fixed("hunter1")),
        two=Store(failing(SecretUnreadable("The file x does not exist."))),
        three=Store(failing(RuntimeError("hunter2 in a library's text"))),
    )
    with pytest.raises(SecretsMissing) as caught:
        await rig.secrets.start()
    sentence = str(caught.value)
    assert "secrets.two (file:there): The file x does not exist." in sentence
    assert "secrets.three (file:there): Reading failed in an unexpected way (RuntimeError)." in sentence
    assert "torchgate secrets status" in sentence
    assert "hunter" not in sentence
    assert caught.value.__cause__ is None


async def test_a_store_that_hangs_does_not_hang_the_start() -> None:
    released = threading.Event()

    def hang() -> Secret:
        released.wait(120)
        return fixed("hunter1")()

    store = Store(hang)
    rig = Rig(IMPATIENT, one=store)
    with pytest.raises(SecretsMissing, match="no answer within 1 s"):
        await rig.secrets.start()
    released.set()


async def test_while_a_read_hangs_no_second_one_begins(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(fixed("hunter1"))
    rig = Rig(IMPATIENT, one=store)
    await rig.secrets.start()
    released = threading.Event()

    def hang() -> Secret:
        released.wait(120)
        return fixed("hunter9")()

    store.answer = hang
    await rig.secrets.refresh("one")
    await rig.secrets.refresh("one")
    assert store.reads == 2
    assert rig.secrets.get("one").current() == b"hunter1"
    assert "no answer within 1 s" in next(rig.secrets.statuses()).failure
    released.set()
    await rig.secrets.refresh("one")
    assert rig.secrets.get("one").current() == b"hunter9"
    assert store.reads == 2
    await rig.secrets.stop()
    assert "hunter" not in caplog.text


async def test_the_one_who_asks_for_an_unknown_secret_is_told_the_nearest() -> None:
    rig = Rig(pepper=Store(fixed("hunter1")))
    await rig.secrets.start()
    with pytest.raises(ValueError, match="Did you mean 'pepper'"):
        rig.secrets.get("peper")
    await rig.secrets.stop()
    with pytest.raises(ValueError, match="is empty"):
        Rig().secrets.get("pepper")


async def test_a_rotation_is_picked_up_and_told_by_its_versions_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "torchgate.access")
    store = Store(fixed("hunter1"))
    rig = Rig(pepper=store)
    await rig.secrets.start()
    live = rig.secrets.get("pepper")
    store.answer = fixed("hunter2", "hunter1")
    await rig.secrets.refresh("pepper")
    assert (live.current(), live.accepts(b"hunter1")) == (b"hunter2", True)
    store.answer = fixed("hunter2")
    await rig.secrets.refresh("pepper")
    assert not live.accepts(b"hunter1")
    assert rig.changes == [("pepper", "current of 2, previous of 1"), ("pepper", "current of 2")]
    await rig.secrets.refresh("pepper")
    assert len(rig.changes) == 2
    await rig.secrets.stop()
    assert "current of 2, previous of 1" in caplog.text
    assert "hunter" not in caplog.text


@pytest.mark.parametrize("error", [SecretUnreadable("Access is denied."), ValueError("hunter2")])
async def test_an_outage_keeps_what_was_read_and_shows(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(fixed("hunter1"))
    rig = Rig(pepper=store)
    await rig.secrets.start()
    store.answer = failing(error)
    rig.now += 300
    await rig.secrets.refresh("pepper")
    await rig.secrets.refresh("pepper")
    status = next(rig.secrets.statuses())
    assert rig.secrets.get("pepper").accepts(b"hunter1")
    assert (status.age_s, status.failures, bool(status.failure)) == (300.0, 2, True)
    assert "what was read 300 s ago goes on to count" in caplog.text
    store.answer = fixed("hunter1")
    await rig.secrets.refresh("pepper")
    status = next(rig.secrets.statuses())
    assert (status.age_s, status.failures, status.failure) == (0.0, 2, "")
    await rig.secrets.stop()
    assert "hunter" not in caplog.text


async def test_what_expires_during_an_outage_is_accepted_no_more() -> None:
    store = Store(fixed("hunter1", expires_at=1100.0))
    rig = Rig(pepper=store)
    await rig.secrets.start()
    assert rig.secrets.delay_s("pepper") == 100.0
    assert next(rig.secrets.statuses()).expires_in_s == 100.0
    store.answer = failing(SecretUnreadable("Out of reach."))
    rig.now = 1100.0
    await rig.secrets.refresh("pepper")
    assert not rig.secrets.get("pepper").accepts(b"hunter1")
    await rig.secrets.stop()


async def test_a_failing_store_is_asked_more_often_and_a_file_more_often_still() -> None:
    store, file = Store(fixed("hunter1")), Store(fixed("hunter1"), is_near=True)
    rig = Rig(far=store, near=file)
    await rig.secrets.start()
    assert (rig.secrets.delay_s("far"), rig.secrets.delay_s("near")) == (300.0, 10.0)
    store.answer = file.answer = failing(SecretUnreadable("Out of reach."))
    delays = []
    for _ in range(8):
        await rig.secrets.refresh("far")
        delays.append(rig.secrets.delay_s("far"))
    assert delays == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    for _ in range(8):
        await rig.secrets.refresh("near")
    assert rig.secrets.delay_s("near") == 10.0
    await rig.secrets.stop()


async def test_the_background_refresh_goes_on_through_failures_and_ends_when_told() -> None:
    store = Store(fixed("hunter1"))
    settings = SecretRefreshSettings(interval_s=1.0, timeout_s=60.0)
    secrets = LiveSecrets({"pepper": store}, settings, jitter=lambda: 0.0)
    changed = asyncio.Event()
    await secrets.start()
    secrets.get("pepper").on_change(changed.set)
    outcomes = iter([SecretUnreadable("Out of reach."), KeyError("hunter2")])

    def twice_failing() -> Secret:
        error = next(outcomes, None)
        if error is not None:
            raise error
        return fixed("hunter2")()

    store.answer = twice_failing
    async with asyncio.timeout(120):
        await changed.wait()
    assert secrets.get("pepper").current() == b"hunter2"
    await secrets.stop()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("secret")] == []


async def test_what_cannot_change_is_read_once_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "torchgate.access")
    rig = Rig(pepper=Store(fixed("hunter1"), changes=False))
    await rig.secrets.start()
    assert next(rig.secrets.statuses()).next_refresh_s is None
    assert "counts after a restart alone" in caplog.text
    await rig.secrets.stop()
