"""What this operating system has for Kerberos tickets: those of callers, and those of our own user."""

from __future__ import annotations

import sys
from pathlib import Path

from torchgate.access.negotiate_settings import NegotiateSettings
from torchgate.contract.kerberos import KerberosAcceptor, Negotiation


def kerberos_acceptor(settings: NegotiateSettings | None, folder: Path) -> KerberosAcceptor | None:
    """Examines tickets; None where they don't count.

    Args:
        folder: where a relative keytab starts.

    Raises:
        ValueError: it can't be done here; the sentence says why.
    """
    if settings is None:
        return None
    if sys.platform == "win32":
        raise ValueError(
            "[identity.negotiate] is for Linux. On Windows let IIS do Windows authentication: [identity.windows]."
        )
    # Imported here: the room is for its own system alone.
    from torchgate.posix.kerberos import GssapiAcceptor

    return GssapiAcceptor(folder / settings.keytab, settings.service)


def negotiation(host: str) -> Negotiation:
    """Proves the user of this process to a server.

    Args:
        host: of the server, as its URL names it.

    Raises:
        NegotiationFailed: it can't be done here; the text says why.
    """
    # Imported here: each room is for its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.negotiation import SspiNegotiation

        return SspiNegotiation(host)
    from torchgate.posix.negotiation import GssapiNegotiation

    return GssapiNegotiation(host)
