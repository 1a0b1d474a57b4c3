"""The rule of 16 processes."""

from __future__ import annotations

import pytest

from torchgate.gate.job_check import MAX_JOB_PROCESSES, job_check


@pytest.mark.parametrize("processes", [None, 2, MAX_JOB_PROCESSES])
def test_what_the_module_accepts_is_not_mentioned(processes: int | None):
    assert list(job_check(processes)) == []


def test_what_it_does_not_is_said_with_the_remedy():
    (finding,) = job_check(17)
    assert finding.severity == "warning"
    assert "17 processes" in finding.sentence
    assert "processPath" in finding.remedy
