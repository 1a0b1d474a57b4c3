"""What is kept of API keys: in torchgate.toml, and in the file that `torchgate keys` writes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from torchgate.access.names import RoleName
from torchgate.contract.settings_file import SECRET_VALUE, Settings


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise PydanticCustomError(
            SECRET_VALUE, "this is not a SHA-256 in lower-case hex; `torchgate keys new` writes it"
        )
    return text


KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Sha256Hex = Annotated[str, AfterValidator(_sha256)]
KeyName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,128}$")]


class ApiKeySettings(Settings):
    """One API key (`[[identity.api_keys]]`, and `[[keys]]` of keys.toml): never the key itself."""

    id: KeyId
    """Names the key in roles (`key:ID`), audit and the key's own text."""
    sha256: Sha256Hex
    """SHA-256 of the whole key, in lower-case hex."""
    name: KeyName = ""
    """For people."""
    roles: tuple[RoleName, ...] = ()
    """Roles of this key, besides those that `[roles]` gives to its member `key:ID`."""
    expires: AwareDatetime | None = None
    """When the key stops counting, e.g. 2030-01-31T00:00:00Z."""
    previous_sha256: Sha256Hex | None = None
    """The key's former value, accepted until `previous_expires`, so that it can be changed without a gap."""
    previous_expires: AwareDatetime | None = None
    """When the former value stops counting."""

    @model_validator(mode="after")
    def _consistent(self) -> ApiKeySettings:
        if (self.previous_sha256 is None) != (self.previous_expires is None):
            raise ValueError("previous_sha256 and previous_expires are given together or not at all")
        return self


class RevokedKeySettings(Settings):
    """A key that was revoked: its id is never given out again, so that old audit events keep their meaning."""

    id: KeyId
    """As it was; a key of this id in torchgate.toml does not count any more either."""
    at: AwareDatetime
    """When."""
    name: KeyName = ""
    """As it was."""


class KeyFileSettings(Settings):
    """All of keys.toml, which `torchgate keys` writes and a running server reads again when it changes."""

    keys: tuple[ApiKeySettings, ...] = ()
    """Keys that count."""
    revoked: tuple[RevokedKeySettings, ...] = ()
    """Keys that do not any more."""
