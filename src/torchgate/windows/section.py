"""Shared sections as pagefile-backed file mappings: without a name, opened by a handle that is duplicated."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import weakref
    from ctypes import wintypes

    from torchgate.contract.os_services import Section
    from torchgate.windows.access_list import own_account_only

    _INVALID_HANDLE = wintypes.HANDLE(-1)
    _PAGE_READWRITE = 0x04
    _MAP_READ_WRITE = 0x0002 | 0x0004  # FILE_MAP_WRITE, FILE_MAP_READ

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _create_mapping = _kernel32.CreateFileMappingW
    _create_mapping.restype = wintypes.HANDLE
    _create_mapping.argtypes = [
        wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, wintypes.LPCWSTR,
    ]  # fmt: skip
    _map_view = _kernel32.MapViewOfFile
    _map_view.restype = ctypes.c_void_p
    _map_view.argtypes = [wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, ctypes.c_size_t]
    _unmap_view = _kernel32.UnmapViewOfFile
    _unmap_view.argtypes = [ctypes.c_void_p]
    _close_handle = _kernel32.CloseHandle
    _close_handle.argtypes = [wintypes.HANDLE]

    class WindowsSection:
        """A mapped section.

        The memory is unmapped when the last view of it is gone, not before: an address that somebody still reads
        must not become invalid.

        Args:
            handle: of the mapping; this object owns it.
            length: to map.

        Raises:
            OSError: it can't be mapped.
        """

        def __init__(self, handle: int, length: int) -> None:
            self._handle = handle
            address = _map_view(handle, _MAP_READ_WRITE, 0, 0, length)
            if not address:
                error = ctypes.WinError(ctypes.get_last_error())
                self.close_handle()
                raise error
            array = (ctypes.c_ubyte * length).from_address(address)
            weakref.finalize(array, _unmap_view, address).atexit = False
            self._view = memoryview(array).cast("B")

        @property
        def view(self) -> memoryview:
            """Writable, the whole of it."""
            return self._view

        @property
        def handle(self) -> int:
            """What is duplicated into a child."""
            return self._handle

        def close(self) -> None:
            """Unmap it here, once no view of it is left. Safe to call twice."""
            self._view.release()
            self.close_handle()

        def close_handle(self) -> None:
            """Keep the mapping alone, as in a child."""
            if self._handle:
                _close_handle(self._handle)
                self._handle = 0

    class WindowsSections:
        """Makes sections."""

        def create(self, length: int) -> Section:
            """Zeroed, page aligned; no account but ours may open it."""
            with own_account_only() as attributes:
                handle = _create_mapping(
                    _INVALID_HANDLE, attributes, _PAGE_READWRITE, length >> 32, length & 0xFFFFFFFF, None
                )
            if not handle:
                raise ctypes.WinError(ctypes.get_last_error())
            return WindowsSection(handle, length)
