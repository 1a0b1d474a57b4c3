"""Secrets are found by reference, have states, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.access.secrets.reference import SecretReference, parse_reference, read_secret
from torchgate.access.secrets.secret import Secret, SecretUnreadable


def test_references_name_a_source_and_a_place() -> None:
    assert parse_reference("file:a/b.txt") == SecretReference("file", "a/b.txt")
    assert parse_reference("file:C:\\keys\\a") == SecretReference("file", "C:\\keys\\a")
    assert parse_reference("env:NAME") == SecretReference("env", "NAME")


@pytest.mark.parametrize("text", ["", "hunter2", "hunter2:x", "file:", "env: ", ":x"])
def test_what_is_no_reference_is_a_mistake_that_does_not_repeat_it(text: str) -> None:
    """Somebody wrote the secret itself; it must not appear in a log."""
    with pytest.raises(ValueError, match="secret reference") as caught:
        parse_reference(text)
    assert "hunter2" not in str(caught.value)


def test_a_file_holds_the_value_and_its_neighbours_the_other_states(tmp_path: Path) -> None:
    folder = tmp_path / "ä ö"
    folder.mkdir()
    (folder / "pepper").write_bytes(b"now\r\n")
    (folder / "pepper.next").write_bytes(b"soon\n")
    secret = read_secret(SecretReference("file", "ä ö/pepper"), folder=tmp_path, environment={})
    assert secret == Secret(b"now", None, b"soon")
    assert secret.accepted == (b"now", b"soon")


def test_the_environment_holds_the_value_and_the_other_states() -> None:
    environment = {"PEPPER": "now", "PEPPER_PREVIOUS": "before", "PEPPER_NEXT": ""}
    secret = read_secret(SecretReference("env", "PEPPER"), folder=Path(), environment=environment)
    assert secret == Secret(b"now", b"before", None)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"x" * 65_537])
def test_a_file_without_a_usable_value_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pepper").write_bytes(content)
    with pytest.raises(SecretUnreadable, match="pepper"):
        read_secret(SecretReference("file", "pepper"), folder=tmp_path, environment={})


@pytest.mark.parametrize("environment", [{}, {"PEPPER": ""}, {"PEPPER_NEXT": "x"}])
def test_a_variable_without_a_value_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(SecretUnreadable, match="PEPPER"):
        read_secret(SecretReference("env", "PEPPER"), folder=Path(), environment=environment)


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SecretUnreadable):
        read_secret(SecretReference("file", "."), folder=tmp_path, environment={})


def test_a_secret_is_never_shown() -> None:
    secret = Secret(b"hunter2", b"hunter1")
    assert "hunter" not in f"{secret!r} {secret} {[secret]}"
