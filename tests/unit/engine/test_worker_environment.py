"""What a worker may know of the server's environment."""

from __future__ import annotations

from torchgate.engine.worker_environment import ALLOWED, fair_threads, worker_environment
from torchgate.iis_commands import CACHES

PARENT = {
    "PATH": "/bin",
    "SystemRoot": r"C:\Windows",
    "KMP_AFFINITY": "disabled",
    "ASPNETCORE_TOKEN": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "TORCHGATE_GATE_BIND": "127.0.0.1:80",
    "PYTHONPATH": "/evil",
    "HF_TOKEN": "secret",
    "TORCH_HOME": "/caches/torch",
    "OMP_NUM_THREADS": "64",
}


def test_secrets_of_the_server_are_withheld():
    """A model author's code finds no credential of the server in its environment."""
    given = worker_environment(PARENT, (), 2)
    assert "secret" not in given.values()
    assert not {"PYTHONPATH", "TORCHGATE_GATE_BIND", "HF_TOKEN"} & set(given)


def test_what_programs_need_is_passed_whatever_its_case():
    given = worker_environment(PARENT, (), 2)
    assert (given["PATH"], given["SystemRoot"], given["KMP_AFFINITY"]) == ("/bin", r"C:\Windows", "disabled")


def test_libraries_find_the_caches_that_the_server_was_given():
    """An application pool's identity has no profile; what `iis render` names must reach the workers."""
    assert worker_environment(PARENT, (), 2)["TORCH_HOME"] == "/caches/torch"
    assert set(CACHES) <= ALLOWED


def test_the_settings_can_allow_more():
    assert worker_environment(PARENT, ("pythonpath",), 2)["PYTHONPATH"] == "/evil"


def test_the_thread_budget_is_ours_and_idle_threads_sleep():
    given = worker_environment(PARENT, ("OMP_NUM_THREADS",), 3)
    assert (given["OMP_NUM_THREADS"], given["MKL_NUM_THREADS"]) == ("3", "3")
    assert (given["OMP_WAIT_POLICY"], given["KMP_BLOCKTIME"]) == ("PASSIVE", "0")


def test_processors_are_shared_and_nobody_has_none():
    assert [fair_threads(8, workers) for workers in (0, 1, 2, 3, 8, 100)] == [8, 8, 4, 2, 1, 1]
