"""The child's end of its channel: two inherited pipe handles."""

from __future__ import annotations

import sys


def channel_argument(to_child: int, from_child: int) -> str:
    """What tells the child where its channel is."""
    return f"{to_child}:{from_child}"


if sys.platform == "win32":
    import msvcrt
    import os
    from collections.abc import Sequence

    from torchgate.contract.os_services import Section
    from torchgate.windows.section import WindowsSection

    _READ_BYTES = 1 << 16

    class WindowsWorkerEnd:
        """The child's end of its channel, blocking.

        Args:
            incoming, outgoing: descriptors of the two pipes.
        """

        def __init__(self, incoming: int, outgoing: int) -> None:
            self._incoming = incoming
            self._outgoing = outgoing

        @classmethod
        def from_arguments(cls, arguments: Sequence[str]) -> WindowsWorkerEnd:
            """Take over what `WindowsChildren` put first on the command line.

            The death that follows the parent's is the job object's doing: its last handle closes with the parent.

            Raises:
                ValueError: there is no such argument.
                OSError: its handles are none.
            """
            if not arguments:
                raise ValueError("no channel on the command line: this program is started by torchgate alone")
            handles = [int(part) for part in arguments[0].split(":")]
            for handle in handles:
                os.set_handle_inheritable(handle, False)
            return cls(
                msvcrt.open_osfhandle(handles[0], os.O_RDONLY | os.O_BINARY),
                msvcrt.open_osfhandle(handles[1], os.O_BINARY),
            )

        def read(self) -> bytes:
            """At least one byte of what was sent; empty when the parent is gone."""
            return os.read(self._incoming, _READ_BYTES)

        def write(self, data: bytes) -> None:
            """All of it."""
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._outgoing, rest) :]

        def open_section(self, token: int, length: int) -> Section:
            """Map a section that the parent handed over: the token is a handle of this process."""
            section = WindowsSection(token, length)
            section.close_handle()
            return section
