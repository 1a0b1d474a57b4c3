"""Signed notes: written, read back, and refused where anything is changed."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from torchgate.telemetry.checkpoint import Checkpoint, NoteError, PublicKey, Signer, read_note, read_notes

SIGNER = Signer("torchgate-audit/test", Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
KEYS = {SIGNER.public_key.key_id: SIGNER.public_key}
CHECKPOINT = Checkpoint("torchgate-audit/chain", 1234, b"\x05" * 32, ("seal 00001 lines 2 bytes 3",))


def test_note_is_read_back() -> None:
    assert read_note(SIGNER.sign(CHECKPOINT), KEYS) == CHECKPOINT


def test_note_has_the_form_of_c2sp() -> None:
    """Checked with bare Ed25519, by the specification: text, empty line, dash, name, base64(key id, signature)."""
    text, _, signature = SIGNER.sign(CHECKPOINT).partition("\n\n")
    dash, name, encoded = signature.rstrip("\n").split(" ")
    assert text.split("\n") == [
        "torchgate-audit/chain", "1234", base64.b64encode(b"\x05" * 32).decode(), "seal 00001 lines 2 bytes 3",
    ]  # fmt: skip
    assert (dash, name) == ("\u2014", "torchgate-audit/test")
    raw = base64.b64decode(encoded)
    assert raw[:4] == SIGNER.public_key.key_id
    Ed25519PublicKey.from_public_bytes(SIGNER.public_key.raw).verify(raw[4:], f"{text}\n".encode())


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    """An attacker changes one byte of the text or its signature."""
    note = SIGNER.sign(CHECKPOINT).encode()
    place = data.draw(st.integers(0, len(note) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda other: other != note[place]))
    changed = note[:place] + bytes([value]) + note[place + 1 :]
    try:
        text = changed.decode("utf-8")
    except UnicodeDecodeError:
        return
    with pytest.raises(NoteError):
        read_note(text, KEYS)


def test_note_of_another_key_under_the_same_name_is_refused() -> None:
    """An attacker signs with a key of its own and writes our key's name and id."""
    forger = Signer("torchgate-audit/test", Ed25519PrivateKey.generate())
    forged = forger.sign(CHECKPOINT)
    with pytest.raises(NoteError, match="no known key"):
        read_note(forged, KEYS)
    head, _, encoded = forged.rstrip("\n").rpartition(" ")
    raw = SIGNER.public_key.key_id + base64.b64decode(encoded)[4:]
    with pytest.raises(NoteError, match="no known key"):
        read_note(f"{head} {base64.b64encode(raw).decode()}\n", KEYS)


def test_public_key_is_read_back() -> None:
    assert PublicKey.from_text(f"{SIGNER.public_key}\n").raw == SIGNER.public_key.raw


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AA==", "name+zz+%%", str(SIGNER.public_key)[:-8] + "AAAAAAA="]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        PublicKey.from_text(text)


def test_notes_of_a_file_come_with_their_lines() -> None:
    note = SIGNER.sign(CHECKPOINT)
    notes = list(read_notes(f"{note}\n{note}\n"))
    assert [line for line, _ in notes] == [1, 8]
    assert [read_note(text, KEYS) for _, text in notes] == [CHECKPOINT, CHECKPOINT]
