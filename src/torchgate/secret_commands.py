"""`torchgate secrets`: where the secrets of a project stand, and sealing one for Windows; no value is ever printed."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from torchgate.access.secret_settings import SecretRefreshSettings
from torchgate.access.secrets.file import MAX_BYTES
from torchgate.access.secrets.reading import Reading
from torchgate.access.secrets.secret import Secret, SecretUnreadable, SecretValue
from torchgate.access.secrets.source import SecretSource
from torchgate.access.secrets.sources import secret_sources
from torchgate.config import read_configuration
from torchgate.secret_places import private_files, protected_data, secret_places
from torchgate.terminal import fail, note, say


class ExaminedSecret(msgspec.Struct, frozen=True):
    """What `secrets status` says of one secret.

    Args:
        state: `ok`, or `unreadable`.
        values: state → version, `age_s` since it was made and `expires_in_s`, where the store says them.
        refresh_s: seconds between the reads of a running server; None: only a restart reads it again.
        remarks: on values beside the current one.
        error: why it can't be read, with the remedy; or empty.
    """

    name: str
    reference: str
    state: str
    values: dict[str, dict[str, Any]]
    refresh_s: float | None
    remarks: tuple[str, ...] = ()
    error: str = ""


def secrets_status(parsed: argparse.Namespace) -> int:
    """Read every secret now, as the account that runs this; 1 where one can't be read."""
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    settings = configuration.settings
    if settings is None:
        for finding in configuration.findings:
            note(str(finding))
        return 1
    sources = secret_sources(settings.secrets, secret_places(configuration.file.parent))
    examined = asyncio.run(examine_secrets(sources, settings.secret_refresh))
    if parsed.json:
        say(json.dumps([msgspec.to_builtins(one) for one in examined], indent=2))
    else:
        for one in examined:
            for line in _lines(one):
                say(line)
        if not examined:
            say("There are no secrets: [secrets] is empty.")
    return 1 if any(one.error for one in examined) else 0


def protect_secret(parsed: argparse.Namespace) -> int:
    """Seal a value from stdin into a file that `dpapi:` reads."""
    sealing = protected_data()
    if sealing is None:
        return fail("Windows' data protection exists on Windows alone. Elsewhere use file:PATH or a vault.")
    if sys.stdin is None:
        return fail("there is no stdin to read the value from.")
    if sys.stdin.isatty():
        value = getpass.getpass("The value (not shown): ").encode("utf-8")
    else:
        value = sys.stdin.buffer.read(MAX_BYTES + 1).removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(value) <= MAX_BYTES:
        return fail(f"the value is empty, or has more than {MAX_BYTES} bytes.")
    try:
        private_files().write_new(parsed.file, sealing.protect(value, for_machine=parsed.machine))
    except FileExistsError:
        return fail(f"{parsed.file} is there already. Name another file, or {parsed.file}.next for a change of value.")
    except OSError as error:
        return fail(f"{parsed.file} can't be written: {error.strerror or error}.")
    whose = "any account of this machine that may read the file" if parsed.machine else "this account alone"
    say(f"wrote {parsed.file}, for {whose}")
    return 0


async def examine_secrets(
    sources: Mapping[str, SecretSource], settings: SecretRefreshSettings
) -> tuple[ExaminedSecret, ...]:
    """Read every secret now, as the account that runs this."""
    found = await asyncio.gather(*(_read(name, source, settings.timeout_s) for name, source in sources.items()))
    return tuple(
        _examined(name, source, one, settings) for (name, source), one in zip(sources.items(), found, strict=True)
    )


async def _read(name: str, source: SecretSource, timeout_s: float) -> Secret | SecretUnreadable:
    try:
        return await Reading(source, name).read(timeout_s)
    except SecretUnreadable as error:
        return error


def _examined(
    name: str, source: SecretSource, found: Secret | SecretUnreadable, settings: SecretRefreshSettings
) -> ExaminedSecret:
    interval_s = settings.file_interval_s if source.is_near else settings.interval_s
    refresh_s = interval_s if source.changes else None
    if isinstance(found, SecretUnreadable):
        return ExaminedSecret(name, source.reference, "unreadable", {}, refresh_s, error=str(found))
    now = time.time()
    values = {state: _facts(value, now) for state, value in found.by_state()}
    return ExaminedSecret(name, source.reference, "ok", values, refresh_s, found.remarks)


def _facts(value: SecretValue, now: float) -> dict[str, Any]:
    return {
        "version": value.version,
        "age_s": None if value.made_at is None else round(now - value.made_at, 1),
        "expires_in_s": None if value.expires_at is None else round(value.expires_at - now, 1),
    }


def _lines(one: ExaminedSecret) -> Iterator[str]:
    lasting = "read at start alone" if one.refresh_s is None else f"read every {one.refresh_s:g} s"
    yield f"{one.name}: {one.state.upper() if one.error else 'ok'}    {one.reference}    {lasting}"
    if one.error:
        yield f"  {one.error}"
    for state, facts in one.values.items():
        age = "" if facts["age_s"] is None else f", made {_span(facts['age_s'])} ago"
        expiry = "" if facts["expires_in_s"] is None else f", expires in {_span(facts['expires_in_s'])}"
        yield f"  {state:8} version {facts['version']}{age}{expiry}"
    for remark in one.remarks:
        yield f"  note: {remark}"


def _span(seconds: float) -> str:
    for unit, length_s in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
