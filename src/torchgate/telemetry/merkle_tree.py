"""The hash tree over all lines of a chain, as RFC 6962 section 2.1 defines it; only its right edge is kept."""

from __future__ import annotations

import hashlib

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves. Source: RFC 6962, section 2.1."""


def leaf_hash(line: bytes) -> bytes:
    """The hash of one line, by its exact bytes without the newline; it is also what the next line names as `prev`."""
    return hashlib.sha256(b"\0" + line).digest()


class MerkleTree:
    """Grows by one leaf at a time and knows its root: log n hashes are kept, and about one is made per leaf."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # roots of the perfect subtrees, largest first

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        remaining = self.size
        while remaining & 1:
            leaf = hashlib.sha256(b"\1" + self._peaks.pop() + leaf).digest()
            remaining >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = hashlib.sha256(b"\1" + peak + root).digest()
        return root
