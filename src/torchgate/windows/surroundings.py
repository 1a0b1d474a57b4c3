"""Who could put another folder in the place of ours: whoever may rename a folder around it, or what lies in one."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from collections.abc import Callable
    from pathlib import Path

    import pywintypes
    import win32con
    import win32security

    from torchgate.windows.access_list import allowed_entries, own_sid

    _BELIEVED = frozenset(
        {
            "S-1-5-32-544",
            "S-1-5-18",
            "S-1-3-0",
            "S-1-3-4",
            "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
        }
    )
    """Administrators, the system, the owner by its two names, TrustedInstaller."""
    _DELETE_CHILD = 0x40
    _DELETE = 0x10000
    _LIST_ITSELF = win32con.WRITE_DAC | win32con.WRITE_OWNER | win32con.GENERIC_ALL
    _NOT_SWAPPED = _DELETE_CHILD | _LIST_ITSELF
    """Of a drive: nobody renames it."""

    def swappers(
        folder: Path, entries_of: Callable[[Path], list[tuple[str, int]] | None] | None = None
    ) -> tuple[str, ...]:
        r"""One sentence for each folder around this one that others may rename, or rename in, with the remedy.

        To make folders is no such right: everybody may in C:\ProgramData, and nobody is harmed. Owners are believed.

        Args:
            folder: that it is about; what is not there yet is passed over.
            entries_of: says who has which rights to a folder, or None for everybody all; as the file system has it.
        """
        found = []
        for place in folder.absolute().parents:
            if not place.is_dir():
                continue
            try:
                entries = (entries_of or allowed_entries)(place)
            except OSError:
                continue  # whoever may not look at the list may not be told of it either
            harmful = _NOT_SWAPPED if place == place.parent else _NOT_SWAPPED | _DELETE
            others = (
                ["everybody, for it has no access list,"]
                if entries is None
                else sorted({sid for sid, mask in entries if mask & harmful} - {own_sid(), *_BELIEVED})
            )
            if others:
                found.append(
                    f"{place}: {', '.join(map(_shown, others))} may put another folder in the place of it, or of what "
                    "lies there. Leave such rights (modify, full control) to administrators (icacls)"
                )
        return tuple(found)

    def _shown(sid: str) -> str:
        if not sid.startswith("S-1-"):
            return sid
        try:
            name, domain, _ = win32security.LookupAccountSid(None, win32security.ConvertStringSidToSid(sid))
        except pywintypes.error:
            return sid
        return f"{domain}\\{name}" if domain else str(name)
