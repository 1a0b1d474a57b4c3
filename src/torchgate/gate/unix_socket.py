"""A listening socket in the file system, which only those may open whom its permissions name."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

MAX_PATH_BYTES = 107
"""Source: sun_path of Linux, unix(7)."""


def unix_socket_mistake(path: str) -> str:
    """What is wrong with the path of a unix socket; empty where nothing is."""
    if sys.platform == "win32":
        return "there are no unix sockets for this server on Windows; bind 127.0.0.1 and a port"
    if not path.startswith("/"):
        return f"the path of a unix socket must be absolute, and it is {path!r}"
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        return f"the path of a unix socket may have {MAX_PATH_BYTES} bytes, and this one has {len(os.fsencode(path))}"
    return ""


def bound_unix_socket(path: Path, mode: int) -> socket.socket:
    """A socket bound at a path; what a server that ended without notice left there is removed.

    Args:
        path: absolute.
        mode: permissions of the socket: connecting needs the right to write.

    Raises:
        OSError: it can't be bound, another server listens there, or everybody may change its folder.
    """
    _refuse_open_folder(path.parent)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(0o777 & ~0o600)  # so that nobody connects between bind and chmod
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def remove_unix_socket(path: Path, bound: socket.socket) -> None:
    """Take the socket away, unless it was taken away already or another one is in its place.

    Args:
        path: where it was bound.
        bound: still open: its name is compared.
    """
    try:
        if bound.fileno() >= 0 and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    except OSError:
        return


def _refuse_open_folder(folder: Path) -> None:
    """Whoever may rename files in the folder could put a socket of its own there, and get what the proxy sends."""
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, f"everybody may write into {folder}, and so exchange the socket; use another folder")


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"{path} is there and is no socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(1.0)
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink()
    else:
        raise OSError(errno.EADDRINUSE, f"another server listens on {path}")
    finally:
        probe.close()
