"""Kerberos by the system's GSSAPI library (MIT), with the service's key from a keytab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchgate.contract.kerberos import KerberosTicket, TicketRefused

SPNEGO = "1.3.6.1.5.5.2"
_SPNEGO_START = bytes.fromhex("06062b0601050502")
_LOGON_INFO = b"urn:mspac:logon-info"
NTLM = b"NTLMSSP\0"
MAX_TOKEN_BYTES = 48 * 1024
"""Longest token: tickets with a large PAC stay below. Source: MaxTokenSize of Windows, 48,000 bytes."""


class KerberosUnavailable(ValueError):
    """Kerberos can't be used here; the sentence says why and what to do."""


class GssapiAcceptor:
    """Implements KerberosAcceptor. The replay cache is the system's, shared by all processes of our account.

    The keytab is opened anew for each ticket, so that a new key in it counts at once.

    Args:
        keytab: with the service's keys.
        service: `HTTP/web.corp.test@CORP.TEST`; empty: any of the keytab.

    Raises:
        KerberosUnavailable: there is no library, no keytab, or no such service in it.

    Thread/process: one thread at a time.
    """

    def __init__(self, keytab: Path, service: str = "") -> None:
        self._gssapi = library()
        try:
            keytab.open("rb").close()
        except OSError as error:
            raise KerberosUnavailable(f"the keytab {keytab} can't be read: {error.strerror or error}.") from None
        gssapi = self._gssapi
        self._kerberos = gssapi.MechType.kerberos
        name = gssapi.Name(service, gssapi.NameType.kerberos_principal) if service else None
        try:
            # `dfl:` by name, so that no variable of the environment switches the replay cache off.
            self._credentials = gssapi.Credentials(
                name=name,
                usage="accept",
                mechs=[gssapi.OID.from_int_seq(SPNEGO)],
                store={"keytab": f"FILE:{keytab}", "rcache": "dfl:"},
            )
        except gssapi.exceptions.GSSError as error:
            which = f"a key of {service}" if service else "a key"
            raise KerberosUnavailable(
                f"the keytab {keytab} has no {which.removeprefix('a ')} that can be used: {words_of(error)}. "
                "`klist -k FILE` shows what it has."
            ) from None

    def accept(self, token: bytes) -> KerberosTicket:
        """The caller of a token."""
        if token.startswith(NTLM):
            raise TicketRefused("NTLM, which proves nobody here")
        if len(token) > MAX_TOKEN_BYTES or _SPNEGO_START not in token[:32]:
            raise TicketRefused("no SPNEGO token")
        context = self._gssapi.SecurityContext(creds=self._credentials, usage="accept")
        with self._refusing():
            reply = context.step(token)
            if not context.complete:
                raise TicketRefused("Kerberos asks for another round, which one request can't have")
            if context.mech != self._kerberos:
                raise TicketRefused("a mechanism other than Kerberos")
            client = context.initiator_name
            return KerberosTicket(
                str(client), str(context.target_name), reply or b"", float(context.lifetime), _logon_info(client)
            )

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except self._gssapi.exceptions.GSSError as error:
            raise TicketRefused(words_of(error)) from None


def _logon_info(client: Any) -> bytes | None:
    """From the ticket's PAC, where the library has examined its signature."""
    attributes = client.attributes
    if _LOGON_INFO not in attributes:
        return None
    found = attributes[_LOGON_INFO]
    values = list(found.values)
    if not found.authenticated or len(values) != 1:
        raise TicketRefused("a PAC whose signature was not examined")
    return bytes(values[0])


def library() -> Any:
    """The package gssapi.

    Raises:
        KerberosUnavailable: it is not installed.
    """
    try:
        import gssapi
    except ImportError:
        raise KerberosUnavailable(
            "Kerberos needs the package gssapi, which is not installed. Say: pip install torchgate[kerberos]"
        ) from None
    return gssapi


def words_of(error: Any) -> str:
    """The library's own words on what was wrong; they name no key and no ticket."""
    try:
        texts = error.get_all_statuses(error.min_code, False) or error.get_all_statuses(error.maj_code, True)
        return str(texts[0])[:200]
    except Exception:  # noqa: BLE001 - a library without words is no reason to believe a ticket
        return "Kerberos refused it"
