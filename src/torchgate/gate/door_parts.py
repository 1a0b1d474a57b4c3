"""Puts a front door together from its settings and from what IIS's modules left in the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from torchgate.contract.windows_tokens import WindowsTokens
from torchgate.gate.carriers import Carrier, CarriesNothing, IisCarrier, ProxyCarrier
from torchgate.gate.certificate_paths import CertificatePaths
from torchgate.gate.cgi import CgiCarrier, InheritedPipe
from torchgate.gate.declarations import FRONT_DOORS, FrontDoorDeclaration
from torchgate.gate.door_settings import ProxySettings
from torchgate.gate.front_door import DoorParts
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.proofs import (
    Accepts,
    AllOf,
    CertificateProof,
    OwnSocket,
    PairingProof,
    PeerProof,
    Proof,
    SecretProof,
)
from torchgate.gate.settings import GateSettings, is_unix


class DoorNeighbours(msgspec.Struct, frozen=True):
    """What a front door needs of others.

    Args:
        tokens: reads Windows tokens; None where they are not enabled.
        windows_paths: where IIS lets nobody pass who is not Windows-authenticated.
        windows_prefix: below which the whole server stands a second time for Windows callers; empty: nowhere.
        certificate_paths: where a client's certificate counts as its credential.
        accepts_secret: tells the values of the proxy's shared secret; None: there is none.
        wants_rights: whether a model is served now that acts with its caller's Windows rights.
    """

    tokens: WindowsTokens | None = None
    windows_paths: MarkedPaths = MarkedPaths()
    windows_prefix: str = ""
    certificate_paths: CertificatePaths = CertificatePaths(())
    accepts_secret: Accepts | None = None
    wants_rights: Callable[[], bool] = lambda: False


def front_door_parts(settings: GateSettings, environment: Mapping[str, str], neighbours: DoorNeighbours) -> DoorParts:
    """The parts of the configured front door.

    Raises:
        ValueError: the environment or the settings lack its proof; door_checks has said so before, in better words.
    """
    declaration = FRONT_DOORS[settings.front_door]
    is_proxy = declaration.name == "proxy"
    reads_address = declaration.proof == "pairing token"
    address = settings.proxy.address_header if is_proxy else "x-forwarded-for" if reads_address else None
    trusted = settings.proxy.headers() if is_proxy else ()
    return DoorParts(
        proof=_proof(declaration, settings, environment, neighbours),
        carrier=_carrier(declaration, settings.proxy, neighbours),
        base_path=base_path(declaration, environment),
        windows_prefix=_mounted_at(neighbours.windows_prefix),
        address_header=_lower(address) or b"",
        certificate_paths=neighbours.certificate_paths,
        trusted=frozenset(name.lower().encode("ascii") for name in trusted),
    )


def effective_bind(settings: GateSettings, environment: Mapping[str, str]) -> str:
    """Where to listen: IIS's port wins where the front door is IIS.

    Raises:
        ValueError: IIS's port is none.
    """
    variable = FRONT_DOORS[settings.front_door].port_variable
    port = environment.get(variable, "") if variable else ""
    if not port:
        return settings.bind
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"the environment variable {variable} holds no port")
    return f"127.0.0.1:{int(port)}"


def base_path(declaration: FrontDoorDeclaration, environment: Mapping[str, str]) -> bytes:
    """Where IIS has mounted us, in lower case and without a slash at the end."""
    path = environment.get(declaration.path_variable, "") if declaration.path_variable else ""
    return _mounted_at(path)


def _mounted_at(path: str) -> bytes:
    inner = path.strip("/").encode("utf-8").lower()
    return b"/" + inner if inner else b""


def _proof(
    declaration: FrontDoorDeclaration,
    settings: GateSettings,
    environment: Mapping[str, str],
    neighbours: DoorNeighbours,
) -> Proof:
    if declaration.proof == "pairing token":
        return PairingProof(environment.get(declaration.token_variable, ""))
    if declaration.name == "fastcgi":
        return InheritedPipe()
    if declaration.name == "proxy":
        return _proxy_proof(settings, neighbours)
    return OwnSocket()


def _proxy_proof(settings: GateSettings, neighbours: DoorNeighbours) -> Proof:
    proxy, listens_on_unix = settings.proxy, is_unix(settings.bind)
    if not listens_on_unix and not proxy.has_proof:
        raise ValueError("front door 'proxy' has nothing that proves it")
    proofs: list[Proof] = [PeerProof(proxy.peers, is_unix=listens_on_unix)]
    if proxy.secret is not None:
        if neighbours.accepts_secret is None:
            raise ValueError("the secret that proves the proxy is not there")
        proofs.append(SecretProof(proxy.secret_header.lower().encode("ascii"), neighbours.accepts_secret))
    if proxy.certificates:
        proofs.append(CertificateProof(proxy.certificates))
    return AllOf(*proofs)


def _carrier(declaration: FrontDoorDeclaration, proxy: ProxySettings, neighbours: DoorNeighbours) -> Carrier:
    if declaration.token_header:
        return IisCarrier(
            declaration.token_header,
            neighbours.tokens,
            neighbours.windows_paths,
            closes_elsewhere=declaration.token_is_its_own,
            has_certificates="certificate" in declaration.carries,
            wants_rights=neighbours.wants_rights,
        )
    if declaration.name == "fastcgi":
        return CgiCarrier()
    if declaration.name == "proxy":
        return ProxyCarrier(
            user_header=_lower(proxy.user_header),
            groups_header=_lower(proxy.groups_header),
            separator=proxy.groups_separator,
            certificate_header=_lower(proxy.certificate_header),
            verified_header=_lower(proxy.verified_header),
            form=proxy.certificate_format,
        )
    return CarriesNothing()


def _lower(name: str | None) -> bytes | None:
    return None if name is None else name.lower().encode("ascii")
