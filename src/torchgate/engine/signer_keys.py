"""Public keys that may sign models, as torchgate.toml names them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

_ED25519 = "ed25519:"
_FILE = "file:"
_KINDS = "Ed25519 or ECDSA P-256"


class KeyRefused(Exception):
    """It is no key that we use; the text says which and why."""


def read_public_key(reference: str, folder: Path) -> PublicKey:
    """The key of `ed25519:BASE64` or of `file:PATH`, a PEM.

    Args:
        folder: what a relative path is relative to.

    Raises:
        KeyRefused: see there.
    """
    if reference.startswith(_ED25519):
        try:
            raw = base64.b64decode(reference.removeprefix(_ED25519), validate=True)
            return Ed25519PublicKey.from_public_bytes(raw)
        except (binascii.Error, ValueError):
            raise KeyRefused("is no Ed25519 public key: after 'ed25519:' come its 32 bytes in base64") from None
    if not reference.startswith(_FILE):
        raise KeyRefused("must be 'ed25519:BASE64' or 'file:PATH' of a PEM")
    path = folder / reference.removeprefix(_FILE)
    try:
        key = serialization.load_pem_public_key(read_bounded(path, MAX_KEY_BYTES))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"leads to {path}, which can't be read as a public key ({error})") from None
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise KeyRefused(f"leads to {path}, which holds another kind of key; it must be {_KINDS}")


def read_private_key(pem: bytes) -> PrivateKey:
    """The key in a PEM without password.

    Raises:
        KeyRefused: see there.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"holds no private key that can be read ({error})") from None
    if isinstance(key, Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise KeyRefused(f"holds another kind of key; it must be {_KINDS}")


def sign(key: PrivateKey, data: bytes) -> bytes:
    """The signature by a key of either kind."""
    return key.sign(data) if isinstance(key, Ed25519PrivateKey) else key.sign(data, ec.ECDSA(hashes.SHA256()))


def is_signed_by(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether it is that key's signature. The key's kind decides the algorithm, never the signature's file."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def public_reference(key: PublicKey) -> str:
    """As torchgate.toml names it; for a key that it can't name in one line, empty."""
    if not isinstance(key, Ed25519PublicKey):
        return ""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"{_ED25519}{base64.b64encode(raw).decode()}"


def key_hint(key: PublicKey) -> str:
    """What tells keys apart: SHA-256 of the key's PEM, as OpenSSF Model Signing has it in a signature's file."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()
