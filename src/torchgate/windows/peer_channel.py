"""One end of a connected named pipe, on a Proactor event loop."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import asyncio
    from asyncio.windows_utils import PipeHandle
    from collections.abc import Callable

    from torchgate.contract.local_pipes import Peer
    from torchgate.contract.os_services import ChannelReceiver, Section
    from torchgate.windows.section import WindowsSection, open_named

    _LAST_WRITE_S = 1.0
    """For what was written before a close: a peer that reads takes it at once, one that does not must not hold us."""

    class WindowsPeerChannel(asyncio.Protocol):
        """Our end of an open pipe.

        Args:
            pipe: overlapped, after the handshake; this object owns it.
            peer: who is at the other end.
            takes_sections: whether this is the connecting side.
            on_end: called once, when the pipe is closed.
        """

        def __init__(self, pipe: PipeHandle, peer: Peer, *, takes_sections: bool, on_end: Callable[[], None]) -> None:
            self._loop = asyncio.get_running_loop()
            self._pipe = pipe
            self._peer = peer
            self._takes_sections = takes_sections
            self._on_end = on_end
            self._receiver: ChannelReceiver | None = None
            self._transport: asyncio.Transport | None = None
            self._unsent: list[bytes] = []
            self._unsent_bytes = 0
            self._is_closed = False

        def start(self, receiver: ChannelReceiver) -> None:
            """Read from here on; the receiver hears it."""
            self._receiver = receiver
            if self._is_closed:
                self._loop.call_soon(receiver.channel_closed)
                return
            # asyncio's own maker of named-pipe connections opens them by itself, without what proves the owner; its
            # transport for both ways is what we need of it (the same in CPython 3.11 to 3.14).
            self._transport = self._loop._make_duplex_pipe_transport(self._pipe, self)  # type: ignore[attr-defined]
            self._flush()

        @property
        def peer(self) -> Peer:
            """Who is at the other end."""
            return self._peer

        @property
        def buffered_bytes(self) -> int:
            """Written, and not yet taken by the peer."""
            if self._transport is None or self._is_closed:
                return self._unsent_bytes
            return self._unsent_bytes + self._transport.get_write_buffer_size()

        def write(self, data: bytes | memoryview) -> None:
            """Send without waiting; what is written in one turn of the loop leaves together at its end."""
            if self._is_closed or not data:
                return
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(bytes(data))
            self._unsent_bytes += len(data)

        def hand_over(self, section: Section) -> str:
            """The section's access list admits the peer already; the token is what nobody can guess of its name."""
            if self._takes_sections:
                raise TypeError("sections are handed over by the listening side alone")
            if not isinstance(section, WindowsSection) or not section.token:
                raise TypeError("only sections that WindowsSections made to be shared can be handed over")
            if self._is_closed:
                raise OSError("the peer is gone")
            return section.token

        def open_section(self, token: str, length: int) -> Section:
            """Map a section that the peer handed over, if it is the peer's own."""
            if not self._takes_sections:
                raise OSError(f"a connecting side handed over no section {token!r}: only the listening side does")
            return open_named(token, length, owner=self._peer.account)

        def close(self) -> None:
            """End it; what the peer does not take at once is lost."""
            if self._is_closed:
                return
            self._flush()
            self._is_closed = True
            if self._transport is None:
                self._pipe.close()
                self._ended()
            else:
                self._transport.close()
                self._loop.call_later(_LAST_WRITE_S, self._transport.abort)

        def data_received(self, data: bytes) -> None:
            """From the transport."""
            if self._receiver is not None and not self._is_closed:
                self._receiver.data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            """From the transport."""
            self._is_closed = True
            self._ended()

        def _flush(self) -> None:
            if self._transport is not None and self._unsent:
                self._transport.write(b"".join(self._unsent))
                self._unsent.clear()
                self._unsent_bytes = 0

        def _ended(self) -> None:
            self._unsent.clear()
            self._unsent_bytes = 0
            self._on_end()
            if self._receiver is not None:
                self._receiver.channel_closed()
