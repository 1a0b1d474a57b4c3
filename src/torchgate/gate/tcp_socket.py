"""A TCP address that is ours alone. Imports nothing but sockets: it is needed before anything that takes long."""

from __future__ import annotations

import socket
import sys


def bound_tcp_socket(host: str, port: int) -> socket.socket:
    """A socket bound so that no other process can take the address too; it does not listen yet, and never blocks.

    Args:
        host: an address, not a name.
        port: 0 takes a free one.

    Raises:
        OSError: the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # There SO_REUSEADDR lets another process steal the port; this one forbids it.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
