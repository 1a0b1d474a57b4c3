"""What a worker is given to load: a folder whose every byte is allowed or was verified.

A version is copied, hashed while it is copied, into a folder that only our account may write, and is loaded from
there. So whoever can write into the model repository can't exchange a file between the examination and the loading,
nor before a replacement of a dead worker loads it once more; and whoever puts a new version over the old one finds no
file in use, and takes nothing away from those who still ask the old one. models.copies = false loads versions that
torchgate.toml allows by name from where they lie.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from torchgate.engine.catalog import CatalogEntry
from torchgate.engine.digest import DigestRefused, FileDigest, digest_of, files_of
from torchgate.engine.living_owners import LivingOwners, TakeLock
from torchgate.engine.trust import Trust

_CHUNK_BYTES = 1 << 20


class Examined(msgspec.Struct, frozen=True):
    """A version that may be loaded.

    Args:
        digest: of its folder, as folder_digest.
        folder: absolute path of what to load.
        signer: who vouches for it, or empty where torchgate.toml allows it by name.
    """

    digest: str
    folder: str
    signer: str = ""


class SignedCode:
    """Examines versions that must be signed.

    Args:
        trust: knows the signers.
        copies: folder for verified copies; what a process that lives no more left there goes at the next use.
        make_private: closes a folder to other accounts.
        take_lock: by which another process on the same folder is known to live; None where there can be none.

    Process: any thread, one call at a time for each version.
    """

    def __init__(
        self,
        trust: Trust,
        copies: Path,
        make_private: Callable[[Path], None],
        *,
        take_lock: TakeLock | None = None,
    ) -> None:
        self._trust = trust
        self._copies = copies
        self._make_private = make_private
        self._run = secrets.token_hex(4)
        self._owners = None if take_lock is None else LivingOwners(copies, self._run, take_lock)

    def examine(self, entry: CatalogEntry) -> Examined:
        """The version's digest, and the verified copy to load.

        Raises:
            DigestRefused: its code must not run; the text says why.
            OSError: it can't be read, or not be copied.
        """
        files, copy = self._copy(entry, takes_links=False)
        try:
            signer = self._trust.signer(entry, files)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        return Examined(digest_of(files), str(copy), signer)

    def copied(self, entry: CatalogEntry) -> Examined:
        """The digest of a version that is allowed by name, and the copy to load.

        Raises:
            DigestRefused, OSError: as `examine`.
        """
        files, copy = self._copy(entry, takes_links=True)
        return Examined(digest_of(files), str(copy))

    def _copy(self, entry: CatalogEntry, *, takes_links: bool) -> tuple[tuple[FileDigest, ...], Path]:
        artifact = entry.artifact
        self._make_private(self._copies)
        if self._owners is not None:
            self._owners.live()
        around = self._copies / artifact.ref.name / artifact.ref.version
        around.mkdir(parents=True, exist_ok=True)
        self._discard(around)
        copy = around / f"{self._run}-{secrets.token_hex(4)}"
        try:
            return _copied(Path(artifact.folder), copy, takes_links=takes_links), copy
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise

    def _discard(self, around: Path) -> None:
        """Remove copies of processes that live no more; ours go with the loadings that were made of them.

        Those of a server that still drains stay: a replacement of a worker of it is loaded from its copy.
        """
        for path in around.iterdir():
            if self._may_remove(path.name.partition("-")[0]):
                with contextlib.suppress(OSError):  # in use by a worker that stops: the next one removes it
                    shutil.rmtree(path)

    def _may_remove(self, owner: str) -> bool:
        return owner != self._run if self._owners is None else self._owners.may_remove(owner)


def in_place(entry: CatalogEntry, digest: Callable[[Path], str]) -> Examined:
    """A version that is loaded from where it lies.

    Raises:
        DigestRefused, OSError: as its digest does.
    """
    return Examined(digest(Path(entry.artifact.folder)), entry.artifact.folder)


def nothing_signed(entry: CatalogEntry) -> Examined:
    """Where no signers are known, nothing counts as signed.

    Raises:
        DigestRefused: always.
    """
    raise DigestRefused(f"{entry.artifact.ref} is not allowed by name, and nobody who may sign it is known here.")


def _copied(source: Path, target: Path, *, takes_links: bool) -> tuple[FileDigest, ...]:
    """Copy a folder; the digests are of the bytes that were written. Of a link within it, what it leads to."""
    target.mkdir()
    digests = []
    for relative, path in files_of(source):
        if path.is_symlink() and not takes_links:
            raise DigestRefused(f"'{relative}' in {source} is a link; a signed version holds files alone.")
        place = target / relative
        if not place.resolve().is_relative_to(target.resolve()):
            raise DigestRefused(f"'{relative}' in {source} would lie outside of it.")
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("rb") as reader, place.open("xb") as writer:
            while chunk := reader.read(_CHUNK_BYTES):
                digest.update(chunk)
                writer.write(chunk)
        digests.append(FileDigest(relative, digest.hexdigest()))
    return tuple(digests)
