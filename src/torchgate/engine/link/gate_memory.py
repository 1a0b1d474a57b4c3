"""The sections that one gate has been given, and a private one for answers of back ends that share no memory."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable

from torchgate.contract.errors import Overloaded
from torchgate.contract.os_services import Place, Section, Sections
from torchgate.engine.link.wire import FromPool, NewSection, SectionGone, Stretch
from torchgate.engine.section_memory import SectionMemory, SectionPiece

_SWEEP_AFTER = 16
"""Sections handed over between two looks for those that are gone, so that a list of dead ones can't grow."""


class GateMemory:
    """Turns places into stretches that this gate can see.

    Args:
        sections: makes the private one.
        copy_bytes: length of the private one; made when the first copy is needed.
        hand_over: gives the gate a section; the token by which it opens it.
        send: a message to the gate, after what was sent before.

    Process: the event loop only.
    """

    def __init__(
        self,
        sections: Sections,
        copy_bytes: int,
        *,
        hand_over: Callable[[Section], str],
        send: Callable[[FromPool], None],
    ) -> None:
        self._sections = sections
        self._copy_bytes = copy_bytes
        self._hand_over = hand_over
        self._send = send
        self._numbers = itertools.count(1)
        # Weak, because a section ends with its version and not with the last gate that has seen it.
        self._known: dict[int, tuple[int, weakref.ref[Section]]] = {}
        self._copies: SectionMemory | None = None
        self._copy_section: Section | None = None

    def stretch(self, place: Place, length: int) -> Stretch:
        """The same bytes in the words of this connection; the section is handed over before, where it is new.

        Raises:
            OSError: the gate is gone.
        """
        section = place.section
        known = self._known.get(id(section))
        if known is None or known[1]() is not section:
            return Stretch(self._introduce(section), place.offset, length)
        return Stretch(known[0], place.offset, length)

    def borrow(self, length: int) -> SectionPiece:
        """Memory for a copy.

        Raises:
            Overloaded: there is none now. OSError: the private section can't be made.
        """
        if self._copies is None:
            self._copy_section = section = self._sections.create(self._copy_bytes)
            self._copies = SectionMemory(section.view, 0, self._copy_bytes, section)
        piece = self._copies.take(length)
        if piece is None:
            raise Overloaded(f"This gate has no memory for copies of {length} bytes now. Try again.", retry_after_s=1.0)
        return piece

    def sweep(self) -> None:
        """Tell the gate which sections are gone, so that it unmaps them."""
        for key, (number, section) in list(self._known.items()):
            if section() is None:
                del self._known[key]
                self._send(SectionGone(number))

    def close(self) -> None:
        """Give the private section back; every piece of it has been released."""
        self._known.clear()
        self._copies = None
        if self._copy_section is not None:
            section, self._copy_section = self._copy_section, None
            section.close()

    def _introduce(self, section: Section) -> int:
        number = next(self._numbers)
        if number % _SWEEP_AFTER == 0:
            self.sweep()
        token = self._hand_over(section)
        self._known[id(section)] = (number, weakref.ref(section))
        self._send(NewSection(number, token, len(section.view)))
        return number
