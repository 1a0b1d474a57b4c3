"""The ticket of this process's user for one server, by the system's GSSAPI library (MIT)."""

from __future__ import annotations

from typing import Any

from torchgate.contract.kerberos import NegotiationFailed
from torchgate.posix.kerberos import NTLM, SPNEGO, KerberosUnavailable, library, words_of


class GssapiNegotiation:
    """Implements Negotiation. Rights are never delegated, and nothing but Kerberos is spoken.

    Args:
        host: of the server, as the URL names it.

    Raises:
        NegotiationFailed: there is no library.
    """

    def __init__(self, host: str) -> None:
        try:
            gssapi = self._gssapi = library()
        except KerberosUnavailable as error:
            raise NegotiationFailed(str(error)) from None
        self._host = host
        self._mutual = gssapi.RequirementFlag.mutual_authentication
        self._context: Any = None

    @property
    def is_complete(self) -> bool:
        """Whether both ends are proven."""
        context = self._context
        return context is not None and bool(context.complete) and self._mutual in context.actual_flags

    def step(self, token: bytes | None) -> bytes:
        """What to send next."""
        try:
            if self._context is None:
                self._context = self._begun()
            said = bytes(self._context.step(token) or b"")
            _ = self._context.complete  # gssapi keeps an error for the next question where it has a token, too
        except self._gssapi.exceptions.GSSError as error:
            raise NegotiationFailed(self._why(words_of(error), is_first=token is None)) from None
        if NTLM in said:
            raise NegotiationFailed(f"there is no Kerberos ticket for HTTP/{self._host}, but NTLM, which is not sent")
        return said

    def _begun(self) -> Any:
        gssapi = self._gssapi
        return gssapi.SecurityContext(
            name=gssapi.Name(f"HTTP@{self._host}", gssapi.NameType.hostbased_service),
            mech=gssapi.OID.from_int_seq(SPNEGO),
            flags=[self._mutual],
            usage="initiate",
        )

    def _why(self, words: str, *, is_first: bool) -> str:
        if not is_first:
            return f"the server's proof of itself is not good: {words}"
        return (
            f"there is no Kerberos ticket for HTTP/{self._host}: {words}. `kinit NAME@REALM` gets a first one, `klist` "
            "shows those that there are; the name in the URL must be the one that the service has in the domain"
        )
