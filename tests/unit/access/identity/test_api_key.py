"""API keys: made here, stored as hashes, changed with an overlap."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.access.local_issuer import NOW, Clock

from torchgate.access.api_key_settings import ApiKeySettings
from torchgate.access.identity.api_key import ApiKeys, new_api_key
from torchgate.access.policy.roles import Roles
from torchgate.contract.errors import RejectedCredential

FIRST, SECOND, STRANGER = new_api_key("ops"), new_api_key("ops"), new_api_key("ops")


def at(offset_s: float) -> datetime:
    return datetime.fromtimestamp(NOW + offset_s, UTC)


def keys_of(*keys: ApiKeySettings, clock: Clock | None = None) -> ApiKeys:
    roles = Roles({"operator": ("key:ops",)})
    return ApiKeys(keys, with_roles=roles.given_to, wall_clock=clock or Clock(NOW))


def refusal(keys: ApiKeys, text: str) -> str:
    with pytest.raises(RejectedCredential) as caught:
        keys.authenticate(text)
    assert "_" not in caught.value.detail
    return caught.value.detail


def test_a_key_is_its_principal_with_its_roles() -> None:
    principal = keys_of(ApiKeySettings(id="ops", sha256=FIRST.sha256, name="Operations")).authenticate(FIRST.key)
    assert (principal.key, principal.name, principal.method, principal.issuer) == (
        "key:ops",
        "Operations",
        "api_key",
        "key",
    )
    assert principal.roles == {"operator"}
    assert principal.marks == {"key:ops"}


def test_a_new_key_is_long_random_and_shown_only_on_purpose() -> None:
    assert FIRST.key != SECOND.key
    assert FIRST.sha256 == hashlib.sha256(FIRST.key.encode()).hexdigest()
    assert len(FIRST.key) == len("tg_ops_") + 32 + len("_") + 6
    assert FIRST.key not in repr(FIRST)


@pytest.mark.parametrize("key_id", ["", "a_b", "a b", "é", "x" * 65, "a\n"])
def test_an_id_that_settings_would_refuse_makes_no_key(key_id: str) -> None:
    with pytest.raises(ValueError, match="can't be the id"):
        new_api_key(key_id)


MALFORMED = {
    "empty": "",
    "a word": "ops",
    "the hash instead of the key": FIRST.sha256,
    "a space after": FIRST.key + " ",
    "a line end after": FIRST.key + "\n",
    "upper case": FIRST.key.upper(),
    "one character less": FIRST.key[:-1],
    "NUL": FIRST.key + "\0",
    "full-width digits": FIRST.key[:-6] + "\uff10" * 6,
    "half a surrogate pair": FIRST.key + "\ud800",
    "a megabyte": "tg_ops_" + "a" * 1_000_000,
}


@pytest.mark.identity_case("API key", "a hash, white space, NUL, half a surrogate, a megabyte …", "401")
@pytest.mark.parametrize("case", MALFORMED)
def test_a_text_that_is_no_key_is_refused(case: str) -> None:
    assert refusal(keys_of(ApiKeySettings(id="ops", sha256=FIRST.sha256)), MALFORMED[case]) == "API key malformed"


@pytest.mark.identity_case("API key", "a key with one character mistyped", "401; no hash is looked at")
@pytest.mark.parametrize("place", [4, 10, 38, -1])
def test_a_mistyped_key_is_told_by_its_checksum(place: int) -> None:
    other = "0" if FIRST.key[place] != "0" else "1"
    mistyped = FIRST.key[:place] + other + (FIRST.key[place:][1:])
    assert refusal(keys_of(), mistyped) in {"API key mistyped: its checksum is another", "API key malformed"}


@pytest.mark.identity_case("API key", "an unknown id; a known id with another's secret", "401, alike")
def test_an_unknown_id_and_a_wrong_secret_are_refused_alike() -> None:
    """The attacker wants to know which ids exist."""
    keys = keys_of(ApiKeySettings(id="ops", sha256=FIRST.sha256))
    assert refusal(keys, STRANGER.key) == refusal(keys, new_api_key("nobody").key) == "API key unknown or wrong"


def test_what_counts_is_replaced_at_once_and_whole() -> None:
    keys = keys_of(ApiKeySettings(id="ops", sha256=FIRST.sha256))
    keys.replace([ApiKeySettings(id="ops", sha256=SECOND.sha256, roles=("analyst",))])
    assert refusal(keys, FIRST.key) == "API key unknown or wrong"
    assert keys.authenticate(SECOND.key).roles == {"operator", "analyst"}


@pytest.mark.identity_case("API key", "a key after its `expires`", "401")
def test_a_key_ends_when_it_expires() -> None:
    clock = Clock(NOW)
    keys = keys_of(ApiKeySettings(id="ops", sha256=FIRST.sha256, expires=at(10)), clock=clock)
    assert keys.authenticate(FIRST.key).expires_at == NOW + 10
    clock.at = NOW + 10
    assert refusal(keys, FIRST.key) == "API key expired"


def test_the_former_value_counts_until_its_grace_ends() -> None:
    """Rotation: both values in the overlap, then only the new one."""
    clock = Clock(NOW)
    rotating = ApiKeySettings(
        id="ops", sha256=SECOND.sha256, previous_sha256=FIRST.sha256, previous_expires=at(3600), expires=at(7200)
    )
    keys = keys_of(rotating, clock=clock)
    assert keys.authenticate(FIRST.key).key == keys.authenticate(SECOND.key).key == "key:ops"
    assert keys.authenticate(FIRST.key).expires_at == NOW + 3600
    assert refusal(keys, STRANGER.key) == "API key unknown or wrong"
    clock.at = NOW + 3600
    assert refusal(keys, FIRST.key) == "API key expired"
    assert keys.authenticate(SECOND.key)


@given(st.text(max_size=80))
def test_any_text_is_refused_without_surprise(text: str) -> None:
    refusal(keys_of(ApiKeySettings(id="ops", sha256=FIRST.sha256)), text)
