"""A secret in Azure Key Vault: its versions, by their own dates, are our states."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from torchgate.access.secrets.json_value import json_value
from torchgate.access.secrets.quiet_libraries import quiet
from torchgate.access.secrets.reference import SecretReference
from torchgate.access.secrets.secret import UNUSABLE, Secret, SecretUnreadable, SecretValue

_CONNECT_TIMEOUT_S = 2
_READ_TIMEOUT_S = 3
_RETRIES = 1
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # as requests reads them
_PUBLIC_CLOUD = ".vault.azure.net"
_REMEDIES = {
    401: "Key Vault does not take this server's token. Is the vault in the same tenant as its identity?",
    403: "This server's identity may not read it, or the vault's firewall keeps it out. Give it the role "
    "'Key Vault Secrets User' on the vault.",
    404: "There is no such secret in this vault, or it is deleted. Correct the reference, or recover it.",
    429: "Key Vault limits the rate of calls. Raise secret_refresh.interval_s.",
}


class AzureSecret:
    """Implements SecretSource by the versions of a secret.

    Of the versions that are enabled and have not expired, the newest that counts already (`nbf`) is current, the one
    before it previous, and the first that counts later next. A value once read is kept by its version, which never
    changes it: a refresh reads the list alone.

    Args:
        reference: to an `azure-keyvault`.
        environment: of this process; it says which kind of identity Azure gave us.
        wall_clock: Unix seconds.

    Thread/process: one thread at a time.
    """

    changes = True
    is_near = False

    def __init__(
        self, reference: SecretReference, environment: Mapping[str, str], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.reference = str(reference)
        vault, _, self._name = reference.place.partition("/")
        self._url = f"https://{vault if '.' in vault else vault + _PUBLIC_CLOUD}"
        self._key = reference.key
        self._environment = environment
        self._wall_clock = wall_clock
        self._client: Any = None
        self._known: dict[str, bytes] = {}

    def read(self) -> Secret:
        """The values of the versions that count now."""
        client = self._opened()
        try:
            with _told(self._url):
                versions = list(client.list_properties_of_secret_versions(self._name))
        except SecretUnreadable as error:
            if error.code != "403":
                raise
            return self._latest_alone(client)
        now = self._wall_clock()
        chosen = choose(versions, now)
        if chosen[0] is None:
            raise SecretUnreadable(why_none(versions, now))
        remarks: list[str] = []
        current = self._value(client, chosen[0])
        previous, following = (self._beside(client, one, remarks) for one in chosen[1:])
        found = Secret(current, previous, following, tuple(remarks))
        self._known = {one.version: one.value for _, one in found.by_state()}
        return found

    def _beside(self, client: Any, properties: Any | None, remarks: list[str]) -> SecretValue | None:
        if properties is None:
            return None
        try:
            return self._value(client, properties)
        except SecretUnreadable as error:
            if error.code != UNUSABLE:
                raise
            remarks.append(f"Version {properties.version} is not accepted. {error}")
            return None

    def _latest_alone(self, client: Any) -> Secret:
        """What is left where versions may not be listed."""
        with _told(self._url):
            found = client.get_secret(self._name)
        properties = found.properties
        if not is_usable(properties, now := self._wall_clock()):
            raise SecretUnreadable(why_none([properties], now))
        value = json_value((found.value or "").encode("utf-8", "surrogatepass"), self._key)
        remark = "Its versions may not be listed, so that the newest alone is accepted. Allow the right `list`."
        return Secret(_secret_value(value, properties), remarks=(remark,))

    def _value(self, client: Any, properties: Any) -> SecretValue:
        value = self._known.get(properties.version)
        if value is None:
            with _told(self._url):
                found = client.get_secret(self._name, properties.version)
            value = json_value((found.value or "").encode("utf-8", "surrogatepass"), self._key)
        return _secret_value(value, properties)

    def _opened(self) -> Any:
        if self._client is not None:
            return self._client
        try:
            # Imported here: an extra, and a third of a second.
            from azure.core.pipeline.transport import RequestsTransport
            from azure.keyvault.secrets import SecretClient

            transport = RequestsTransport(
                session=_session(self._environment), connection_timeout=_CONNECT_TIMEOUT_S, read_timeout=_READ_TIMEOUT_S
            )
            quiet("azure", "msal", "urllib3")
            credential = self._credential(transport)
        except ImportError:
            raise SecretUnreadable(
                "Secrets of Azure need a library that is not installed: pip install 'torchgate[azure]'."
            ) from None
        except ValueError as error:
            raise SecretUnreadable(
                f"This server's Azure identity can't be set up ({type(error).__name__}). Correct the variables AZURE_…"
            ) from None
        self._client = SecretClient(
            self._url, credential, transport=transport, retry_total=_RETRIES, logging_enable=False
        )
        return self._client

    def _credential(self, transport: Any) -> Any:
        """The one identity that the environment gives us; none is tried in the hope that it works."""
        from azure.identity import EnvironmentCredential, ManagedIdentityCredential, WorkloadIdentityCredential

        options = {"transport": transport, "retry_total": _RETRIES, "logging_enable": False}
        if self._environment.get("AZURE_FEDERATED_TOKEN_FILE"):
            return WorkloadIdentityCredential(**options)
        if self._environment.get("AZURE_CLIENT_SECRET") or self._environment.get("AZURE_CLIENT_CERTIFICATE_PATH"):
            return EnvironmentCredential(**options)
        return ManagedIdentityCredential(client_id=self._environment.get("AZURE_CLIENT_ID") or None, **options)


def choose(versions: list[Any], now: float) -> tuple[Any | None, Any | None, Any | None]:
    """The current, the previous and the next one of a secret's versions.

    Args:
        versions: azure.keyvault.secrets.SecretProperties.
        now: Unix seconds.
    """
    usable = sorted((one for one in versions if is_usable(one, now, also_later=True)), key=_counts_from)
    started = [one for one in usable if _counts_from(one) <= now]
    later = [one for one in usable if _counts_from(one) > now]
    return (
        started[-1] if started else None,
        started[-2] if len(started) > 1 else None,
        later[0] if later else None,
    )


def is_usable(properties: Any, now: float, *, also_later: bool = False) -> bool:
    """Whether a version is enabled, not expired, and counts already or, if asked so, later."""
    expires = _seconds(properties.expires_on)
    if properties.enabled is False or (expires is not None and expires <= now):
        return False
    return also_later or _counts_from(properties) <= now


def why_none(versions: list[Any], now: float) -> str:
    """What is wrong with all of these versions."""
    counts = {"disabled": 0, "expired": 0, "not valid yet": 0}
    for one in versions:
        expires = _seconds(one.expires_on)
        is_expired = expires is not None and expires <= now
        counts["disabled" if one.enabled is False else "expired" if is_expired else "not valid yet"] += 1
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"It has no version that counts now: {shown or 'none at all'}. Make a new version, or enable one."


def _secret_value(value: bytes, properties: Any) -> SecretValue:
    return SecretValue(
        value, properties.version or "", _seconds(properties.created_on), _seconds(properties.expires_on)
    )


def _counts_from(properties: Any) -> float:
    return max(_seconds(properties.not_before) or 0.0, _seconds(properties.created_on) or 0.0)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Say the SDK's errors in sentences of ours: nobody knows what is in its own."""
    from azure.core import exceptions

    try:
        yield
    except exceptions.ClientAuthenticationError as error:
        code = re.search(r"AADSTS\d{1,9}", str(error))
        raise SecretUnreadable(
            f"Azure gives this server no token{f' ({code[0]})' if code else ''}. Give the machine a managed identity, "
            "or set AZURE_TENANT_ID, AZURE_CLIENT_ID and a certificate or federated token for the server's account. "
            "And is there a way out to Azure's login, by HTTPS_PROXY where there is a proxy?"
        ) from None
    except exceptions.HttpResponseError as error:
        remedy = _REMEDIES.get(error.status_code or 0, "See the vault's own log.")
        raise SecretUnreadable(f"Key Vault answers {error.status_code}. {remedy}", str(error.status_code)) from None
    except exceptions.AzureError as error:
        raise SecretUnreadable(
            f"{url} can't be reached ({type(error).__name__}). Is the vault's name right, is there a way out, by "
            "HTTPS_PROXY where there is a proxy, and is its certificate known to the operating system?"
        ) from None


def _session(environment: Mapping[str, str]) -> Any:
    """HTTP for the SDK, by the operating system's certificate store where the environment names no other authorities.

    Proxies are as the environment says.
    """
    import requests

    if any(environment.get(name) for name in _CA_VARIABLES):
        return requests.Session()
    import truststore
    from requests.adapters import HTTPAdapter

    class SystemStore(HTTPAdapter):
        """Verifies by the operating system, as its own tools do."""

        def init_poolmanager(self, *arguments: Any, **options: Any) -> Any:
            """With our context for direct connections."""
            options["ssl_context"] = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            return super().init_poolmanager(*arguments, **options)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            """With our context behind a proxy, too."""
            options["ssl_context"] = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            return super().proxy_manager_for(proxy, **options)

    session = requests.Session()
    session.mount("https://", SystemStore())
    return session
