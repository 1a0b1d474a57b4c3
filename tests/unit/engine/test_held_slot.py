"""Memory of inputs outlives its caller as long as a batch may read it, and is given back exactly once.

Without this, a caller who went between a lost batch and quarantine had its memory given to another request, and
given back a second time after the run: answers of different principals then lay in one place (seen in
tests/integration/system/test_mix_up.py).
"""

from __future__ import annotations

import pytest

from torchgate.engine.held_slot import HeldSlot
from torchgate.engine.section_memory import SectionMemory, SectionPiece


def memory_and_piece() -> tuple[SectionMemory, SectionPiece]:
    memory = SectionMemory(memoryview(bytearray(4096)), 0, 4096)
    piece = memory.take(64)
    assert piece is not None
    return memory, piece


def test_memory_of_a_caller_who_went_is_kept_for_the_batch_that_may_read_it() -> None:
    """Between `hold` and `let_go` no other request is given it."""
    memory, piece = memory_and_piece()
    held = HeldSlot(piece, lambda: None)
    held.hold()
    held.release()
    assert memory.free_bytes == 4096 - 64
    held.let_go()
    assert memory.free_bytes == 4096


def test_memory_is_given_back_once_however_often_it_is_released() -> None:
    """A second release frees nothing that is somebody else's by then."""
    memory, piece = memory_and_piece()
    held = HeldSlot(piece, lambda: None)
    held.release()
    held.release()
    held.hold()
    held.let_go()
    assert memory.free_bytes == 4096


def test_a_piece_that_was_given_back_can_not_be_pinned() -> None:
    """A run on memory that may be somebody else's is a bug that must not pass in silence."""
    _, piece = memory_and_piece()
    piece.release()
    with pytest.raises(RuntimeError, match="pinned after its release"):
        piece.pin()
