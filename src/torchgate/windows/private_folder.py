"""Folders that only our account, administrators and the system may open."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from pathlib import Path

    import win32security

    from torchgate.windows.access_list import own_sid
    from torchgate.windows.surroundings import swappers

    class WindowsPrivateFolders:
        """Makes folders that only our account, administrators and the system may open."""

        def make_private(self, folder: Path) -> None:
            """Create it if it is missing, and close it to others: inheritance is cut, what lies in it inherits.

            Raises:
                OSError: it could not be made, or belongs to another account.
            """
            folder.mkdir(parents=True, exist_ok=True)
            close_to_others(folder, own_sid())

        def swappers(self, folder: Path) -> tuple[str, ...]:
            """Who could rename a folder around it, or in one."""
            return swappers(folder)

    def close_to_others(folder: Path, account: str) -> None:
        """Admit an account, administrators and the system to all of it, and nobody else.

        Raises:
            OSError: it could not be, because it belongs to somebody else for example.
        """
        # OI, CI: files and folders in it inherit; BA: administrators; SY: the system.
        entries = "".join(f"(A;OICI;FA;;;{who})" for who in dict.fromkeys((account, "BA", "SY")))
        descriptor = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
            f"D:P{entries}", win32security.SDDL_REVISION_1
        )
        what = win32security.DACL_SECURITY_INFORMATION | win32security.PROTECTED_DACL_SECURITY_INFORMATION
        entries_list = descriptor.GetSecurityDescriptorDacl()
        try:
            # The first carries it into what lies there already; the second is the folder's last word (Wine
            # puts inherited entries back in the first, against the protection that we ask for).
            win32security.SetNamedSecurityInfo(
                str(folder), win32security.SE_FILE_OBJECT, what, None, None, entries_list, None
            )
            win32security.SetFileSecurity(str(folder), what, descriptor)
        except win32security.error as error:
            raise OSError(0, error.strerror, str(folder), error.winerror) from None
