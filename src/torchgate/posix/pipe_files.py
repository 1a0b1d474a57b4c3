"""The socket's file: in a folder closed to all but the allowed accounts, ours by a lock that dies with us."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torchgate.contract.local_pipes import AddressTaken, PipeAddress

if sys.platform != "win32":
    import fcntl

_LONGEST_PATH_BYTES = 107
"""What fits into a socket's address with its closing zero. Source: unix(7), sun_path[108]."""

_ACCESS_LIST = "system.posix_acl_access"
_ACCESS_LIST_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
"""Source: linux/posix_acl_xattr.h."""

_READ, _WRITE, _SEARCH = 4, 2, 1


def socket_path(address: PipeAddress) -> Path:
    """Where the socket lies.

    Raises:
        ValueError: the name is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", address.name):
        raise ValueError(f"{address.name!r} is no name of a pipe; use letters, digits and hyphens, at most 40")
    return address.folder / f"{address.name}.sock"


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path to the same file that fits into a socket's address; valid inside.

    Raises:
        OSError: the folder can't be opened.
    """
    if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class SocketFile:
    """A listening socket, its file, and the lock that says that the file is ours.

    Args:
        address: where.
        uids: who may open it. What the file's modes let through is still asked for its credentials.

    Raises:
        AddressTaken: another process holds the lock.
        OSError: it can't be made or closed to others.
    """

    def __init__(self, address: PipeAddress, uids: Collection[int]) -> None:
        self._path = socket_path(address)
        _make_folder(address.folder, uids)
        self._lock = _lock(self._path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._path.unlink(missing_ok=True)  # of a process that was killed: we hold its lock
            with short_path(self._path) as path:
                self._socket.bind(path)
            _admit(self._path, uids, _READ | _WRITE)
            self._socket.listen()
        except BaseException:
            self.close()
            raise

    @property
    def socket(self) -> socket.socket:
        """Non-blocking, listening."""
        return self._socket

    def close(self) -> None:
        """Take the file away; the lock's file stays, because to remove it would race with the next who locks it."""
        if self._lock < 0:
            return
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()
        os.close(self._lock)
        self._lock = -1


def _make_folder(folder: Path, uids: Collection[int]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise PermissionError(
            f"{folder} belongs to uid {owner}, who could replace what lies in it; it must belong to uid {os.geteuid()}"
        )
    _admit(folder, uids, _SEARCH)


def _admit(path: Path, uids: Collection[int], rights: int) -> None:
    """Let exactly these accounts in, beside the owner: by mode bits, and by an access list where others are named."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    others = sorted(set(uids) - {os.geteuid()})
    if not others:
        return
    if sys.platform != "linux":
        raise NotImplementedError("other accounts are let in on Linux and Windows")
    entries = [(_OWNER, _READ | _WRITE | _SEARCH, _NO_ID)]
    entries += [(_USER, rights, uid) for uid in others]
    entries += [(_GROUP, 0, _NO_ID), (_MASK, rights, _NO_ID), (_OTHER, 0, _NO_ID)]
    try:
        os.setxattr(path, _ACCESS_LIST, _ACCESS_LIST_VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        raise OSError(
            f"the file system of {path} has no access lists, which let other accounts in; "
            f"put the state folder on ext4, xfs, btrfs or tmpfs, or let gate and pool run as one account"
        ) from error


def _lock(path: Path) -> int:
    if sys.platform == "win32":
        raise NotImplementedError("torchgate.windows makes pipes on Windows")
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AddressTaken(
            f"another process listens at {path}; stop it first, or use a state folder of your own"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
