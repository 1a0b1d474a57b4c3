"""Threads as their callers: the real thing and the fake pass the same suite; ends of processes stand at its end."""

import subprocess
import sys
import threading

import pytest
from tests.rigs.lent_tokens import Desk, FakeDesk

from torchgate.contract.caller_tokens import CannotImpersonate

if sys.platform == "win32":
    from tests.rigs.lent_tokens import RealDesk

    DESKS = [FakeDesk, RealDesk]
else:
    DESKS = [FakeDesk]


@pytest.fixture(params=DESKS)
def desk(request) -> Desk:
    return request.param()


def test_this_account_can_act_as_others(desk: Desk):
    assert desk.impersonation.obstacle() == ""


def test_a_thread_is_its_caller_from_begin_to_end(desk: Desk):
    token = desk.lend()
    assert desk.impersonation.user_of(token) == desk.own_sid
    desk.impersonation.begin(token)
    assert desk.acts()
    assert desk.impersonation.who_still_acts() == "1 of its threads"
    desk.impersonation.end()
    assert not desk.acts()
    assert desk.impersonation.who_still_acts() == ""
    desk.impersonation.give_back(token)


@pytest.mark.identity_case("impersonation", "a token that only names its user, lent to a worker", "no rights")
def test_a_name_without_rights_is_not_acted_on(desk: Desk):
    """Windows gives no error, but less: a model that went on would act as nobody, or as the server."""
    token = desk.lend(weak=True)
    with pytest.raises(CannotImpersonate, match="identification"):
        desk.impersonation.begin(token)
    assert not desk.acts()
    desk.impersonation.give_back(token)


def test_what_is_no_token_makes_nobody_of_a_thread(desk: Desk):
    for number in (0x7FFF_FFF0, 0):
        with pytest.raises(CannotImpersonate):
            desk.impersonation.begin(number)
        assert not desk.acts()


def test_a_thread_acts_as_one_at_a_time(desk: Desk):
    """Else the end of the inner one would make the outer one's rest act as the server."""
    first, second = desk.lend(), desk.lend()
    desk.impersonation.begin(first)
    with pytest.raises(CannotImpersonate, match="already"):
        desk.impersonation.begin(second)
    assert desk.acts()
    desk.impersonation.end()
    for token in (first, second):
        desk.impersonation.give_back(token)


def test_another_thread_is_itself_and_is_found_where_it_is_not(desk: Desk):
    token, stop, began = desk.lend(), threading.Event(), threading.Event()

    def act() -> None:
        desk.impersonation.begin(token)
        began.set()
        stop.wait(240)
        desk.impersonation.end()

    thread = threading.Thread(target=act)
    thread.start()
    assert began.wait(120)
    assert desk.impersonation.who_still_acts() == "1 of its threads"
    if isinstance(desk, FakeDesk):
        assert threading.get_ident() not in desk._fake.acting
    else:
        assert not desk.acts()
    stop.set()
    thread.join()
    assert desk.impersonation.who_still_acts() == ""
    desk.impersonation.give_back(token)


def test_what_was_given_back_is_no_token_any_more(desk: Desk):
    token = desk.lend()
    desk.impersonation.give_back(token)
    with pytest.raises(CannotImpersonate):
        desk.impersonation.begin(token)


PROGRAM = """
import threading
from tests.rigs.lent_tokens import RealDesk
from torchgate.contract.model import Batch
from torchgate.worker.callers_rights import CallersRights

desk = RealDesk()
rights = CallersRights(desk.impersonation, desk.lend())
batch = Batch({}, 1, (), (), 0.0, rights)

def enter():
    block = batch.as_caller()
    block.__enter__()
    return block

def elsewhere(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


@pytest.mark.windows("a process ends")
@pytest.mark.identity_case("impersonation", "a thread that acts as the caller when its run is over", "the process ends")
@pytest.mark.parametrize(
    "misuse",
    [
        "enter()",  # a block that is never left
        "block = enter(); elsewhere(lambda: block.__exit__(None, None, None))",  # … or left by another thread
        (
            "stay = threading.Event(); began = threading.Event(); threading.Thread(target=lambda: "
            "(enter(), began.set(), stay.wait()), daemon=True).start(); began.wait()"
        ),  # … or in one that another stays
        "import win32security as w; w.ImpersonateSelf(w.SecurityImpersonation)",  # … around our own block
        "import win32api; win32api.CloseHandle(rights._token)",  # what it was lent, closed by the model
    ],
)
def test_a_process_that_is_not_itself_when_a_run_is_over_ends_at_once(misuse: str):
    ended = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}\n{misuse}\nrights.end()\nprint('went on')"],
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (71, b""), ended.stderr
    assert b"so that nothing more runs with a caller's rights" in ended.stderr
