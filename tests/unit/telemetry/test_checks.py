"""What `check` says about the audit settings."""

from __future__ import annotations

from pathlib import Path

from torchgate.telemetry.checks import checks
from torchgate.telemetry.settings import AuditSettings


def test_defaults_in_a_writable_place_are_fine(tmp_path: Path) -> None:
    assert list(checks(AuditSettings(), tmp_path / "audit")) == []


def test_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "audit").touch()
    (finding,) = checks(AuditSettings(), tmp_path / "audit")
    assert (finding.severity, finding.setting) == ("error", "audit.folder")


def test_weak_durability_of_refusals_is_a_warning(tmp_path: Path) -> None:
    (finding,) = checks(AuditSettings(durability_refused="bounded"), tmp_path)
    assert (finding.severity, finding.setting) == ("warning", "audit.durability_refused")
