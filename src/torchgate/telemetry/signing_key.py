"""The key that signs checkpoints: made at the first start, kept in a folder that only our account may open."""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.contract.os_services import PrivateFolders
from torchgate.telemetry.checkpoint import Signer

KEY_FILE = "audit-key.pem"


def host_name() -> str:
    """This machine's name, in the few characters that a file name and a key name both allow."""
    cleaned = re.sub(r"[^a-z0-9.]+", ".", socket.gethostname().lower())[:40].strip(".")
    return cleaned or "host"


def open_signer(folder: Path, private_folders: PrivateFolders, *, host: str = "") -> Signer:
    """The signer of this installation; its key is made where there is none yet.

    Args:
        folder: of the private key; created, and closed to others, here.
        private_folders: of the operating system.
        host: names the key; empty: this machine's.

    Raises:
        OSError: the folder or the file can't be made or read.
        ValueError: the file holds no Ed25519 key.
    """
    private_folders.make_private(folder)
    path = folder / KEY_FILE
    if not path.exists():
        _make_key(path)
    key = serialization.load_pem_private_key(read_bounded(path, MAX_KEY_BYTES), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(  # noqa: TRY004 - the file's content is wrong, not an argument's type
            f"{path} holds no Ed25519 key. Move it away, and a new one is made at the next start."
        )
    return Signer(f"torchgate-audit/{host or host_name()}", key)


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all; where two instances start at once, the first one's stays."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, not a rename: it refuses to replace the key of an instance that was quicker.
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links; there two first starts at the same moment may not agree
        if not path.exists():
            draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
