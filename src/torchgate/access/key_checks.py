"""What is wrong, or worth a look, with API keys, wherever they stand."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torchgate.access.api_key_settings import ApiKeySettings, KeyFileSettings
from torchgate.access.identity.key_file import KeyFileError, counting_keys, read_key_file
from torchgate.access.settings import AccessSettings
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest

_SOON_S = 14 * 86_400.0


def key_file_findings(settings: AccessSettings) -> Iterator[Finding]:
    """Why the file of keys can't be used, where it can't: that keeps the server from starting."""
    path = settings.folder / settings.identity.api_keys_file
    try:
        counting_keys(settings.identity.api_keys, read_key_file(path))
    except KeyFileError as error:
        yield Finding("error", f"{error}", setting="identity.api_keys_file")


def known_key_ids(settings: AccessSettings) -> frozenset[str]:
    """Ids that a role may name: of keys that count, and of revoked ones, whose roles hurt nobody."""
    content = _content(settings)
    in_file = {key.id for key in content.keys} | {key.id for key in content.revoked}
    return frozenset(in_file | {key.id for key in settings.identity.api_keys})


def roles_of_keys(settings: AccessSettings) -> frozenset[str]:
    """Roles that keys have by their own entries."""
    keys = (*settings.identity.api_keys, *_content(settings).keys)
    return frozenset(role for key in keys for role in key.roles)


def key_findings(settings: AccessSettings) -> Iterator[Finding]:
    """Keys at their end, and roles of theirs that do not exist."""
    content = _content(settings)
    file = str(settings.folder / settings.identity.api_keys_file)
    for place, key in enumerate(settings.identity.api_keys):
        for finding in _of_key(key, settings):
            yield Finding(
                finding.severity,
                finding.sentence,
                setting=f"identity.api_keys.{place}.{finding.setting}",
                remedy=finding.remedy,
            )
    for key in content.keys:
        for finding in _of_key(key, settings):
            yield Finding(finding.severity, finding.sentence, file=file, remedy=finding.remedy)
    revoked = {key.id for key in content.revoked}
    for role, members in settings.roles.items():
        for place, member in enumerate(members):
            if member.startswith("key:") and member.removeprefix("key:") in revoked:
                yield Finding("warning", f"the key of {member!r} is revoked.", setting=f"roles.{role}.{place}")


def _of_key(key: ApiKeySettings, settings: AccessSettings) -> Iterator[Finding]:
    if key.expires is not None:
        left_s = key.expires.timestamp() - time.time()
        if left_s <= 0:
            sentence = f"API key {key.id!r} expired at {key.expires.isoformat()} and is refused."
            yield Finding("warning", sentence, setting="expires", remedy=_REMEDY)
        elif left_s <= _SOON_S:
            sentence = f"API key {key.id!r} expires at {key.expires.isoformat()}."
            yield Finding("warning", sentence, setting="expires", remedy=_REMEDY)
    known = sorted({*settings.roles, *_development_roles(settings)})
    for role in key.roles:
        if role not in known:
            hint = nearest(role, known) if known else "There are none."
            yield Finding("error", f"there is no role {role!r} for API key {key.id!r}. {hint}", setting="roles")


def _development_roles(settings: AccessSettings) -> Iterator[str]:
    if settings.development.enabled:
        for one in settings.development.identities:
            yield from one.roles


def _content(settings: AccessSettings) -> KeyFileSettings:
    try:
        return read_key_file(settings.folder / settings.identity.api_keys_file)
    except KeyFileError:
        return KeyFileSettings()


_REMEDY = "Give it a new value: torchgate keys new --rotate ID --expires 90d."
