"""`check` says what is wrong with secrets before a server does."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.config import TorchgateSettings, read_configuration
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.secret_places import private_files, secret_checks


def settings(folder: Path, reference: str) -> TorchgateSettings:
    (folder / "torchgate.toml").write_text(f'[secrets]\npepper = "{reference}"\n', encoding="utf-8")
    found = read_configuration(folder).settings
    assert found is not None
    return found


def test_a_file_that_can_be_read_is_no_finding(tmp_path: Path) -> None:
    private_files().write_new(tmp_path / "pepper", b"hunter1")
    assert list(secret_checks(tmp_path, settings(tmp_path, "file:pepper"), {})) == []


def test_a_file_that_is_not_here_is_a_warning_for_it_may_be_on_the_server(tmp_path: Path) -> None:
    (finding,) = secret_checks(tmp_path, settings(tmp_path, "file:pepper"), {})
    assert (finding.severity, finding.setting) == ("warning", "secrets.pepper")
    assert "does not exist" in finding.sentence


def test_a_secret_of_the_environment_says_that_it_counts_until_a_restart(tmp_path: Path) -> None:
    (finding,) = secret_checks(tmp_path, settings(tmp_path, "env:PEPPER"), {"PEPPER": "hunter1"})
    assert finding.severity == "info"
    assert "after a restart alone" in finding.sentence
    assert "hunter" not in str(finding)


@pytest.mark.parametrize("variable", ["ASPNETCORE_PORT", "HTTP_PLATFORM_PORT", "_FCGI_X_PIPE_"])
def test_a_secret_of_the_environment_behind_iis_is_an_error(tmp_path: Path, variable: str) -> None:
    (finding,) = secret_checks(tmp_path, settings(tmp_path, "env:PEPPER"), {"PEPPER": "hunter1", variable: "1"})
    assert finding.severity == "error"
    assert "hunter" not in str(finding)


@pytest.mark.parametrize("door", ["ancm", "httpplatform", "httpplatform-1.2", "fastcgi"])
def test_behind_a_front_door_of_iis_it_is_an_error_wherever_it_is_examined(tmp_path: Path, door: str) -> None:
    assert door in FRONT_DOORS
    plain = settings(tmp_path, "env:PEPPER")
    behind = plain.model_copy(update={"gate": plain.gate.model_copy(update={"front_door": door})})
    (finding,) = secret_checks(tmp_path, behind, {"PEPPER": "hunter1"})
    assert finding.severity == "error"


@pytest.mark.parametrize("reference", ["aws-secretsmanager:a", "azure-keyvault:vault/a"])
def test_a_vault_is_not_asked(tmp_path: Path, reference: str) -> None:
    """`check` has no network."""
    findings = list(secret_checks(tmp_path, settings(tmp_path, reference), {"HTTPS_PROXY": "http://127.0.0.1:1"}))
    assert all("pip install" in finding.sentence for finding in findings)
