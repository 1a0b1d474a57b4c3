"""What can be found out about an issuer from here: whether it answers, its keys, and whether our clocks agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torchgate.access.identity.key_sources import IssuerKeySource, key_source
from torchgate.access.identity.published_keys import KeysUnreadable, read_key_set
from torchgate.access.oidc_settings import OidcSettings
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.diagnosis import Diagnosis, amber, ok, red

_OLD_FILE_S = 30 * 24 * 3600.0
"""Issuers change their keys every few weeks to months; a file that nobody renews stops working then."""
_SLOW_S = 2.0
_NOTABLE_SKEW_S = 5.0


async def examine_issuer(
    settings: OidcSettings,
    folder: Path,
    *,
    clock: Clock = monotonic_s,
    wall_clock: Callable[[], float] = time.time,
) -> tuple[Diagnosis, ...]:
    """Ask an issuer for its keys as a server does.

    Args:
        folder: where relative paths start.
        clock: monotonic.
        wall_clock: Unix seconds.
    """
    source = key_source(settings, folder)
    began_at = clock()
    try:
        keys = read_key_set(await source.fetch(), settings.name, settings.algorithms)
    except KeysUnreadable as error:
        return (*_clocks(source, settings), _unreachable(settings, error))
    took_s = clock() - began_at
    found = [*_clocks(source, settings)]
    said = f"{settings.name}: {len(keys)} usable keys, read in {took_s:.2f} s."
    place = f"identity.oidc {settings.name}"
    if settings.jwks_file is not None:
        found += _file(folder / settings.jwks_file, settings, len(keys), wall_clock())
    elif took_s > _SLOW_S:
        remedy = "Look at the way there: proxies, name resolution, a firewall that drops instead of refusing."
        found.append(amber(said, f"at most {_SLOW_S:g} s", remedy, place=place))
    else:
        found.append(ok(said, place=place))
    return tuple(found)


def _unreachable(settings: OidcSettings, error: KeysUnreadable) -> Diagnosis:
    if settings.jwks_file is not None:
        remedy = "Put the issuer's key set there, for this account to read."
    else:
        remedy = (
            "Look for a proxy, a firewall, or a certificate that this machine does not trust (ca_file); a server of "
            "this account meets the same, and answers its tokens 503 until it has keys."
        )
    place = f"identity.oidc {settings.name}"
    return red(f"{settings.name} has given no keys: {error}.", "its key set", remedy, place=place)


def _clocks(source: object, settings: OidcSettings) -> Iterator[Diagnosis]:
    skew_s = source.skew_s if isinstance(source, IssuerKeySource) else None
    if skew_s is None:
        return
    seen = f"our clock is {abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'} that of {settings.name}"
    wanted = f"at most {settings.clock_skew_s:g} s (clock_skew_s)"
    remedy = "Let this machine keep time (w32tm /resync, chrony): tokens are refused as not yet or no longer valid."
    place = f"identity.oidc {settings.name}"
    if abs(skew_s) > settings.clock_skew_s + 1:
        yield red(f"{seen}.", wanted, remedy, place=place)
    elif abs(skew_s) > _NOTABLE_SKEW_S:
        yield amber(f"{seen}.", wanted, remedy, place=place)
    else:
        yield ok(f"our clock and that of {settings.name} agree to {_NOTABLE_SKEW_S:g} s.", place=place)


def _file(file: Path, settings: OidcSettings, keys: int, now: float) -> Iterator[Diagnosis]:
    age_s = now - file.stat().st_mtime
    seen = f"{settings.name}: {keys} usable keys in a file that is {age_s / 86400:.0f} days old."
    if age_s > _OLD_FILE_S:
        remedy = "Have something renew the file: when the issuer changes its keys, its tokens are refused."
        yield amber(seen, f"at most {_OLD_FILE_S / 86400:g} days", remedy, place=str(file))
    else:
        yield ok(seen, place=str(file))
