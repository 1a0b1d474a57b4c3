"""The proof of this process's user for one server, by Windows itself (SSPI, package Negotiate)."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import pywintypes
    import sspi
    import sspicon

    from torchgate.contract.kerberos import NegotiationFailed

    _FLAGS = sspicon.ISC_REQ_MUTUAL_AUTH | sspicon.ISC_REQ_INTEGRITY | sspicon.ISC_REQ_CONFIDENTIALITY
    """Without ISC_REQ_DELEGATE: nobody gets this user's rights to go on with."""

    class SspiNegotiation:
        """Implements Negotiation. Windows chooses between Kerberos and, where it has none for the host, NTLM.

        After NTLM it is complete, too, which proves no server: gate.negotiating lets that go by TLS alone.

        Args:
            host: of the server, as the URL names it.

        Raises:
            NegotiationFailed: Windows has no such package.
        """

        def __init__(self, host: str) -> None:
            self._service = f"HTTP/{host}"
            try:
                self._client = sspi.ClientAuth("Negotiate", targetspn=self._service, scflags=_FLAGS)
            except pywintypes.error as error:
                raise NegotiationFailed(self._why(error)) from None

        @property
        def is_complete(self) -> bool:
            """Whether both ends are proven."""
            return bool(self._client.authenticated)

        def step(self, token: bytes | None) -> bytes:
            """What to send next."""
            try:
                _, said = self._client.authorize(token)
            except pywintypes.error as error:
                raise NegotiationFailed(self._why(error)) from None
            return bytes(said[0].Buffer)

        def _why(self, error: pywintypes.error) -> str:
            code = error.winerror & 0xFFFF_FFFF
            return (
                f"Windows gives no proof of this user for {self._service}: {error.strerror.strip(' .')} "
                f"(0x{code:08X}). `klist` shows the tickets that there are"
            )
