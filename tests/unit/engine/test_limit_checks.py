"""What `check` says about limits of workers."""

from __future__ import annotations

from torchgate.contract.back_end import Artifact
from torchgate.contract.decision import ModelRef
from torchgate.contract.tensors import Signature
from torchgate.contract.worker_limits import WorkerLimits
from torchgate.engine.limit_checks import engine_limit_checks, limit_checks
from torchgate.engine.settings import EngineSettings


def settings_found(system: str, controllers: tuple[str, ...] = (), **limits: object) -> list[tuple[str, str]]:
    artifact = Artifact(ModelRef("m", "1"), "class", "m/1", "", "", Signature((), ()), 0, limits=WorkerLimits(**limits))
    return [(one.severity, one.setting) for one in limit_checks(artifact, controllers, system=system, processors=4)]


def test_what_linux_does_not_hold_is_a_warning_there_alone():
    limits = {"processes": 3, "cpu_percent": 50, "memory_bytes": 1 << 30}
    assert settings_found("nt", **limits) == []
    assert settings_found("posix", **limits) == [
        ("warning", "resources.max_processes"),
        ("warning", "resources.max_cpu_percent"),
    ]


def test_control_groups_hold_on_linux_what_they_have_a_controller_for():
    limits = {"processes": 3, "cpu_percent": 50}
    assert settings_found("posix", ("pids", "memory"), **limits) == [("warning", "resources.max_cpu_percent")]
    assert settings_found("posix", ("pids", "cpu"), **limits) == []


def test_a_processor_that_is_not_there_is_an_error():
    assert settings_found("posix", processors=(0, 3)) == []
    assert settings_found("posix", processors=(0, 4)) == [("error", "resources.processors")]


def test_what_the_engine_says_for_all_models_is_said_once_where_it_is_not_held():
    engine = EngineSettings(worker_max_processes=9, worker_max_cpu_percent=40)
    found = [one.setting for one in engine_limit_checks(engine, ("cpu",), system="posix")]
    assert found == ["engine.worker_max_processes"]
    assert list(engine_limit_checks(engine, (), system="nt")) == []
    assert list(engine_limit_checks(EngineSettings(), (), system="posix")) == []
