"""The pool's sections as one gate has mapped them, for as long as its connection lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from torchgate.contract.os_services import Section
from torchgate.engine.link.wire import LinkBroken, NewSection, Stretch


class PoolSections:
    """Sections by their number on one connection."""

    def __init__(self) -> None:
        self._sections: dict[int, Section] = {}

    def __len__(self) -> int:
        return len(self._sections)

    def add(self, new: NewSection, open_section: Callable[[str, int], Section]) -> None:
        """Map what was handed over.

        Raises:
            OSError: it can't be mapped.
        """
        self._sections[new.section] = open_section(new.token, new.length)

    def examine(self, stretch: Stretch) -> None:
        """Whether these bytes are of a section that is mapped.

        Raises:
            LinkBroken: they are not.
        """
        section = self._sections.get(stretch.section)
        is_some = stretch.offset >= 0 and stretch.length >= 0
        if section is None or not is_some or stretch.offset + stretch.length > len(section.view):
            raise LinkBroken(f"{stretch}, which is in no section that was handed over")

    def view(self, stretch: Stretch) -> memoryview:
        """Bytes that were examined."""
        return self._sections[stretch.section].view[stretch.offset : stretch.offset + stretch.length]

    def forget(self, number: int) -> None:
        """Nothing will be said of it any more."""
        section = self._sections.pop(number, None)
        if section is not None:
            with contextlib.suppress(BufferError):  # somebody looks at an answer; the memory goes with the last view
                section.close()

    def close(self) -> None:
        """Forget all of them. Safe to call twice."""
        for number in list(self._sections):
            self.forget(number)
