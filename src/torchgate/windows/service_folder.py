"""The folder that a service alone writes into."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from collections.abc import Callable
    from pathlib import Path

    import pywintypes
    import win32security

    from torchgate.contract.virtual_accounts import sid_of_account
    from torchgate.windows.access_list import own_sid
    from torchgate.windows.private_folder import close_to_others

    _SYSTEMS_OWN = frozenset({"S-1-5-18", "S-1-5-32-544", sid_of_account("NT SERVICE\\TrustedInstaller")})
    """The system, administrators, and what installs Windows."""

    def make_service_folder(folder: Path, account: str, *, owner_of: Callable[[Path], str] | None = None) -> None:
        """Make it where it is missing, for the service's account, administrators and the system alone.

        The service may change who else, as owners may.

        Args:
            owner_of: says the SID of a folder's owner; None: as the file system has it.

        Raises:
            OSError: it can't be made, or it or the folder around it belongs to somebody else, who could put another in
                its place: everybody may make folders in ProgramData.
        """
        sid = sid_of_account(account) or _looked_up(account)
        for place in (folder.parent, folder):
            place.mkdir(parents=True, exist_ok=True)
            if (owner := (owner_of or owner_of_file)(place)) not in _SYSTEMS_OWN | {own_sid(), sid}:
                raise OSError(
                    f"{place} belongs to {owner}, who could put another folder in its place. Remove it, or name "
                    "another by --state-folder"
                )
        close_to_others(folder, sid)

    def owner_of_file(path: Path) -> str:
        """Its owner's SID.

        Raises:
            OSError: it can't be read.
        """
        try:
            descriptor = win32security.GetFileSecurity(str(path), win32security.OWNER_SECURITY_INFORMATION)
        except pywintypes.error as error:
            raise _translated(error, str(path)) from None
        return str(win32security.ConvertSidToStringSid(descriptor.GetSecurityDescriptorOwner()))

    def _looked_up(account: str) -> str:
        try:
            name = account.removeprefix(".\\")
            return str(win32security.ConvertSidToStringSid(win32security.LookupAccountName(None, name)[0]))
        except pywintypes.error as error:
            raise _translated(error, account) from None

    def _translated(error: pywintypes.error, what: str) -> OSError:
        return OSError(0, error.strerror, what, error.winerror)
