"""Hands out pieces of one shared section, and takes each back only when nobody, no run included, can touch it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from torchgate.contract.os_services import Place, Section

ALIGNMENT_BYTES = 64
"""Every piece begins at a multiple of this: a cache line, and what the widest vector instructions want."""


class SectionMemory:
    """A region of a section: first fit among free pieces, neighbours joined.

    Args:
        view: of the whole section.
        first, length: the region, in bytes from the section's start; `first` is a multiple of ALIGNMENT_BYTES.
        section: whose view it is, where other processes map it as well.

    Process: the event loop only.
    """

    def __init__(self, view: memoryview, first: int, length: int, section: Section | None = None) -> None:
        self._view = view
        self.section = section
        self.length = length - length % ALIGNMENT_BYTES
        self._offsets = [first]
        self._lengths = [self.length]
        self.free_bytes = self.length
        self.on_free: Callable[[], None] | None = None
        """Called whenever a place has become free."""

    def take(self, length: int) -> SectionPiece | None:
        """A piece of exactly so many bytes; None when no free place is long enough."""
        needed = padded(length)
        offsets, lengths = self._offsets, self._lengths
        for index, free in enumerate(lengths):
            if free < needed:
                continue
            offset = offsets[index]
            if free == needed:
                del offsets[index], lengths[index]
            else:
                offsets[index] = offset + needed
                lengths[index] = free - needed
            self.free_bytes -= needed
            return SectionPiece(self, self._view, offset, length)
        return None

    def give_back(self, offset: int, length: int) -> None:
        """For SectionPiece alone: the place is free from now on."""
        needed = padded(length)
        self.free_bytes += needed
        offsets, lengths = self._offsets, self._lengths
        index = bisect_left(offsets, offset)
        joins_next = index < len(offsets) and offset + needed == offsets[index]
        joins_previous = index > 0 and offsets[index - 1] + lengths[index - 1] == offset
        if joins_previous and joins_next:
            lengths[index - 1] += needed + lengths[index]
            del offsets[index], lengths[index]
        elif joins_previous:
            lengths[index - 1] += needed
        elif joins_next:
            offsets[index] = offset
            lengths[index] += needed
        else:
            offsets.insert(index, offset)
            lengths.insert(index, needed)
        if self.on_free is not None:
            self.on_free()


class SectionPiece:
    """A piece in use: its owner holds it until `release`, and each run that may touch it until `unpin`.

    Args:
        memory: where it comes from.
        section: view of the whole section.
        offset, length: in bytes, from the section's start.
    """

    __slots__ = ("_is_released", "_memory", "_pins", "_section", "length", "offset")

    def __init__(self, memory: SectionMemory, section: memoryview, offset: int, length: int) -> None:
        self._memory = memory
        self._section = section
        self.offset = offset
        self.length = length
        self._pins = 0
        self._is_released = False

    @property
    def view(self) -> memoryview:
        """Writable, exactly as long as was asked for."""
        return self._section[self.offset : self.offset + self.length]

    @property
    def place(self) -> Place | None:
        """For another process."""
        return self.place_at(self.offset)

    def place_at(self, offset: int) -> Place | None:
        """Of a byte of this piece.

        Args:
            offset: from the section's start.
        """
        section = self._memory.section
        return None if section is None else Place(section, offset)

    def release(self) -> None:
        """The owner needs it no more. Safe to call twice."""
        if not self._is_released:
            self._is_released = True
            if not self._pins:
                self._memory.give_back(self.offset, self.length)

    def pin(self) -> None:
        """Somebody else may touch it until `unpin`, whatever its owner does.

        Raises:
            RuntimeError: it was given back already, and may be somebody else's.
        """
        if self._is_released and not self._pins:
            raise RuntimeError("a piece of a section was pinned after its release. This is a bug.")
        self._pins += 1

    def unpin(self) -> None:
        """The end of what `pin` began; once each."""
        self._pins -= 1
        if not self._pins and self._is_released:
            self._memory.give_back(self.offset, self.length)


class SectionPart:
    """Some bytes of a piece that several parts share; the piece is free when all of them are released.

    Args:
        piece: pinned here.
        first, last: in bytes from the section's start.
        section: view of the whole section.
    """

    __slots__ = ("_first", "_is_released", "_last", "_piece", "_section")

    def __init__(self, piece: SectionPiece, section: memoryview, first: int, last: int) -> None:
        piece.pin()
        self._piece = piece
        self._section = section
        self._first = first
        self._last = last
        self._is_released = False

    @property
    def view(self) -> memoryview:
        """Its bytes alone."""
        return self._section[self._first : self._last]

    @property
    def place(self) -> Place | None:
        """For another process."""
        return self._piece.place_at(self._first)

    def release(self) -> None:
        """Give it back. Safe to call twice."""
        if not self._is_released:
            self._is_released = True
            self._piece.unpin()


def padded(length: int) -> int:
    """Bytes that a piece of this length takes: whole cache lines, and at least one."""
    return length + -length % ALIGNMENT_BYTES or ALIGNMENT_BYTES
