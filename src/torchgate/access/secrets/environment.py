"""A secret in the environment: `NAME`, beside it `NAME_PREVIOUS` and `NAME_NEXT` while the value changes."""

from __future__ import annotations

from collections.abc import Mapping

from torchgate.access.secrets.secret import Secret, SecretUnreadable, SecretValue

FRONT_DOOR_VARIABLES = ("ASPNETCORE_", "HTTP_PLATFORM_", "_FCGI_")
"""What IIS's modules put into the environment of what they start."""


def behind_iis(environment: Mapping[str, str]) -> list[str]:
    """The variables that say that IIS started us."""
    return sorted(name for name in environment if name.upper().startswith(FRONT_DOOR_VARIABLES))


class EnvironmentSecret:
    """Implements SecretSource by variables of this process, which nobody can change from outside.

    Args:
        name: of the variable.
        environment: of this process.
    """

    changes = False
    is_near = True

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.reference = f"env:{name}"
        self._name = name
        self._environment = environment

    def read(self) -> Secret:
        """The values there."""
        if found := behind_iis(self._environment):
            raise SecretUnreadable(
                f"Behind IIS a secret can't be in the environment, and this one has {found[0]}: its values stand in "
                "web.config or IIS's own configuration, readable for more accounts than ours. Use file:PATH or a vault."
            )
        current = self._value("")
        if current is None:
            raise SecretUnreadable(
                f"The environment variable {self._name} is not set or empty. Set it to the secret's value."
            )
        return Secret(current, self._value("_PREVIOUS"), self._value("_NEXT"))

    def _value(self, suffix: str) -> SecretValue | None:
        value = self._environment.get(f"{self._name}{suffix}")
        return SecretValue(value.encode("utf-8", "surrogateescape"), "of this start") if value else None
