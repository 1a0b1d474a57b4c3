"""Kerberos on our own socket (`[identity.negotiate]`), on Linux."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from torchgate.contract.settings_file import Settings

Realm = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,253}$")]


class NegotiateSettings(Settings):
    """Kerberos tickets as credentials (`Authorization: Negotiate`)."""

    keytab: Path
    """The service's keys, readable for the server's account alone; new keys in it count at once."""
    service: Annotated[str, StringConstraints(pattern=r"^([A-Za-z]+/[A-Za-z0-9.-]+@[A-Za-z0-9.-]+)?$")] = ""
    """The one service that callers may ask for, `HTTP/web.corp.example@CORP.EXAMPLE`; empty: any of the keytab."""
    realms: tuple[Realm, ...] = ()
    """Realms of callers besides the service's own, letter for letter; others are refused, trusted or not."""
