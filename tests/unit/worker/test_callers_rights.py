import threading

import pytest
from tests.fakes.impersonation import FakeImpersonation, ProcessEnded

from torchgate.contract.caller_tokens import CannotImpersonate
from torchgate.contract.model import Batch, NoCaller
from torchgate.worker.callers_rights import CallersRights

ANN, TOKEN = "S-1-5-21-1-2-3-1001", 8


class Run:
    """One run, as the loop and the model see it."""

    def __init__(self, *, weak: bool = False) -> None:
        self.system = FakeImpersonation({TOKEN: ANN}, weak=frozenset({TOKEN} if weak else ()))
        self.rights = CallersRights(self.system, TOKEN)
        self.batch = Batch({}, 1, (), (), 0.0, self.rights)

    def who(self) -> str:
        return self.system.acting.get(threading.get_ident(), "the server")


def test_the_rights_are_the_blocks_alone():
    run = Run()
    with run.batch.as_caller():
        assert run.who() == ANN
    assert run.who() == "the server"
    run.rights.end()
    assert run.system.given_back == [TOKEN]


def test_a_block_can_be_entered_again_and_again():
    run = Run()
    for _ in range(3):
        with run.batch.as_caller():
            assert run.who() == ANN
    run.rights.end()


def test_a_block_that_raises_is_left():
    run = Run()
    with pytest.raises(ValueError, match="marked"), run.batch.as_caller():
        raise ValueError("marked")
    assert run.who() == "the server"
    run.rights.end()


def test_each_thread_has_a_block_of_its_own():
    run = Run()
    said = []

    def work() -> None:
        said.append(run.who())
        with run.batch.as_caller():
            said.append(run.who())

    with run.batch.as_caller():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert said == ["the server", ANN]
    run.rights.end()


def test_a_made_up_input_has_no_caller():
    batch = Batch({}, 1, (), (), 0.0)
    assert not batch.has_caller
    with pytest.raises(NoCaller, match="has_caller"):
        batch.as_caller()


def test_nothing_of_a_block_runs_where_windows_gives_no_rights():
    run = Run(weak=True)
    ran = []
    with pytest.raises(CannotImpersonate), run.batch.as_caller():
        ran.append(run.who())
    assert not ran
    run.rights.end()


@pytest.mark.identity_case("impersonation", "a block that a model enters after the run", "no rights")
def test_rights_end_with_the_run():
    run = Run()
    block = run.batch.as_caller()
    run.rights.end()
    with pytest.raises(NoCaller, match="is over"), block:
        pass
    with pytest.raises(NoCaller), run.batch.as_caller():
        pass
    assert run.who() == "the server"


def test_a_thread_that_enters_late_never_gets_a_number_that_is_something_elses_by_then():
    """The attacker's model starts a thread that enters blocks without end, through the end of the run."""
    run = Run()
    seen: list[str] = []
    began = threading.Event()

    def work() -> None:
        try:
            while True:
                with run.batch.as_caller():
                    began.set()
        except (NoCaller, CannotImpersonate) as error:
            seen.append(type(error).__name__)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(120)
    try:
        run.rights.end()
    except ProcessEnded:
        seen.append("ended")  # it stood in a block at that moment
        run.rights._is_over = True
    thread.join(120)
    assert seen[0] in ("NoCaller", "ended")
    assert "CannotImpersonate" not in seen


@pytest.mark.identity_case("impersonation", "a model that does not leave its block", "the worker ends")
def test_a_block_that_is_open_when_the_run_is_over_ends_the_process():
    run = Run()
    run.batch.as_caller().__enter__()
    with pytest.raises(ProcessEnded, match="1 blocks"):
        run.rights.end()


def test_a_thread_that_acts_by_its_own_doing_ends_the_process():
    run = Run()
    run.system.acting[0] = "somebody"
    with pytest.raises(ProcessEnded, match="1 of its threads"):
        run.rights.end()


def test_a_block_left_by_another_thread_ends_the_process():
    run = Run()
    block, said = run.batch.as_caller(), []
    block.__enter__()

    def leave() -> None:
        with pytest.raises(ProcessEnded, match="another thread"):
            block.__exit__(None, None, None)
        said.append("ended")

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert said == ["ended"]


@pytest.mark.identity_case("impersonation", "a revert that fails", "the worker ends")
def test_a_revert_that_fails_ends_the_process():
    run = Run()
    with pytest.raises(ProcessEnded):  # noqa: SIM117 - the end comes when the inner block is left
        with run.batch.as_caller():
            run.system.cannot_end = True


def test_one_block_is_entered_once():
    run = Run()
    block = run.batch.as_caller()
    with block:
        pass
    with pytest.raises(RuntimeError, match="entered already"):
        block.__enter__()
    assert run.who() == "the server"
    run.rights.end()
