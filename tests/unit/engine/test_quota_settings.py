"""What can be written into `[[quotas]]`, and what `check` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.engine_questions import MODELS

from torchgate.config import read_configuration
from torchgate.contract.findings import Finding
from torchgate.engine.checks import checks
from torchgate.engine.quota_settings import QuotaSettings, quota_name
from torchgate.engine.settings import EngineSettings, ModelsSettings

FOLDER = ModelsSettings(folder=MODELS.absolute(), allow_code=("owner",))


def found(*quotas: QuotaSettings) -> list[Finding]:
    every = checks(EngineSettings(), FOLDER, quotas=quotas, roles={"analyst", "auditor"})
    return [one for one in every if one.setting.startswith("quotas")]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": "mine", "role": "analyst"}, "mine"),
        ({"role": "analyst"}, "role analyst"),
        ({"model": "owner"}, "model owner"),
        ({"role": "analyst", "model": "owner"}, "role analyst, model owner"),
        ({"role": "analyst", "shared": True}, "role analyst, shared"),
        ({"principal": "key:ada", "role": "analyst"}, "quotas.3"),
    ],
)
def test_a_quota_is_called_by_what_it_selects_but_never_by_a_principal(fields: Mapping[str, Any], name: str):
    """Names become labels of metrics, and those must not say who somebody is."""
    assert quota_name(QuotaSettings(**fields, rows_per_minute=1), 3) == name


def test_every_mistake_is_named_with_its_line(tmp_path: Path):
    file = tmp_path / "torchgate.toml"
    file.write_text(
        """
[[quotas]]
shared = true
requests_per_minute = 5

[[quotas]]
role = "analyst"

[[quotas]]
rol = "analyst"
model = "digits"
compute_seconds_per_minute = -1

[[quotas]]
model = "digits"
rows_per_minute = 1.5
""",
        encoding="utf-8",
    )
    lines = {(one.setting, one.line) for one in read_configuration(file).findings}
    assert lines == {
        ("quotas.0", 2),
        ("quotas.1", 6),
        ("quotas.2.rol", 10),
        ("quotas.2.compute_seconds_per_minute", 12),
        ("quotas.3.rows_per_minute", 16),
    }


def test_sound_quotas_give_no_finding():
    assert found(
        QuotaSettings(role="analyst", requests_per_minute=1),
        QuotaSettings(role="analyst", shared=True, requests_per_minute=10),
        QuotaSettings(name="bytes", role="analyst", request_bytes_per_minute=10_000),
        QuotaSettings(principal="key:ada", concurrent_requests=1),
        QuotaSettings(principal="key:bob", concurrent_requests=1),
        QuotaSettings(model="owner", compute_seconds_per_minute=0.5),
    ) == []  # fmt: skip


def test_an_unknown_role_is_an_error_because_it_would_limit_nobody():
    (one,) = found(QuotaSettings(role="analist", requests_per_minute=1))
    assert (one.severity, one.setting) == ("error", "quotas.0.role")
    assert one.sentence == "there is no role 'analist'. Did you mean 'analyst'?"


def test_an_unknown_model_is_a_warning_because_it_may_come():
    (one,) = found(QuotaSettings(model="ownr", requests_per_minute=1))
    assert (one.severity, one.setting) == ("warning", "quotas.0.model")
    assert "Did you mean 'owner'?" in one.sentence


@pytest.mark.parametrize("unit", ["requests_per_minute", "rows_per_minute"])
def test_a_quota_whose_burst_holds_no_request_is_an_error(unit: str):
    (one,) = found(QuotaSettings(role="analyst", burst_s=59.9, **{unit: 1}))
    assert (one.severity, one.setting) == ("error", f"quotas.0.{unit}")
    assert "burst_s at least 60" in one.remedy
    assert found(QuotaSettings(role="analyst", burst_s=60.0, **{unit: 1})) == []


def test_fewer_bytes_than_one_row_has_is_a_warning():
    """A row of the owner model is one INT64."""
    (one,) = found(QuotaSettings(model="owner", request_bytes_per_minute=7))
    assert (one.severity, one.setting) == ("warning", "quotas.0.request_bytes_per_minute")
    assert "one row has 8 bytes" in one.sentence


def test_the_same_limit_twice_is_an_error():
    first = QuotaSettings(name="a", role="analyst", requests_per_minute=5, rows_per_minute=5)
    (one,) = found(first, QuotaSettings(name="b", role="analyst", requests_per_minute=9))
    assert (one.severity, one.setting) == ("error", "quotas.1")
    assert "quotas.0" in one.sentence
    assert "requests_per_minute" in one.sentence


def test_the_same_name_twice_is_an_error_given_or_not():
    given = (
        QuotaSettings(name="a", role="analyst", rows_per_minute=1),
        QuotaSettings(name="a", role="auditor", rows_per_minute=1),
    )
    made = (QuotaSettings(role="analyst", rows_per_minute=1), QuotaSettings(role="analyst", concurrent_requests=1))
    assert [(one.severity, one.setting) for one in found(*given)] == [("error", "quotas.1.name")]
    assert [(one.severity, one.remedy) for one in found(*made)] == [("error", "Give this one a name.")]
