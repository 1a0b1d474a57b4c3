"""What is said of several processes for one application is true of servers with models, and of gates before a pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.iis.test_lint import FACTS, GOOD, GOOD_HOST, findings_of

from torchgate.contract.findings import Finding
from torchgate.engine.link.gate_session import LinkLimits
from torchgate.iis.facts import POOL_GATES, ServerFacts

GATE = GOOD.replace("torchgate serve", "torchgate gate")
OLD = (
    GOOD.replace("aspNetCore", "httpPlatform")
    .replace("AspNetCoreModuleV2", "httpPlatformHandler")
    .replace(' hostingModel="outofprocess"', "")
    .replace(' shutdownTimeLimit="10"', "")
)


def of_processes(folder: Path, web: str, count: str, host: str | None = None) -> list[Finding]:
    """What is found when so many processes share the work."""
    return list(
        findings_of(folder, web.replace("requestTimeout", f'processesPerApplication="{count}" requestTimeout'), host)
    )


@pytest.mark.parametrize("count", ["1", "01", "", "many"])
def test_one_is_as_it_should_be(tmp_path: Path, count: str) -> None:
    assert [one for one in of_processes(tmp_path, GOOD, count) if "processesPerApplication is" in one.sentence] == []


def test_servers_would_hold_the_models_so_often(tmp_path: Path) -> None:
    (found,) = of_processes(tmp_path, GOOD, "2")
    assert found.severity == "error"
    assert "its own models and count its own quotas" in found.sentence
    assert found.line > 1


@pytest.mark.parametrize(
    ("count", "severity"), [("2", "info"), ("8", "info"), ("9", "warning"), ("16", "warning"), ("17", "error")]
)
def test_gates_share_models_and_quotas_as_many_as_a_pool_takes(tmp_path: Path, count: str, severity: str) -> None:
    (found,) = of_processes(tmp_path, GATE, count)
    assert found.severity == severity
    assert f"{count}: so many gates share one pool, its models and its quotas" in found.sentence
    assert ("takes 16 gates" in found.sentence) is (severity != "info")


def test_the_pool_takes_as_many_gates_as_the_linter_says() -> None:
    assert LinkLimits().max_gates == POOL_GATES


def test_they_are_stopped_one_after_the_other(tmp_path: Path) -> None:
    """Twelve times eight seconds are more than the pool's 90."""
    said = [one.sentence for one in of_processes(tmp_path, GATE, "12", GOOD_HOST)]
    assert "shutdownTimeLimit of the pool is 90 s; a stopping server needs 96 s." in said
    said = [one.sentence for one in of_processes(tmp_path, GATE, "8", GOOD_HOST)]
    assert not any("shutdownTimeLimit" in one for one in said)


@pytest.mark.parametrize(
    ("web", "severity", "said"),
    [
        (GOOD, "error", "each would load all models and count its own quotas"),
        (GATE, "warning", "Models and quotas are those of `torchgate pool`"),
    ],
)
def test_a_web_garden_is_told_what_it_has_of_its_own(tmp_path: Path, web: str, severity: str, said: str) -> None:
    host = GOOD_HOST.replace("<processModel ", '<processModel maxProcesses="4" ')
    (found,) = [one for one in findings_of(tmp_path, web, host) if "web garden of 4" in one.sentence]
    assert found.severity == severity
    assert said in found.sentence


def test_a_web_garden_of_none_has_as_many_as_numa_nodes(tmp_path: Path) -> None:
    host = GOOD_HOST.replace("<processModel ", '<processModel maxProcesses="0" ')
    said = [one.sentence for one in findings_of(tmp_path, GOOD, host) if "web garden" in one.sentence]
    assert len(said) == 1
    assert "one process for each NUMA node" in said[0]


def test_version_1_2_loses_what_runs_at_a_recycle_and_the_others_do_not(tmp_path: Path) -> None:
    facts = ServerFacts(front_door="httpplatform-1.2", max_body_bytes=1 << 20, max_timeout_s=60.0)
    said = [one for one in findings_of(tmp_path, OLD, facts=facts) if "without asking it" in one.sentence]
    assert [one.severity for one in said] == ["warning"]
    assert "HttpPlatformHandler v2" in said[0].remedy
    for web, other in ((GOOD, FACTS), (OLD, ServerFacts(front_door="httpplatform"))):
        assert not any("without asking" in one.sentence for one in findings_of(tmp_path, web, facts=other))
