"""The one door from what was presented to a principal."""

from __future__ import annotations

import pytest
from tests.unit.access.local_issuer import NOW, Clock, LocalIssuer, tokens_of

from torchgate.access.api_key_settings import ApiKeySettings
from torchgate.access.identity.api_key import ApiKeys, new_api_key
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.development import DevelopmentTokens, new_development_token
from torchgate.access.identity.presented import AssertedUser, Presented
from torchgate.access.settings import DevelopmentIdentity
from torchgate.contract.errors import InvalidRequest, NoCredential, RejectedCredential

ISSUER = LocalIssuer("ES256")
KEY = new_api_key("ops")
DEV = new_development_token()


def authentication(*, is_development: bool = False) -> Authentication:
    identities = [DevelopmentIdentity(name="dev", roles=("analyst",))] if is_development else []
    return Authentication(
        tokens_of(ISSUER),
        ApiKeys(
            [ApiKeySettings(id="ops", sha256=KEY.sha256)], with_roles=lambda principal: principal, wall_clock=Clock(NOW)
        ),
        DevelopmentTokens(identities, {"dev": DEV}),
        fresh=[],
        challenges=("Bearer",),
    )


async def test_each_kind_of_credential_is_its_principal() -> None:
    door = authentication(is_development=True)
    found = [
        await door.authenticate(presented)
        for presented in (Presented(bearer=ISSUER.token()), Presented(api_key=KEY.key), Presented(bearer=DEV))
    ]
    assert [principal.key for principal in found] == ["corp|https://id.example|alice", "key:ops", "development:dev"]
    assert [principal.method for principal in found] == ["bearer", "api_key", "development"]
    assert found[2].roles == {"analyst"}


@pytest.mark.parametrize("first", [Presented(api_key=KEY.key), Presented(bearer=DEV), Presented(bearer=ISSUER.token())])
async def test_a_further_kind_beside_a_good_credential_is_refused_also_when_it_was_seen_before(
    first: Presented,
) -> None:
    """The cache must not be a way round: a certificate or a Windows user beside a token is two callers in one."""
    door = authentication(is_development=True)
    await door.authenticate(first)
    for other in (Presented(certificate=b"x"), Presented(negotiate=b"x"), Presented(asserted=AssertedUser("a"))):
        both = Presented(first.bearer, first.api_key, None, other.certificate, other.asserted, other.negotiate)
        assert door.cached(both) is None
        with pytest.raises((InvalidRequest, RejectedCredential)):
            await door.authenticate(both)


async def test_only_a_token_seen_for_the_first_time_needs_more_than_the_cache() -> None:
    door = authentication(is_development=True)
    token = ISSUER.token()
    assert door.cached(Presented(bearer=token)) is None
    principal = await door.authenticate(Presented(bearer=token))
    assert door.cached(Presented(bearer=token)) is principal
    assert door.cached(Presented(api_key=KEY.key)) is not None
    assert door.cached(Presented(bearer=DEV)) is not None


@pytest.mark.identity_case("front_door", "the key of one caller and the token of another", "400")
@pytest.mark.parametrize("bearer", [ISSUER.token(), DEV, "", "x"])
@pytest.mark.parametrize("api_key", [KEY.key, "", "x"])
async def test_two_kinds_at_once_are_a_mistake_of_the_request(bearer: str, api_key: str) -> None:
    """The key of one and the token of another: whoever it is, it is not both."""
    door = authentication(is_development=True)
    assert door.cached(Presented(bearer, api_key)) is None
    with pytest.raises(InvalidRequest):
        await door.authenticate(Presented(bearer, api_key))


@pytest.mark.identity_case("front_door", "no credential", "401 with a challenge")
async def test_nothing_presented_is_not_a_refusal() -> None:
    door = authentication()
    assert door.cached(Presented()) is None
    with pytest.raises(NoCredential):
        await door.authenticate(Presented())


@pytest.mark.identity_case("front_door", "an empty credential, or an API key as bearer token", "401")
@pytest.mark.parametrize("presented", [Presented(bearer=""), Presented(api_key=""), Presented(bearer=KEY.key)])
async def test_an_empty_or_misplaced_credential_is_refused(presented: Presented) -> None:
    door = authentication()
    assert door.cached(presented) is None
    with pytest.raises(RejectedCredential):
        await door.authenticate(presented)


@pytest.mark.identity_case("development", "a guessed, longer or shorter development token", "401")
@pytest.mark.parametrize("is_development", [True, False])
@pytest.mark.parametrize("token", ["tgdev_", "tgdev_" + "x" * 43, DEV + "x", DEV[:-1], "tgdev_\ud800"])
async def test_a_guessed_development_token_is_refused(token: str, is_development: bool) -> None:
    door = authentication(is_development=is_development)
    assert door.cached(Presented(bearer=token)) is None
    with pytest.raises(RejectedCredential):
        await door.authenticate(Presented(bearer=token))


@pytest.mark.identity_case("development", "a development token where development is off", "401")
async def test_development_tokens_are_nothing_where_development_is_off() -> None:
    with pytest.raises(RejectedCredential, match=r".*") as caught:
        await authentication().authenticate(Presented(bearer=DEV))
    assert caught.value.detail == "development identities are not enabled"


@pytest.mark.parametrize("token", ["secret", "tgdev_short"])
def test_a_development_token_that_could_be_guessed_is_not_taken(token: str) -> None:
    with pytest.raises(ValueError, match="new_development_token"):
        DevelopmentTokens([DevelopmentIdentity(name="dev")], {"dev": token})


def test_what_was_presented_is_never_shown() -> None:
    presented = Presented(bearer="very-secret", api_key="also-secret")
    assert "secret" not in repr(presented)
    assert "secret" not in str(presented)
