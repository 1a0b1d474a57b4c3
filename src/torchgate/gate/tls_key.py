"""The private key of our own TLS, from where only we may read it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import SSLContext

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.contract.os_services import PrivateFiles


class TlsUnusable(ValueError):
    """The files of TLS can't be used; the sentence says which, and has no word of a key or password."""


class TlsKey(msgspec.Struct, frozen=True):
    """Loads the certificate's private key into a context.

    Args:
        place: for sentences.
        load: (context, file of the certificate) -> None.
    """

    place: str
    load: Callable[[SSLContext, Path], None]


def key_from_file(path: Path, password: bytes | None, private_files: PrivateFiles) -> TlsKey:
    """The key in a file.

    Raises:
        TlsUnusable: it can't be read, or others may read it.
    """
    try:
        read_bounded(path, MAX_KEY_BYTES)
        readers = private_files.readers(path)
    except OSError as error:
        raise TlsUnusable(f"{path} can't be read: {error.strerror or error}.") from None
    if readers:
        raise TlsUnusable(f"{path} holds a private key, and may be read by {readers}. Let the server's account alone.")

    def load(context: SSLContext, certificate: Path) -> None:
        # Without a password of ours OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, path, _no_password if password is None else password)

    return TlsKey(str(path), load)


def key_from_secret(
    name: str, value: bytes, password: bytes | None, folder: Path, private_files: PrivateFiles
) -> TlsKey:
    """The key in a secret (PEM).

    OpenSSL reads keys from files alone, so it is written for a moment, encrypted by a password that is nowhere written.

    Args:
        folder: for that moment.

    Raises:
        TlsUnusable: it holds no key.
    """
    try:
        key = load_pem_private_key(value, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsUnusable(f"the secret {name!r} holds no private key in PEM, or its password is another.") from None

    def load(context: SSLContext, certificate: Path) -> None:
        passing = secrets.token_hex(32).encode("ascii")
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passing))
        with _passing_file(folder, content, private_files) as path:
            context.load_cert_chain(certificate, path, passing)

    return TlsKey(f"the secret {name!r}", load)


@contextmanager
def _passing_file(folder: Path, content: bytes, private_files: PrivateFiles) -> Iterator[Path]:
    path = folder / f"tls-{os.getpid()}-{secrets.token_hex(8)}.key"
    private_files.write_new(path, content)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _no_password() -> bytes:
    raise ValueError("the key is encrypted, and gate.tls.key_password names no secret")
