"""Each platform runs all tests that belong to it: the others are deselected, and nothing is skipped in silence.

A test marked `linux` or `windows` is deselected on the other system; the mark must say why. In a CI run (CI=true)
a test that is skipped all the same fails the run, unless its reason begins with one of ALLOWED_REASONS.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator

import pytest
from tests.rigs.control_groups import missing


def _is_wine() -> bool:
    return sys.platform == "win32" and hasattr(ctypes.windll.ntdll, "wine_get_version")


def _lacks_controllers() -> bool:
    return sys.platform == "win32" or bool(missing("memory", "pids", "cpu"))


ALLOWED_REASONS: dict[str, Callable[[], bool]] = {
    "Wine: ": _is_wine,  # what Wine lacks and Windows has, e.g. enforced memory limits of a job
    "needs cgroup v2: ": _lacks_controllers,  # those tests run in user-mode Linux all the same
    "needs a GPU: ": lambda: True,
    "needs root: ": lambda: sys.platform != "win32" and os.geteuid() != 0,
}
"""What a skip's reason may begin with, and where that is accepted."""

_unexcused: dict[str, str] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what belongs to the other system."""
    foreign = "linux" if sys.platform == "win32" else "windows"
    for item in items:
        for mark in (*item.iter_markers("linux"), *item.iter_markers("windows")):
            reason = mark.args[0] if mark.args else mark.kwargs.get("reason", "")
            if not reason:
                raise pytest.UsageError(f"{item.nodeid}: the mark `{mark.name}` needs a reason.")
    kept = [item for item in items if item.get_closest_marker(foreign) is None]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note skips that nobody allowed."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(report.nodeid, report.longrepr)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note whole files that were skipped."""
    if report.skipped:
        _note(report.nodeid, report.longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail the run for what was skipped without an excuse; only CI is so strict."""
    if _unexcused and os.environ.get("CI", "").lower() in {"1", "true"} and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped without an excuse."""
    if _unexcused:
        terminalreporter.section("skipped without an allowed reason: this fails a CI run")
        for nodeid, reason in _unexcused.items():
            terminalreporter.line(f"{nodeid}: {reason}")


def _note(nodeid: str, longrepr: object) -> None:
    reason = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not any(reason.startswith(prefix) and holds() for prefix, holds in ALLOWED_REASONS.items()):
        _unexcused[nodeid] = reason
