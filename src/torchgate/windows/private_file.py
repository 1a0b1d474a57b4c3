"""Files that only our account, administrators and the system may read."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from pathlib import Path

    import pywintypes
    import win32con
    import win32file
    import win32security

    from torchgate.windows.access_list import own_sid

    _ADMITTED = frozenset({"S-1-5-32-544", "S-1-5-18"})
    """Administrators and the system: they can read everything anyway."""

    _READ = win32con.GENERIC_READ | win32con.GENERIC_ALL | 0x1
    """Bits that let somebody read the content; 0x1 is FILE_READ_DATA."""

    class WindowsPrivateFiles:
        """Implements os_services.PrivateFiles by access lists."""

        def write_new(self, file: Path, content: bytes) -> None:
            """Write a file that is not there yet, with an access list of its own from its first byte on."""
            attributes = win32security.SECURITY_ATTRIBUTES()
            attributes.SECURITY_DESCRIPTOR = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
                f"D:P(A;;FA;;;{own_sid()})(A;;FA;;;BA)(A;;FA;;;SY)", win32security.SDDL_REVISION_1
            )
            try:
                handle = win32file.CreateFile(
                    str(file), win32con.GENERIC_WRITE, 0, attributes, win32con.CREATE_NEW, 0, None
                )
            except pywintypes.error as error:
                raise OSError(0, error.strerror, str(file), error.winerror) from None
            try:
                win32file.WriteFile(handle, content)
                win32file.FlushFileBuffers(handle)
            finally:
                handle.Close()

        def readers(self, file: Path) -> str:
            """Accounts that the access list lets read, besides ours, administrators and the system; or empty."""
            try:
                descriptor = win32security.GetNamedSecurityInfo(
                    str(file), win32security.SE_FILE_OBJECT, win32security.DACL_SECURITY_INFORMATION
                )
            except pywintypes.error as error:
                raise OSError(0, error.strerror, str(file), error.winerror) from None
            entries = descriptor.GetSecurityDescriptorDacl()
            if entries is None:
                return "it has no access list: everybody may read it"
            others = set()
            for number in range(entries.GetAceCount()):
                entry = entries.GetAce(number)
                sid = str(win32security.ConvertSidToStringSid(entry[-1]))
                if entry[0][0] == win32con.ACCESS_ALLOWED_ACE_TYPE and entry[1] & _READ:
                    others.add(sid)
            others -= {own_sid(), *_ADMITTED}
            return f"its access list lets {', '.join(sorted(others))} read it" if others else ""
