"""`torchgate keys`: API keys of a project; nothing of them but their hashes is written anywhere."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from torchgate.access.api_key_settings import ApiKeySettings, KeyFileSettings
from torchgate.access.identity.api_key import NewApiKey, new_api_key
from torchgate.access.identity.key_file import (
    KeyFileError,
    added,
    being_changed,
    entry_text,
    found,
    read_key_file,
    revoked,
    rotated,
    text_of_time,
    write_key_file,
)
from torchgate.config import TorchgateSettings, read_configuration
from torchgate.contract.settings_file import nearest
from torchgate.terminal import Unsaid, WrongUse, fail, note, say

SOON = timedelta(days=14)
"""Before its end a key is shown as one that expires soon."""

_SPAN = re.compile(r"([1-9][0-9]{0,3})([mhdw])")
_OVERLAP = "7d"
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class CommandMistake(Exception):
    """The command can't be done; the text says why and what to do."""


def new_key(parsed: argparse.Namespace) -> int:
    """Make a key, or a new value of one; print it this once, and keep its hash in the file of keys."""
    now = _now()
    _refuse_contradictions(parsed)
    try:
        if len(parsed.name) > 128 or not parsed.name.isprintable():
            raise WrongUse("--name has more than 128 characters, or some that can't be printed.")
        key = _new_key(parsed.id)
        expires = None if parsed.expires is None else ending(parsed.expires, now)
        roles = tuple(filter(None, (role.strip() for role in (parsed.roles or "").split(","))))
        if parsed.print:
            entry = ApiKeySettings(id=key.id, sha256=key.sha256, name=parsed.name, roles=roles, expires=expires)
            return _print_entry(key, entry)
        settings = _settings(parsed)
        _refuse_unknown(roles, settings)
        entry = ApiKeySettings(id=key.id, sha256=key.sha256, name=parsed.name, roles=roles, expires=expires)
        place = _write_new(parsed, settings, entry, key.key, now)
    except (CommandMistake, KeyFileError) as error:
        return fail(str(error))
    note(f"\nIts hash is in {place}. {_running_server(settings)}")
    if not (roles or parsed.rotate or _has_role(key.id, settings)):
        note(f'It has no role yet: add the member "key:{key.id}" to one in torchgate.toml, or make it with --roles.')
    return 0


def list_keys(parsed: argparse.Namespace) -> int:
    """Print each key with its state; 0 whatever the states are."""
    now = _now()
    try:
        settings = _settings(parsed)
        content = read_key_file(settings.identity.api_keys_file)
    except (CommandMistake, KeyFileError) as error:
        return fail(str(error))
    rows = _rows(settings, content, now)
    if parsed.json:
        say(json.dumps(rows, ensure_ascii=False))
        return 0
    for row in rows:
        say(f"{row['id']:24} {row['state']:14} {_told(row)}".rstrip())
    if not rows:
        note("There are no API keys. Make one: torchgate keys new ID")
    return 0


def revoke_key(parsed: argparse.Namespace) -> int:
    """Take a key out of service; its id is not given out again."""
    try:
        settings = _settings(parsed)
        path = settings.identity.api_keys_file
        with being_changed(path):
            content = read_key_file(path)
            if any(gone.id == parsed.id for gone in content.revoked):
                return fail(f"the key {parsed.id!r} is revoked already.")
            configured = next((key for key in settings.identity.api_keys if key.id == parsed.id), None)
            key = configured or found(content, parsed.id)
            write_key_file(path, revoked(content, key, _now()))
    except (CommandMistake, KeyFileError) as error:
        return fail(str(error))
    say(f"The key {parsed.id} is revoked. {_running_server(settings)}")
    if configured is not None:
        note(f"It stands in torchgate.toml, too, where it counts no more as long as {path.name} says so.")
    return 0


def ending(text: str, now: datetime) -> datetime:
    """The moment that a span like `90d`, or a date, ends at.

    Raises:
        WrongUse: it is neither, or has passed.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now + int(span[1]) * _UNITS[span[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUse(
            f"{text!r} is neither a span like 90d (m, h, d, w) nor a date like 2030-01-31 or 2030-01-31T12:00:00Z."
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if at <= now:
        raise WrongUse(f"{text} has passed. Choose a later date.")
    return at


def state_of(key: ApiKeySettings, now: datetime) -> str:
    """`expired`, `expires soon`, `rotating` (its former value counts, too) or `valid`."""
    if key.expires is not None and key.expires <= now:
        return "expired"
    if key.expires is not None and key.expires <= now + SOON:
        return "expires soon"
    if key.previous_expires is not None and key.previous_expires > now:
        return "rotating"
    return "valid"


def _write_new(
    parsed: argparse.Namespace, settings: TorchgateSettings, entry: ApiKeySettings, value: str, now: datetime
) -> Path:
    path = settings.identity.api_keys_file
    if any(key.id == entry.id for key in settings.identity.api_keys):
        raise CommandMistake(
            f"the key {entry.id!r} stands in torchgate.toml, which is not written here. "
            f"Move its lines to {path} (as [[keys]]), or change it by hand with --print."
        )
    with being_changed(path):
        content = read_key_file(path)
        if parsed.rotate:
            overlap_ends = ending(parsed.overlap or _OVERLAP, now)
            changed = rotated(content, entry.id, entry.sha256, overlap_ends, entry.expires, now)
            former = found(changed, entry.id).previous_expires
            note(f"The former value counts until {text_of_time(former or overlap_ends)}.\n")
        else:
            changed = added(content, entry)
        _show(value)  # before it counts: a key that nobody has seen could only be revoked
        try:
            write_key_file(path, changed)
        except KeyFileError as error:
            raise CommandMistake(f"{error} The value above counts for nothing.") from None
    return path


def _refuse_contradictions(parsed: argparse.Namespace) -> None:
    if parsed.rotate and (parsed.roles is not None or parsed.name):
        raise WrongUse("a new value leaves the key's name and roles as they are. Leave --name and --roles out.")
    if parsed.rotate and parsed.print:
        raise WrongUse("--rotate changes a key of the file of keys, and --print writes nothing. Leave one out.")
    if parsed.overlap is not None and not parsed.rotate:
        raise WrongUse("--overlap is how long the former value of a key counts on: say --rotate with it.")


def _new_key(key_id: str) -> NewApiKey:
    try:
        return new_api_key(key_id)
    except ValueError as error:
        raise WrongUse(f"{error}.") from None


def _show(value: str) -> None:
    note("The key, shown this once; give it to its user on a safe way:\n")
    try:
        say(value)
    except Unsaid as unsaid:
        raise Unsaid(unsaid.error, "Nobody has seen the key, so that none was made, and nothing was changed.") from None


def _print_entry(key: NewApiKey, entry: ApiKeySettings) -> int:
    _show(key.key)
    note("\nInto torchgate.toml, and then give the key a role by the member")
    note(f'"key:{key.id}":\n')
    say(entry_text(entry, "identity.api_keys").rstrip())
    return 0


def _rows(settings: TorchgateSettings, content: KeyFileSettings, now: datetime) -> list[dict[str, object]]:
    gone = {one.id for one in content.revoked}
    file = settings.identity.api_keys_file.name
    placed = [(key, "torchgate.toml") for key in settings.identity.api_keys if key.id not in gone]
    placed += [(key, file) for key in content.keys]
    rows: list[dict[str, object]] = [
        {
            "id": key.id,
            "state": state_of(key, now),
            "name": key.name,
            "roles": _roles_of(key, settings),
            "expires": None if key.expires is None else text_of_time(key.expires),
            "former_value_until": _former(key, now),
            "place": place,
        }
        for key, place in placed
    ]
    revoked: list[dict[str, object]] = [
        {"id": one.id, "state": "revoked", "name": one.name, "at": text_of_time(one.at), "place": file}
        for one in content.revoked
    ]
    return rows + revoked


def _former(key: ApiKeySettings, now: datetime) -> str | None:
    is_there = key.previous_expires is not None and key.previous_expires > now
    return text_of_time(key.previous_expires) if is_there and key.previous_expires is not None else None


def _told(row: dict[str, object]) -> str:
    roles = row.get("roles")
    parts = [
        f"until {row['expires']}" if row.get("expires") else "",
        f"former value until {row['former_value_until']}" if row.get("former_value_until") else "",
        f"at {row['at']}" if row.get("at") else "",
        f"roles {', '.join(roles)}" if isinstance(roles, list) and roles else "",
        f"({row['name']})" if row["name"] else "",
    ]
    return "  ".join(filter(None, [*parts, f"in {row['place']}"]))


def _roles_of(key: ApiKeySettings, settings: TorchgateSettings) -> list[str]:
    by_member = {role for role, members in settings.roles.items() if f"key:{key.id}" in members}
    return sorted(by_member | set(key.roles))


def _has_role(key_id: str, settings: TorchgateSettings) -> bool:
    return any(f"key:{key_id}" in members for members in settings.roles.values())


def _refuse_unknown(roles: Sequence[str], settings: TorchgateSettings) -> None:
    known = sorted(settings.role_names)
    for role in roles:
        if role not in known:
            hint = nearest(role, known) if known else "There are none: add it to [roles] in torchgate.toml first."
            raise CommandMistake(f"there is no role {role!r}. {hint}")


def _running_server(settings: TorchgateSettings) -> str:
    return f"A running server takes that up within {settings.identity.refresh_s:g} s."


def _settings(parsed: argparse.Namespace) -> TorchgateSettings:
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is None:
        raise CommandMistake("\n".join(map(str, configuration.findings)))
    return configuration.settings


def _now() -> datetime:
    """Whole seconds, as the file has them."""
    return datetime.now(UTC).replace(microsecond=0)
