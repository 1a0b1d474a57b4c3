"""Issuers as `doctor` finds them: real https, right and wrong clocks, and servers that do not answer."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.rigs.certificates import LocalAuthority, now
from tests.unit.access.local_issuer import new_key, public_jwk

from torchgate.access.identity.download import skew_s
from torchgate.access.issuer_examination import examine_issuer
from torchgate.access.oidc_settings import OidcSettings
from torchgate.contract.diagnosis import Diagnosis

KEYS = json.dumps({"keys": [public_jwk(new_key("ES256"), kid="1", alg="ES256")]}).encode()


@asynccontextmanager
async def issuer(folder: Path, *, ahead_s: float | None = 0.0, keys: bytes = KEYS) -> AsyncIterator[OidcSettings]:
    """An issuer on loopback, by https; its settings.

    Args:
        ahead_s: how far its clock is ahead; None: it does not say.
    """
    authority = LocalAuthority("the rig's authority", now())
    (folder / "ca ä.pem").write_bytes(authority.pem)
    certificate, key = authority.server("127.0.0.1").write(folder, "issuer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    address: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = await reader.readuntil(b"\r\n\r\n")
            discovery = json.dumps({"issuer": address[0], "jwks_uri": f"{address[0]}/keys"}).encode()
            body = discovery if b"openid-configuration" in question else keys
            date = "" if ahead_s is None else f"Date: {formatdate(time.time() + ahead_s, usegmt=True)}\r\n"
            head = f"HTTP/1.1 200 OK\r\n{date}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    address.append(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    try:
        yield OidcSettings(name="rig", issuer=address[0], audience=("api",), ca_file=folder / "ca ä.pem")
    finally:
        listening.close()


async def examined(settings: OidcSettings, folder: Path) -> list[Diagnosis]:
    return list(await examine_issuer(settings, folder))


async def test_an_issuer_that_answers_and_keeps_time_is_ok(tmp_path: Path) -> None:
    async with issuer(tmp_path) as settings:
        clock, keys = await examined(settings, tmp_path)
    assert (clock.verdict, keys.verdict) == ("ok", "ok")
    assert "rig: 1 usable keys" in keys.seen


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "words"),
    [(3600.0, "red", "behind that of rig"), (-3600.0, "red", "ahead of that of rig"), (15.0, "amber", "15 s behind")],
)
async def test_a_clock_that_is_off_is_told_in_seconds(ahead_s: float, verdict: str, words: str, tmp_path: Path) -> None:
    async with issuer(tmp_path, ahead_s=ahead_s) as settings:
        clock, keys = await examined(settings, tmp_path)
    assert (clock.verdict, keys.verdict) == (verdict, "ok")
    assert words in clock.seen or words in clock.seen.replace("14 s", "15 s").replace("16 s", "15 s")
    assert "clock_skew_s" in clock.wanted


async def test_an_issuer_that_does_not_say_the_time_is_not_judged_by_it(tmp_path: Path) -> None:
    async with issuer(tmp_path, ahead_s=None) as settings:
        (keys,) = await examined(settings, tmp_path)
    assert keys.verdict == "ok"


async def test_keys_that_are_none_are_red(tmp_path: Path) -> None:
    async with issuer(tmp_path, keys=b'{"keys": []}') as settings:
        clock, keys = await examined(settings, tmp_path)
    assert (clock.verdict, keys.verdict) == ("ok", "red")
    assert "none of the 0 published keys" in keys.seen


async def test_a_certificate_that_nobody_trusts_is_red(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with issuer(tmp_path) as settings, issuer(tmp_path / "other") as other:
        mixed = settings.model_copy(update={"ca_file": other.ca_file})
        (found,) = await examined(mixed, tmp_path)
    assert found.verdict == "red"
    assert "SSLCertVerificationError" in found.seen
    assert "ca_file" in found.remedy


async def test_a_closed_port_is_red(tmp_path: Path) -> None:
    async with issuer(tmp_path) as settings:
        pass
    (found,) = await examined(settings, tmp_path)
    assert found.verdict == "red"


async def test_a_slow_issuer_is_told_with_its_time(tmp_path: Path) -> None:
    times = iter((100.0, 104.5))
    async with issuer(tmp_path) as settings:
        _, keys = await examine_issuer(settings, tmp_path, clock=lambda: next(times))
    assert (keys.verdict, "read in 4.50 s" in keys.seen) == ("amber", True)


async def test_a_file_of_keys_is_judged_by_its_age(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(KEYS)
    settings = OidcSettings(name="rig", issuer="https://away.example", audience=("api",), jwks_file=Path("keys.json"))
    assert [one.verdict for one in await examined(settings, tmp_path)] == ["ok"]
    old = time.time() - 40 * 86400
    os.utime(file, (old, old))
    (found,) = await examined(settings, tmp_path)
    assert (found.verdict, "40 days old" in found.seen) == ("amber", True)
    file.unlink()
    (found,) = await examined(settings, tmp_path)
    assert (found.verdict, "can't be read" in found.seen) == ("red", True)


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.5),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.5),
        ("", None),
        ("yesterday", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_a_date_is_read_or_is_none(date: str, skew: float | None) -> None:
    """The date of RFC 9110 section 5.6.7."""
    assert skew_s(date, 784111777.0) == skew
