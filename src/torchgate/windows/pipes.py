"""One-way pipes between us and a child: our end overlapped for the event loop, the child's plain and inheritable."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import _winapi
    import os
    import secrets
    from asyncio.windows_utils import PipeHandle

    from torchgate.windows.access_list import own_account_only

    _BUFFER_BYTES = 1 << 16
    _REJECT_REMOTE_CLIENTS = 0x08  # PIPE_REJECT_REMOTE_CLIENTS: this machine alone

    def pipe_to_child() -> tuple[PipeHandle, PipeHandle]:
        """(our end, the child's): we write, it reads.

        Our end is open both ways, because asyncio notices a closed reader by a read of its own on the writing end;
        the child's is not: what a child could write there nobody would read, and its write would never return.
        """
        return _pipe(_winapi.GENERIC_READ)

    def pipe_from_child() -> tuple[PipeHandle, PipeHandle]:
        """(our end, the child's): it writes, we read."""
        return _pipe(_winapi.GENERIC_WRITE)

    def _pipe(child_access: int) -> tuple[PipeHandle, PipeHandle]:
        """A named pipe, because anonymous ones can't be overlapped; its one instance is taken before we return.

        The name can't be guessed, nobody else may open it, and nobody can have made it before us.
        """
        name = rf"\\.\pipe\torchgate-{secrets.token_hex(16)}"
        with own_account_only() as attributes:
            ours = PipeHandle(
                _winapi.CreateNamedPipe(
                    name,
                    _winapi.PIPE_ACCESS_DUPLEX | _winapi.FILE_FLAG_FIRST_PIPE_INSTANCE | _winapi.FILE_FLAG_OVERLAPPED,
                    _winapi.PIPE_WAIT | _REJECT_REMOTE_CLIENTS,
                    1,
                    _BUFFER_BYTES,
                    _BUFFER_BYTES,
                    _winapi.NMPWAIT_WAIT_FOREVER,
                    attributes,
                )
            )
        try:
            theirs = PipeHandle(
                _winapi.CreateFile(name, child_access, 0, _winapi.NULL, _winapi.OPEN_EXISTING, 0, _winapi.NULL)
            )
            _winapi.ConnectNamedPipe(ours.handle, overlapped=True).GetOverlappedResult(True)
            os.set_handle_inheritable(theirs.handle, True)
        except BaseException:
            ours.close()
            raise
        return ours, theirs
