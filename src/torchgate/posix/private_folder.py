"""Folders that only our account may open."""

from __future__ import annotations

from pathlib import Path

from torchgate.posix.surroundings import swappers

_OWNER_ONLY = 0o700


class PosixPrivateFolders:
    """Makes folders that only our account, and root, may open."""

    def make_private(self, folder: Path) -> None:
        """Create it if it is missing, and close it to others; its parents are made as the umask says.

        Raises:
            OSError: it could not be made, or belongs to another account.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        folder.chmod(_OWNER_ONLY)

    def swappers(self, folder: Path) -> tuple[str, ...]:
        """Who could rename a folder around it, or in one."""
        return swappers(folder)
