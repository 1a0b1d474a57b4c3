"""Signed statements about a chain: "the first N lines have this root"; in the form of C2SP signed notes.

    torchgate-audit/web01-9f3c21aa-1795197600123      origin: which chain
    1234                                              lines covered
    7XkG…=                                            root of the hash tree over them, base64
    seal 00002 lines 500 bytes 612345 sha256:…        seals alone: what the segment held (an extension line)

    — torchgate-audit/web01 Zm9v…=                    Ed25519: base64 of 4 bytes of key id, then the signature

Source: C2SP tlog-checkpoint and signed-note.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"  # algorithm byte of a note's key. Source: C2SP signed-note.
_DASH = "\u2014"


class NoteError(Exception):
    """A text is no signed note of ours; the message says why."""


class Checkpoint(msgspec.Struct, frozen=True):
    """What is signed.

    Args:
        origin: names the chain.
        size: lines covered, from the chain's first.
        root: of the hash tree over them.
        extensions: further lines, none of them empty.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The signed text: one line each."""
        root = base64.b64encode(self.root).decode("ascii")
        return "\n".join((self.origin, str(self.size), root, *self.extensions, ""))


class PublicKey:
    """Who may have signed: a name, and an Ed25519 key.

    Args:
        name: as in the signature line; neither spaces nor `+`.
        key: raw, 32 bytes.
    """

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self.raw = key
        self.key_id = hashlib.sha256(name.encode("utf-8") + b"\n" + _ED25519 + key).digest()[:4]
        self._key = Ed25519PublicKey.from_public_bytes(key)

    def __str__(self) -> str:
        key = base64.b64encode(_ED25519 + self.raw).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """The key that `str()` of it shows.

        Raises:
            NoteError: it is none.
        """
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
            key = cls(name, raw[1:])
        except ValueError as error:
            raise NoteError(f"{text.strip()[:60]!r} is no public key of the form NAME+ID+KEY: {error}") from None
        if raw[:1] != _ED25519 or key.key_id.hex() != key_id:
            raise NoteError(f"public key {name!r} has another algorithm than Ed25519, or its id is not {key_id}")
        return key

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether the signature is this key's, on this text."""
        try:
            self._key.verify(signature, text.encode("utf-8"))
        except InvalidSignature:
            return False
        return True


class Signer:
    """Signs checkpoints with one private key."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = PublicKey(name, private_key.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note, ending in a newline."""
        text = checkpoint.text()
        signature = self._private_key.sign(text.encode("utf-8"))
        encoded = base64.b64encode(self.public_key.key_id + signature).decode("ascii")
        return f"{text}\n{_DASH} {self.public_key.name} {encoded}\n"


def read_note(note: str, keys: Mapping[bytes, PublicKey]) -> Checkpoint:
    """The checkpoint in a signed note, once one of the keys is found to have signed it.

    Args:
        note: text, an empty line, signature lines.
        keys: by key id.

    Raises:
        NoteError: it is malformed, or none of the keys signed it.
    """
    text, separator, signatures = note.partition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteError("it has no complete signature")
    text += "\n"
    found = ""
    for line in signatures[:-1].split("\n"):
        key, signature = _signer_of(line, keys)
        found += f" {line.split(' ')[1] if line.count(' ') == 2 else '?'}"
        if key is not None and key.has_signed(text, signature):
            return _checkpoint(text)
    raise NoteError(f"no known key has signed it; its signatures name:{found}")


def read_notes(content: str) -> Iterator[tuple[int, str]]:
    """The notes of a `.checkpoints` file, each with its 1-based line; the last may be torn and fails in read_note.

    Each note is followed by an empty line.
    """
    line = 1
    parts = content.split("\n\n")
    for index in range(0, len(parts) - 1, 2):
        note = f"{parts[index]}\n\n{parts[index + 1]}"
        complete = index + 2 < len(parts)
        yield line, note + "\n" if complete else note
        line += note.count("\n") + 2
    if len(parts) % 2 and parts[-1]:
        yield line, parts[-1]


def _signer_of(line: str, keys: Mapping[bytes, PublicKey]) -> tuple[PublicKey | None, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{line[:60]!r} is no signature line") from None
    if dash != _DASH or base64.b64encode(decoded).decode("ascii") != encoded:
        raise NoteError(f"{line[:60]!r} is no signature line")
    key = keys.get(decoded[:4])
    return (key if key is not None and key.name == name else None), decoded[4:]


def _checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not lines[0] or not lines[1].isascii() or not lines[1].isdigit():
        raise NoteError("it is no checkpoint: origin, size and root are its first three lines")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("its root is not base64") from None
    if len(root) != 32 or any(not line for line in lines[3:]):
        raise NoteError("its root is not 32 bytes, or an extension line is empty")
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:]))
