"""A secret in the environment has states by its variables' names, and does not exist behind IIS."""

from __future__ import annotations

import pytest

from torchgate.access.secrets.environment import EnvironmentSecret
from torchgate.access.secrets.secret import SecretUnreadable


def test_the_environment_holds_the_value_and_the_other_states() -> None:
    secret = EnvironmentSecret("PEPPER", {"PEPPER": "now", "PEPPER_PREVIOUS": "before", "PEPPER_NEXT": ""}).read()
    assert [(state, one.value) for state, one in secret.by_state()] == [("current", b"now"), ("previous", b"before")]


@pytest.mark.parametrize("environment", [{}, {"PEPPER": ""}, {"PEPPER_NEXT": "x"}])
def test_a_variable_without_a_value_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(SecretUnreadable, match="PEPPER"):
        EnvironmentSecret("PEPPER", environment).read()


@pytest.mark.parametrize("variable", ["ASPNETCORE_TOKEN", "HTTP_PLATFORM_PORT", "_FCGI_X_PIPE_", "aspnetcore_port"])
def test_behind_iis_the_environment_is_no_place_for_a_secret(variable: str) -> None:
    with pytest.raises(SecretUnreadable, match="Behind IIS") as caught:
        EnvironmentSecret("PEPPER", {"PEPPER": "hunter2", variable: "1"}).read()
    assert "hunter2" not in str(caught.value)
