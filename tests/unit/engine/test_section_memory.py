"""Pieces of a section never overlap, and come back only when nobody can touch them."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from torchgate.engine.section_memory import ALIGNMENT_BYTES, SectionMemory, SectionPart, SectionPiece

REGION_FIRST, REGION_LENGTH = 4096, 8192


class Memory(RuleBasedStateMachine):
    """Random taking, pinning and releasing, against a byte map that knows who may touch what."""

    def __init__(self) -> None:
        super().__init__()
        self.section = memoryview(bytearray(REGION_FIRST + REGION_LENGTH + 100))
        self.memory = SectionMemory(self.section, REGION_FIRST, REGION_LENGTH)
        self.held: dict[SectionPiece, int] = {}  # with its pins
        self.released: dict[SectionPiece, int] = {}  # still pinned
        self.random = random.Random(0)

    @rule(length=st.integers(0, 3000))
    def take(self, length: int) -> None:
        piece = self.memory.take(length)
        if piece is None:
            return
        assert piece.offset % ALIGNMENT_BYTES == 0
        assert len(piece.view) == length
        assert piece.offset >= REGION_FIRST
        assert piece.offset + length <= REGION_FIRST + REGION_LENGTH
        self.held[piece] = 0

    @rule(choice=st.randoms(use_true_random=False))
    def pin(self, choice: random.Random) -> None:
        if self.held:
            piece = choice.choice(list(self.held))
            piece.pin()
            self.held[piece] += 1

    @rule(choice=st.randoms(use_true_random=False), twice=st.booleans())
    def release(self, choice: random.Random, twice: bool) -> None:
        if self.held:
            piece = choice.choice(list(self.held))
            pins = self.held.pop(piece)
            piece.release()
            if twice:
                piece.release()
            if pins:
                self.released[piece] = pins

    @rule(choice=st.randoms(use_true_random=False))
    def unpin(self, choice: random.Random) -> None:
        pinned = [piece for piece, pins in self.held.items() if pins] + list(self.released)
        if pinned:
            piece = choice.choice(pinned)
            piece.unpin()
            where = self.held if piece in self.held else self.released
            where[piece] -= 1
            if where is self.released and not where[piece]:
                del self.released[piece]

    @invariant()
    def nothing_overlaps(self) -> None:
        places = sorted((piece.offset, piece.length) for piece in (*self.held, *self.released))
        for (offset, length), (following, _) in itertools.pairwise(places):
            assert offset + max(length, 1) <= following

    @invariant()
    def nothing_is_lost(self) -> None:
        used = sum(
            max(ALIGNMENT_BYTES, -(-piece.length // ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
            for piece in (*self.held, *self.released)
        )
        assert self.memory.free_bytes == REGION_LENGTH - used
        if not used:
            whole = self.memory.take(REGION_LENGTH)
            assert whole is not None, "free pieces were not joined"
            whole.release()


Memory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMemory = Memory.TestCase


@pytest.fixture
def memory() -> SectionMemory:
    return SectionMemory(memoryview(bytearray(1024)), 0, 1024)


def test_a_piece_is_not_reused_while_a_run_may_touch_it(memory: SectionMemory):
    piece = memory.take(1024)
    assert piece is not None
    piece.pin()
    piece.release()
    assert memory.take(1) is None
    piece.unpin()
    assert memory.take(1024) is not None


def test_a_piece_is_free_when_the_last_of_its_parts_is(memory: SectionMemory):
    section = memoryview(bytearray(1024))
    piece = memory.take(1024)
    assert piece is not None
    first, second = SectionPart(piece, section, 0, 8), SectionPart(piece, section, 64, 80)
    piece.release()
    first.release()
    first.release()
    assert memory.take(1) is None
    assert len(second.view) == 16
    second.release()
    assert memory.take(1024) is not None


def test_who_waits_for_space_is_told_when_some_is_free(memory: SectionMemory):
    told: list[int] = []
    memory.on_free = lambda: told.append(memory.free_bytes)
    piece = memory.take(100)
    assert piece is not None
    piece.release()
    assert told == [1024]
