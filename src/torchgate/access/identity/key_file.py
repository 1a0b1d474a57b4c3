"""keys.toml: API keys apart from the configuration, so that we never write into a file that people write.

What a command changes is a new content; it is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from torchgate.access.api_key_settings import ApiKeySettings, KeyFileSettings, RevokedKeySettings
from torchgate.contract.settings_file import read_settings

_HEAD = """# API keys of this project, as hashes. Written by `torchgate keys`: comments here are not kept.
# A running server reads this file again when it changes.
"""
_REPLACE_ATTEMPTS = 100
_REPLACE_PAUSE_S = 0.02  # Windows refuses to replace a file while a server reads it, which takes microseconds


class KeyFileError(ValueError):
    """The file can't be used or changed so; the sentence says why, and has no word of a key."""


def read_key_file(path: Path) -> KeyFileSettings:
    """What the file holds; nothing where it is missing.

    Raises:
        KeyFileError: it is there and can't be used.
    """
    if not path.exists():
        return KeyFileSettings()
    content, findings = read_settings(path, KeyFileSettings)
    if content is None:
        raise KeyFileError("\n".join(str(finding) for finding in findings))
    _refuse_duplicates([key.id for key in content.keys], path)
    _refuse_duplicates([digest for key in content.keys for digest in (key.sha256, key.previous_sha256) if digest], path)
    return content


def counting_keys(configured: Sequence[ApiKeySettings], content: KeyFileSettings) -> tuple[ApiKeySettings, ...]:
    """The keys of torchgate.toml and of the file together; a revoked one counts nowhere.

    Raises:
        KeyFileError: an id stands in both.
    """
    known = {key.id for key in configured}
    for key in content.keys:
        if key.id in known:
            raise KeyFileError(f"API key {key.id!r} stands in torchgate.toml and in the file of keys; keep one.")
    revoked = {key.id for key in content.revoked}
    return tuple(key for key in (*configured, *content.keys) if key.id not in revoked)


def added(content: KeyFileSettings, key: ApiKeySettings) -> KeyFileSettings:
    """With one more key.

    Raises:
        KeyFileError: its id is taken, or was.
    """
    if any(other.id == key.id for other in content.keys):
        raise KeyFileError(f"there is a key {key.id!r} already. To give it a new value, use --rotate.")
    for gone in content.revoked:
        if gone.id == key.id:
            raise KeyFileError(
                f"the key {key.id!r} was revoked on {gone.at.date()}, and an id is used once. Choose another."
            )
    return content.model_copy(update={"keys": (*content.keys, key)})


def rotated(
    content: KeyFileSettings, key_id: str, sha256: str, overlap_ends: datetime, expires: datetime | None, now: datetime
) -> KeyFileSettings:
    """With a new value of a key; the former one counts until the overlap ends.

    Args:
        expires: of the new value, or None: as before.

    Raises:
        KeyFileError: there is no such key, or its new value would have expired already.
    """
    key = found(content, key_id)
    ends = expires or key.expires
    if ends is not None and ends <= now:
        raise KeyFileError(f"the key {key_id!r} expired at {text_of_time(ends)}. Say --expires for its new value.")
    changed = key.model_copy(
        update={
            "sha256": sha256,
            "expires": ends,
            "previous_sha256": key.sha256,
            "previous_expires": min(overlap_ends, key.expires) if key.expires is not None else overlap_ends,
        }
    )
    return content.model_copy(
        update={"keys": tuple(changed if other.id == key_id else other for other in content.keys)}
    )


def revoked(content: KeyFileSettings, key: ApiKeySettings, now: datetime) -> KeyFileSettings:
    """Without a key, which is remembered as revoked; it may stand in torchgate.toml."""
    gone = RevokedKeySettings(id=key.id, at=now, name=key.name)
    return KeyFileSettings(
        keys=tuple(other for other in content.keys if other.id != key.id), revoked=(*content.revoked, gone)
    )


def found(content: KeyFileSettings, key_id: str) -> ApiKeySettings:
    """A key of the file.

    Raises:
        KeyFileError: there is none of this id.
    """
    for key in content.keys:
        if key.id == key_id:
            return key
    raise KeyFileError(f"the file of keys has no key {key_id!r}. `torchgate keys list` shows all.")


@contextmanager
def being_changed(path: Path) -> Iterator[None]:
    """The file is ours to change for the block: two commands at once would lose one's change.

    Raises:
        KeyFileError: another command is at it, or the folder can't be written.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise KeyFileError(
            f"another command changes {path} now. If none does (one was killed), remove {lock}."
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path.parent} can't be written: {error.strerror or error}.") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


def write_key_file(path: Path, content: KeyFileSettings) -> None:
    """Replace the file at once, keeping who may read it.

    Raises:
        KeyFileError: it can't be written.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text_of(content))
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, draft)
        _replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise KeyFileError(f"{path} can't be written: {error.strerror or error}.") from None


def text_of(content: KeyFileSettings) -> str:
    """The file's text."""
    tables = [entry_text(key, "keys") for key in content.keys]
    tables += [
        f'[[revoked]]\nid = "{gone.id}"\nat = {text_of_time(gone.at)}\n'
        + (f"name = {_toml_text(gone.name)}\n" if gone.name else "")
        for gone in content.revoked
    ]
    return "\n".join([_HEAD, *tables])


def entry_text(key: ApiKeySettings, table: str) -> str:
    """One key as a table of TOML."""
    lines = [f"[[{table}]]", f'id = "{key.id}"', f'sha256 = "{key.sha256}"']
    if key.name:
        lines.append(f"name = {_toml_text(key.name)}")
    if key.roles:
        lines.append(f"roles = [{', '.join(map(_toml_text, key.roles))}]")
    if key.expires is not None:
        lines.append(f"expires = {text_of_time(key.expires)}")
    if key.previous_sha256 is not None and key.previous_expires is not None:
        lines.append(f'previous_sha256 = "{key.previous_sha256}"')
        lines.append(f"previous_expires = {text_of_time(key.previous_expires)}")
    return "\n".join(lines) + "\n"


def text_of_time(at: datetime) -> str:
    """In UTC, whole seconds, as TOML has it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _toml_text(text: str) -> str:
    """A TOML string; JSON's escapes are TOML's, but for one character that TOML wants escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _refuse_duplicates(values: list[str], path: Path) -> None:
    for value in values:
        if values.count(value) > 1:
            raise KeyFileError(f"{path}: {value!r} is there twice; each is allowed once.")


def _replace(draft: Path, path: Path) -> None:
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            draft.replace(path)
        except PermissionError:
            if attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(_REPLACE_PAUSE_S)
        else:
            return
