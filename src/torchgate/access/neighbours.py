"""What access needs of other rooms and of this system, given by whoever composes the server."""

from __future__ import annotations

import msgspec

from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.contract.kerberos import KerberosAcceptor
from torchgate.contract.windows_tokens import WindowsAccounts


class AccessNeighbours(msgspec.Struct, frozen=True):
    """Neighbours of access; each is None where there is none.

    Args:
        secrets: those of `[secrets]`, started.
        windows_accounts: names and SIDs; None on every system but Windows.
        kerberos: examines tickets; None where `[identity.negotiate]` is not set.
    """

    secrets: LiveSecrets | None = None
    windows_accounts: WindowsAccounts | None = None
    kerberos: KerberosAcceptor | None = None
