"""What can be found out about the audit trail before a server writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.contract.counted import counted
from torchgate.contract.diagnosis import Diagnosis, ok, red, skipped
from torchgate.telemetry.audit_verify import verify
from torchgate.telemetry.signing_key import KEY_FILE

_MOST_BYTES = 256 << 20
"""Of a trail that is verified whole; a larger one takes longer than a look at an installation should."""


def examine_trail(folder: Path, keys: Path) -> Iterator[Diagnosis]:
    """Whether the trail can be continued, and is whole.

    Args:
        folder: of the trail.
        keys: folder of the private key.
    """
    yield from _key(keys / KEY_FILE)
    if not folder.is_dir():
        yield ok(f"there is no trail yet in {folder}; the first start begins one.")
        return
    length = sum(file.stat().st_size for file in folder.glob("audit-*") if file.is_file())
    if length > _MOST_BYTES:
        yield skipped(
            f"the trail has {length >> 20} MiB; `torchgate audit verify` examines it whole.", place=str(folder)
        )
        return
    report = verify(folder)
    if report.problems:
        seen = f"the trail is not whole: {counted(len(report.problems), 'problem')}, first {report.problems[0]}."
        remedy = "Keep the folder as it is, for it is evidence; `torchgate audit verify` says all of it."
        yield red(seen, "a whole trail", remedy, place=str(folder))
    else:
        chains = counted(len(report.chains), "chain")
        yield ok(f"the trail is whole: {counted(report.events, 'event')} in {chains}.", place=str(folder))


def _key(file: Path) -> Iterator[Diagnosis]:
    """The key that signs: readable for us, and a key."""
    try:
        key = serialization.load_pem_private_key(read_bounded(file, MAX_KEY_BYTES), password=None)
    except FileNotFoundError:
        yield ok("there is no signing key yet; the first start makes one.")
        return
    except OSError as error:
        seen = f"the signing key can't be read: {error.strerror or type(error).__name__}."
        remedy = "Give it to the account that runs the server, and to no other."
        yield red(seen, "readable for this account", remedy, place=str(file))
        return
    except (ValueError, TypeError):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        yield ok("the signing key can be read.", place=str(file))
    else:
        remedy = "Move it away, and a new one is made at the next start; old checkpoints keep the key they name."
        yield red("the file of the signing key holds no Ed25519 key.", "an Ed25519 key", remedy, place=str(file))
