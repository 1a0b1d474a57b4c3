"""An issuer's keys: fresh in the background, bounded in what a caller can cause, and good for a day without issuer."""

from __future__ import annotations

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.access.local_issuer import GivenKeys, LocalIssuer, new_key, public_jwk

from torchgate.access.identity.key_set import KeySet
from torchgate.access.identity.published_keys import KeysUnreadable, read_key_set
from torchgate.contract.errors import IssuerUnavailable, RejectedCredential

OLD, NEW = new_key("ES256"), new_key("ES256")
SMALL_RSA = public_jwk(rsa.generate_private_key(65537, 1024))  # too small on purpose


@pytest.fixture
def issuer() -> LocalIssuer:
    made = LocalIssuer("ES256", key=OLD)
    made.source.publish(public_jwk(OLD, kid="old", alg="ES256"))
    return made


async def fails(keys: KeySet, kid: str | None) -> type[Exception]:
    """What looking for a key raises."""
    with pytest.raises((RejectedCredential, IssuerUnavailable)) as caught:
        await keys.find(kid, "ES256")
    return caught.type


@pytest.mark.identity_case("issuer", "a token of a key published a moment ago", "counts")
@pytest.mark.identity_case("issuer", "a token of a key withdrawn before the last refresh", "401")
async def test_a_new_key_counts_at_once_and_a_withdrawn_one_after_a_refresh(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    old = await keys.find("old", "ES256")
    issuer.source.publish(public_jwk(NEW, kid="new", alg="ES256"))
    assert await keys.find("old", "ES256") is old, "withdrawn, and nobody has looked yet"
    new = await keys.find("new", "ES256")
    assert keys.holds(new)
    assert not keys.holds(old)
    assert await fails(keys, "old") is RejectedCredential


@pytest.mark.identity_case("issuer", "10 000 tokens with made-up key ids", "401 each; the issuer is asked a few times")
async def test_made_up_key_ids_cause_few_reads(issuer: LocalIssuer) -> None:
    """The attacker sends 10 000 tokens, each with a key id of its own, over ten minutes."""
    keys = issuer.key_set()
    for number in range(10_000):
        assert await fails(keys, f"made-up-{number}") is RejectedCredential
        issuer.clock.at += 0.06
    assert issuer.source.asked <= 2 + 600 / (issuer.settings.unknown_key_delay_s / 2) + 1
    assert len(keys._unknown_kids) <= 256


async def test_a_new_key_counts_within_the_delay_also_under_such_an_attack(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    for number in range(100):
        await fails(keys, f"made-up-{number}")
    issuer.source.publish(public_jwk(NEW, kid="new", alg="ES256"))
    assert await fails(keys, "new") is RejectedCredential
    issuer.clock.at += issuer.settings.unknown_key_delay_s
    assert (await keys.find("new", "ES256")).kid == "new"


async def test_one_key_id_that_is_not_there_is_looked_for_once_per_delay(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    for _ in range(100):
        await fails(keys, "nobody's")
    assert issuer.source.asked == 1
    issuer.clock.at += issuer.settings.unknown_key_delay_s
    await fails(keys, "nobody's")
    assert issuer.source.asked == 2


@pytest.mark.identity_case("issuer", "50 tokens of a new key at once", "one question to the issuer")
async def test_requests_at_the_same_time_share_one_read(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    found = await asyncio.gather(*(keys.find("old", "ES256") for _ in range(50)))
    assert issuer.source.asked == 1
    assert len(set(map(id, found))) == 1


@pytest.mark.identity_case("issuer", "known keys while the issuer is down", "count for a day, then 503")
async def test_last_known_good_keys_count_for_a_day(issuer: LocalIssuer) -> None:
    """The issuer is down: known keys go on, unknown ones can't be judged, and after a day nothing can."""
    keys = issuer.key_set()
    await keys.refresh()
    issuer.source.failure = "down"
    await keys.refresh()
    issuer.clock.at += 24 * 3600
    assert (await keys.find("old", "ES256")).kid == "old"
    assert await fails(keys, "other") is IssuerUnavailable
    issuer.clock.at += 1
    assert await fails(keys, "old") is IssuerUnavailable
    issuer.source.failure = ""
    issuer.clock.at += 60
    assert (await keys.find("old", "ES256")).kid == "old"


async def test_a_key_set_that_became_useless_keeps_the_known_keys(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    await keys.refresh()
    for document in (b"", b"<html>", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [1]}', b"[" * 9999):
        issuer.source.document = document
        await keys.refresh()
        assert keys.status().failure
        assert (await keys.find("old", "ES256")).kid == "old"


async def test_a_source_that_raises_anything_at_all_is_a_failed_refresh() -> None:
    class Broken(GivenKeys):
        async def fetch(self) -> bytes:
            raise ZeroDivisionError

    issuer = LocalIssuer("ES256", key=OLD)
    keys = KeySet(issuer.settings, Broken(), issuer.clock)
    await keys.refresh()
    assert keys.status().failure == "unexpected ZeroDivisionError"


async def test_the_background_reads_the_keys_and_a_stop_ends_it(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    await keys.start()
    assert (await keys.find("old", "ES256")).kid == "old"
    assert issuer.source.asked == 1, "a request joins the read that is under way"
    await keys.stop()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_refreshes_come_within_the_interval_and_sooner_after_failures(issuer: LocalIssuer) -> None:
    keys = issuer.key_set()
    await keys.refresh()
    assert keys.next_refresh_delay_s() == issuer.settings.refresh_interval_s
    issuer.source.failure = "down"
    delays = []
    for _ in range(10):
        await keys.refresh()
        delays.append(keys.next_refresh_delay_s())
    assert delays[:3] == [2.0, 4.0, 8.0]
    assert max(delays) == 60.0


def usable(*jwks: dict[str, object]) -> list[tuple[str, str]]:
    """Key ids and algorithms of the keys that are used."""
    return list(read_key_set(json.dumps({"keys": jwks}).encode(), "corp", ("RS256", "PS256", "ES256", "Ed25519")))


UNUSABLE = {
    "for encryption": public_jwk(NEW, kid="x", use="enc"),
    "whose operations are not verify": public_jwk(NEW, kid="x", key_ops=["sign"]),
    "whose operations are text": public_jwk(NEW, kid="x", key_ops="verify"),
    "that is symmetric": {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
    "that is symmetric and says ES256": {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "ES256"},
    "that is private": public_jwk(NEW, kid="x", d="AAAA"),
    "of RSA below 2048 bits": SMALL_RSA | {"kid": "x"},
    "of an algorithm that is not allowed": public_jwk(NEW, kid="x", alg="ES512"),
    "of the algorithm none": public_jwk(NEW, kid="x", alg="none"),
    "of a curve that its algorithm has not": public_jwk(NEW, kid="x", alg="ES256", crv="P-384"),
    "of another type than its algorithm": public_jwk(NEW, kid="x", alg="RS256"),
    "whose point is not on the curve": public_jwk(NEW, kid="x") | {"x": "AAAA"},
    "without a type": {"kid": "x"},
    "whose name is a number": public_jwk(NEW, kid=7),
    "whose name is 10 KB": public_jwk(NEW, kid="x" * 10_000),
    "that is no object": "key",
    "that is null": None,
}


@pytest.mark.identity_case(
    "issuer",
    "a key set with symmetric, private, encryption, small RSA or malformed keys",
    "those are left out; the others count",
)
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_bad_key_spoils_only_itself(case: str) -> None:
    assert usable(UNUSABLE[case], public_jwk(OLD, kid="old")) == [("old", "ES256")]  # type: ignore[arg-type]
    with pytest.raises(KeysUnreadable):
        usable(UNUSABLE[case])  # type: ignore[arg-type]


def test_a_key_without_algorithm_is_bound_to_the_first_that_fits() -> None:
    rsa, edwards = new_key("RS256"), new_key("Ed25519")
    assert usable(public_jwk(rsa, kid="r"), public_jwk(edwards, kid="e")) == [("r", "RS256"), ("e", "Ed25519")]


@pytest.mark.identity_case("issuer", "a key set with two keys of one name", "neither counts")
def test_two_keys_of_one_name_are_both_refused() -> None:
    """Which is meant can't be told; the same key twice is one."""
    other = public_jwk(LocalIssuer("ES256").key, kid="third")
    assert usable(public_jwk(OLD, kid="x"), public_jwk(NEW, kid="x"), other) == [("third", "ES256")]
    assert usable(public_jwk(OLD, kid="x"), public_jwk(OLD, kid="x")) == [("x", "ES256")]


def test_more_than_a_hundred_keys_are_not_read() -> None:
    jwks = [public_jwk(OLD, kid=str(number)) for number in range(101)]
    assert len(usable(*jwks[:100])) == 100
    with pytest.raises(KeysUnreadable, match="101 keys"):
        usable(*jwks)


@pytest.mark.identity_case(
    "issuer", "the clock on the wall jumps by an hour, in either direction", "keys stay; nobody asks"
)
@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_keys_do_not_age_by_the_clock_on_the_wall(issuer: LocalIssuer, jump_s: float) -> None:
    """Only expiry of tokens goes by it."""
    keys = issuer.key_set()
    found = await keys.find("old", "ES256")
    issuer.wall_clock.at += jump_s
    assert await keys.find("old", "ES256") is found
    assert keys.holds(found)
    assert issuer.source.asked == 1
