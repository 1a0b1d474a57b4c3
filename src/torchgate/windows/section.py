"""Shared sections as pagefile-backed file mappings.

Children get a handle that is duplicated into them; such a section has no name. A peer of another account can't be
given a handle without rights to its process; a section for it has a name that nobody can guess, and an access list.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import re
    import secrets
    import weakref
    from collections.abc import Collection
    from ctypes import wintypes

    from torchgate.contract.os_services import Section
    from torchgate.windows.access_list import admitting, owner_of

    _INVALID_HANDLE = wintypes.HANDLE(-1)
    _PAGE_READWRITE = 0x04
    _MAP_READ_WRITE = 0x0002 | 0x0004  # FILE_MAP_WRITE, FILE_MAP_READ

    _READ_CONTROL = 0x0002_0000
    _SECTION_READ_WRITE = _READ_CONTROL | 0x0001 | 0x0002 | 0x0004  # SECTION_QUERY, _MAP_WRITE, _MAP_READ
    _ALREADY_EXISTS = 183
    _TOKEN_BYTES = 16

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _create_mapping = _kernel32.CreateFileMappingW
    _create_mapping.restype = wintypes.HANDLE
    _create_mapping.argtypes = [
        wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, wintypes.LPCWSTR,
    ]  # fmt: skip
    _open_mapping = _kernel32.OpenFileMappingW
    _open_mapping.restype = wintypes.HANDLE
    _open_mapping.argtypes = [wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR]
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
            token: of its name; empty: it has none.

        Raises:
            OSError: it can't be mapped.
        """

        def __init__(self, handle: int, length: int, token: str = "") -> None:
            self._handle = handle
            self._token = token
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

        @property
        def token(self) -> str:
            """By which a peer opens it; empty: it was not made to be shared."""
            return self._token

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

        def create(self, length: int, *, shared_with: Collection[str] = ()) -> Section:
            """Zeroed, page aligned; no account but ours and those named may open it."""
            token = secrets.token_hex(_TOKEN_BYTES) if shared_with else ""
            with admitting(shared_with, _SECTION_READ_WRITE) as attributes:
                handle = _create_mapping(
                    _INVALID_HANDLE,
                    attributes,
                    _PAGE_READWRITE,
                    length >> 32,
                    length & 0xFFFFFFFF,
                    _name(token) if token else None,
                )
            error = ctypes.get_last_error()
            if not handle:
                raise ctypes.WinError(error)
            if token and error == _ALREADY_EXISTS:
                _close_handle(handle)
                raise OSError("somebody else has a section of the random name that was to be ours")
            return WindowsSection(handle, length, token)

    def open_named(token: str, length: int, *, owner: str) -> Section:
        """Map a section that another process made for us.

        Raises:
            OSError: there is none, it is shorter, or it belongs to another account.
        """
        handle = None
        if re.fullmatch(rf"[0-9a-f]{{{2 * _TOKEN_BYTES}}}", token):
            handle = _open_mapping(_MAP_READ_WRITE | _READ_CONTROL, False, _name(token))
        if not handle:
            raise OSError(f"the peer handed over no section {token!r}, or has closed it")
        seen = owner_of(handle)
        if seen != owner:
            _close_handle(handle)
            raise OSError(f"the section that was announced belongs to {seen}, not to {owner}; it is not opened")
        try:
            section = WindowsSection(handle, length)
        except OSError as error:
            raise OSError(f"the section can't be mapped with the {length} bytes that were announced: {error}") from None
        section.close_handle()
        return section

    def _name(token: str) -> str:
        return rf"Local\torchgate-{token}"
