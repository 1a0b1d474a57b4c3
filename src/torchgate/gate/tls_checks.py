"""What is wrong, or worth a look, with the certificate of our own TLS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.contract.findings import Finding
from torchgate.contract.os_services import PrivateFiles
from torchgate.gate.settings import GateSettings
from torchgate.gate.tls_key import TlsUnusable, key_from_file

_SOON_S = 30 * 86_400.0
_PLACE = "gate.tls"


def tls_findings(settings: GateSettings, private_files: PrivateFiles) -> Iterator[Finding]:
    """Findings about `[gate.tls]`; the pair itself is examined where the key's password is, at start."""
    tls = settings.tls
    if tls is None:
        return
    if tls.key_file is not None:
        try:
            key_from_file(tls.key_file, None, private_files)
        except TlsUnusable as error:
            yield Finding("error", str(error), setting=f"{_PLACE}.key_file")
    setting = f"{_PLACE}.certificate_file"
    leaf = _leaf(tls.certificate_file)
    if isinstance(leaf, str):
        yield Finding("error", leaf, setting=setting)
        return
    left_s = leaf.not_valid_after_utc.timestamp() - time.time()
    if left_s < _SOON_S:
        verb = "ended" if left_s <= 0 else "ends"
        yield Finding(
            "warning",
            f"the server's certificate {verb} at {leaf.not_valid_after_utc.isoformat()}.",
            setting=setting,
            remedy="Put its successor into the same files; a running server takes it up by itself.",
        )
    names = _names(leaf)
    for host in settings.hosts:
        if not any(_is_named(host.lower(), name) for name in names):
            yield Finding(
                "warning",
                f"the server's certificate is not for {host!r} of gate.hosts, but for {', '.join(names) or 'no name'}.",
                setting=setting,
            )


def _leaf(path: Path) -> x509.Certificate | str:
    try:
        return x509.load_pem_x509_certificates(read_bounded(path, MAX_KEY_BYTES))[0]
    except OSError as error:
        return f"{path} can't be read: {error.strerror or error}."
    except ValueError:
        return f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)."


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *addresses]


def _is_named(host: str, name: str) -> bool:
    return host.strip("[]") == name or (name.startswith("*.") and host.partition(".")[2] == name[2:])
