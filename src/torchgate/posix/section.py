"""Shared sections as sealed memfds: no name anywhere, handed over as descriptors."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Collection

from torchgate.contract.os_services import Section
from torchgate.posix.accounts import uids_of

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

    def create(self, length: int, *, shared_with: Collection[str] = ()) -> Section:
        """Zeroed, page aligned, and sealed in its length: a process that could shorten it would kill us with SIGBUS.

        Whom it is shared with is decided by who is sent the descriptor.
        """
        if sys.platform == "win32":
            raise NotImplementedError("torchgate.windows makes sections on Windows")
        uids_of(shared_with)
        descriptor = os.memfd_create("torchgate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, length)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return PosixSection(descriptor, mmap.mmap(descriptor, length))
        except BaseException:
            os.close(descriptor)
            raise


def map_received(descriptor: int, length: int) -> Section:
    """A section that another process sent; the descriptor is closed in any case.

    Raises:
        OSError: it is shorter than that, or the sender could still shorten it.
    """
    if sys.platform == "win32":
        raise NotImplementedError("torchgate.windows opens sections on Windows")
    try:
        if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise OSError("the section that was handed over is not sealed against shrinking; it is not opened")
        has = os.fstat(descriptor).st_size
        if has < length:
            raise OSError(f"the section that was handed over has {has} bytes; {length} were announced")
        return PosixSection(-1, mmap.mmap(descriptor, length))
    finally:
        os.close(descriptor)
