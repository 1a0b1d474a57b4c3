"""The tree against the definition in RFC 6962, written out as it stands there."""

from __future__ import annotations

import hashlib

import pytest

from torchgate.telemetry.merkle_tree import EMPTY_ROOT, MerkleTree, leaf_hash


def _by_definition(lines: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1: recursive, over all leaves."""
    if not lines:
        return hashlib.sha256(b"").digest()
    if len(lines) == 1:
        return hashlib.sha256(b"\x00" + lines[0]).digest()
    half = 1
    while half * 2 < len(lines):
        half *= 2
    return hashlib.sha256(b"\x01" + _by_definition(lines[:half]) + _by_definition(lines[half:])).digest()


def test_root_is_the_one_of_the_definition_at_every_size() -> None:
    """The incremental tree and the recursive definition agree from 0 to 70 leaves."""
    lines = [f"line {number}".encode() for number in range(70)]
    tree = MerkleTree()
    for size in range(len(lines)):
        assert tree.root() == _by_definition(lines[:size])
        assert tree.size == size
        tree.append(leaf_hash(lines[size]))


@pytest.mark.parametrize(
    ("size", "root"),
    [
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_root_is_the_one_of_known_vectors(size: int, root: str) -> None:
    """The vectors that Certificate Transparency implementations share."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    tree = MerkleTree()
    for leaf in leaves[:size]:
        tree.append(leaf_hash(bytes.fromhex(leaf)))
    assert tree.root().hex() == root


def test_empty_tree_has_the_hash_of_nothing() -> None:
    assert MerkleTree().root() == EMPTY_ROOT
