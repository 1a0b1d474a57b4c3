"""What a console's events do to a server. That Windows sends them was not seen under Wine, which sends none."""

from __future__ import annotations

import sys
import threading

import pytest

if sys.platform == "win32":
    import win32con

    from torchgate.windows.console_events import ConsoleEvents

pytestmark = pytest.mark.windows("no other system has consoles that send such events")

WAIT_S = 120.0


def test_a_console_that_closes_waits_until_the_server_has_stopped():
    asked = threading.Event()
    events = ConsoleEvents(asked.set)
    handled: list[bool] = []
    window = threading.Thread(target=lambda: handled.append(events.handle(win32con.CTRL_CLOSE_EVENT)))
    window.start()
    assert asked.wait(WAIT_S)
    assert handled == [], "Windows would end the process now"
    events.close()
    window.join(WAIT_S)
    assert handled == [True]


def test_somebody_who_logs_off_ends_no_server():
    asked = threading.Event()
    events = ConsoleEvents(asked.set)
    try:
        assert events.handle(win32con.CTRL_LOGOFF_EVENT) is True
        assert not asked.is_set()
    finally:
        events.close()


@pytest.mark.parametrize("event", [0, 1])
def test_ctrl_c_and_ctrl_break_stay_signals(event: int):
    events = ConsoleEvents(lambda: None)
    try:
        assert events.handle(event) is False
    finally:
        events.close()
