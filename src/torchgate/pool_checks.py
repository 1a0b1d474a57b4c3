"""What `check` says about `[pool]`: accounts that are none here, and a folder where pool and gates can't meet."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from torchgate.config import PoolSettings, TorchgateSettings
from torchgate.contract.findings import Finding
from torchgate.contract.virtual_accounts import as_peer
from torchgate.contract.windows_tokens import WindowsAccounts

_OF_ALL = stat.S_IWGRP | stat.S_IWOTH


def pool_checks(settings: TorchgateSettings, windows: WindowsAccounts | None) -> Iterator[Finding]:
    """All that can be seen from here; without a `[pool]` of its own a project needs none of it.

    Args:
        windows: names of SIDs; None where this is not Windows.
    """
    pool = settings.pool
    if pool == PoolSettings():
        return
    yield Finding("info", "`torchgate pool` and `torchgate gate` go by it; `torchgate serve` does not.", setting="pool")
    own = _own_account(windows)
    for index, account in enumerate(pool.gates):
        yield from _account(account, f"pool.gates.{index}", windows)
    if pool.owner:
        yield from _account(pool.owner, "pool.owner", windows)
    yield from _other_accounts(pool, own)
    yield from _folder(pool.folder or settings.state.folder, "" if windows is not None else pool.owner or own)


def _own_account(windows: WindowsAccounts | None) -> str:
    if windows is not None:
        return windows.own_sid()
    return "" if sys.platform == "win32" else f"uid:{os.geteuid()}"


def _account(account: str, setting: str, windows: WindowsAccounts | None) -> Iterator[Finding]:
    is_uid = account.startswith("uid:")
    if is_uid == (windows is not None):
        wanted = (
            "a SID, `IIS AppPool\\NAME` or `NT SERVICE\\NAME`"
            if windows is not None
            else "uid: and a number, as `id -u` says it"
        )
        yield Finding("error", f"{account} is no account of this system. It must be {wanted}.", setting=setting)
    elif not _has_name(account, windows):
        yield Finding(
            "warning",
            f"{account} is nobody who is known here.",
            setting=setting,
            remedy="Look for a slip of the pen; an account that is made later, or is known elsewhere, may be right.",
        )


def _has_name(account: str, windows: WindowsAccounts | None) -> bool:
    if windows is None:
        from torchgate.posix.accounts import has_name  # here: it exists on this system alone

        return has_name(account)
    try:
        windows.by_sid(as_peer(account))
    except LookupError:
        return False
    except OSError:
        pass  # a domain that can't be asked now knows more than we do
    return True


def _other_accounts(pool: PoolSettings, own: str) -> Iterator[Finding]:
    others = sorted(account for account in set(pool.gates) if as_peer(account) != (pool.owner_account or own))
    if not others:
        return
    if not pool.owner:
        yield Finding(
            "warning",
            f"{', '.join(others)} may connect, but a gate believes a pool of its own account alone.",
            setting="pool.owner",
            remedy="Name the account that the pool runs as.",
        )
    if pool.folder is None:
        yield Finding(
            "warning",
            f"{', '.join(others)} can't write into the pool's state folder, and a gate keeps its audit there.",
            setting="pool.folder",
            remedy="Give gates of other accounts a state.folder of their own, and all of them one pool.folder.",
        )


def _folder(folder: Path, owner: str) -> Iterator[Finding]:
    """Whose it must be, where folders say that by a number; on Windows the pipe lies in none."""
    try:
        found = folder.stat()
        around = folder.parent.stat()
    except FileNotFoundError:
        return  # the pool makes it
    except OSError as error:
        yield Finding("error", f"{folder} can't be looked at: {error.strerror or error}.", setting="pool.folder")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("error", f"{folder} is no folder.", setting="pool.folder")
    elif owner:
        yield from _ownership(folder, found, around, owner)


def _ownership(folder: Path, found: os.stat_result, around: os.stat_result, owner: str) -> Iterator[Finding]:
    if f"uid:{found.st_uid}" != owner:
        yield Finding(
            "error",
            f"{folder} belongs to uid:{found.st_uid}, who could put another pipe in its place; it must belong to "
            f"{owner}, as whom the pool runs.",
            setting="pool.folder",
        )
    if around.st_mode & _OF_ALL and not around.st_mode & stat.S_ISVTX:
        yield Finding(
            "warning",
            f"others than its owner may write into {folder.parent}, and so put another folder in place of "
            f"{folder.name}.",
            setting="pool.folder",
            remedy="Take that right away (chmod go-w), or name another folder.",
        )
