"""Shared sections as sealed memfds: no name anywhere, handed over as descriptors."""

from __future__ import annotations

import mmap
import os
import sys

from torchgate.contract.os_services import Section

if sys.platform != "win32":
    import fcntl


class PosixSection:
    """A mapped memfd.

    Args:
        descriptor: of the memfd; this object owns it. -1: the mapping alone is kept, as in a child.
        mapping: the whole of it.
    """

    def __init__(self, descriptor: int, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._view = memoryview(mapping)
        self._descriptor = descriptor

    @property
    def view(self) -> memoryview:
        """Writable, the whole of it."""
        return self._view

    @property
    def descriptor(self) -> int:
        """What is sent to a child."""
        return self._descriptor

    def close(self) -> None:
        """Unmap it here. Safe to call twice.

        Raises:
            BufferError: somebody still holds a view.
        """
        self._view.release()
        self._mapping.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PosixSections:
    """Makes sections."""

    def create(self, length: int) -> Section:
        """Zeroed, page aligned, and sealed in its length: a child that could shorten it would kill us with SIGBUS."""
        if sys.platform == "win32":
            raise NotImplementedError("torchgate.windows makes sections on Windows")
        descriptor = os.memfd_create("torchgate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, length)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return PosixSection(descriptor, mmap.mmap(descriptor, length))
        except BaseException:
            os.close(descriptor)
            raise
