"""Tokens in the shape of Entra ID: rightly signed, and still of another tenant, version, kind or person."""

from __future__ import annotations

import pytest
from tests.unit.access.local_issuer import LocalIssuer, new_key, public_jwk, refusal, tokens_of

from torchgate.access.identity.entra_issuer import CONSUMERS, entra_issuer_mistake, read_entra_issuer
from torchgate.contract.errors import RejectedCredential
from torchgate.contract.principal import Principal

TENANT = "11111111-aaaa-bbbb-cccc-222222222222"
OTHER_TENANT = "99999999-aaaa-bbbb-cccc-222222222222"
OID = "33333333-aaaa-bbbb-cccc-444444444444"
API, CLIENT = "55555555-aaaa-bbbb-cccc-666666666666", "77777777-aaaa-bbbb-cccc-888888888888"
HOST = "https://login.microsoftonline.com"
KEY = new_key("RS256")
APP = {"scp": ..., "roles": ["Model.Infer"], "idtyp": "app"}


class Entra(LocalIssuer):
    """An issuer whose good token is a person's, of version 2.0."""

    def __init__(self, issuer: str = f"{HOST}/{TENANT}/v2.0", **settings: object) -> None:
        super().__init__(
            "RS256", key=KEY, **({"name": "entra", "profile": "entra", "audience": [API], "issuer": issuer} | settings)
        )

    def claims(self, **changes: object) -> dict[str, object]:
        """Claims as Microsoft documents them."""
        version = "2.0" if self.settings.issuer.endswith("/v2.0") else "1.0"
        shape: dict[str, object] = {
            "iss": self.settings.issuer.replace("{tenantid}", TENANT),
            "aud": API,
            "tid": TENANT,
            "oid": OID,
            "sub": "pairwise-of-this-app",
            "ver": version,
            "azp" if version == "2.0" else "appid": CLIENT,
            "scp": "infer",
            "roles": ["Analyst"],
            "client_id": ...,
            "jti": ...,
            "uti": "x",
            "preferred_username": "ann@contoso.example",
        }
        return super().claims(**(shape | changes))

    def header(self, **changes: object) -> dict[str, object]:
        """Entra writes JWT on all its tokens."""
        return super().header(**({"typ": "JWT"} | changes))


V2, V1 = Entra(), Entra(f"https://sts.windows.net/{TENANT}/")


async def principal(
    issuer: LocalIssuer, members: dict[str, tuple[str, ...]] | None = None, **claims: object
) -> Principal:
    """Of a token with these changes."""
    return await tokens_of(issuer, roles=members).authenticate(issuer.token(issuer.claims(**claims)))


async def failure(issuer: LocalIssuer, **claims: object) -> str:
    """Class of failure of a token with these changes."""
    return await refusal(issuer, issuer.token(issuer.claims(**claims)))


@pytest.mark.identity_case(
    "bearer", "Entra: a person's token of version 2.0 or 1.0", "principal of tenant and object id"
)
@pytest.mark.parametrize("issuer", [V1, V2], ids=["1.0", "2.0"])
async def test_a_person_is_tenant_and_object_id(issuer: Entra) -> None:
    found = await principal(issuer)
    assert found.key == f"entra|{TENANT}|{OID}"
    assert found.name == "ann@contoso.example"
    assert {f"entra:uid:{OID}", "entra:role:Analyst", "entra:scope:infer"} <= found.marks


@pytest.mark.identity_case("bearer", "Entra: same person, changed name, address and `sub`", "the same principal")
async def test_names_are_not_identity() -> None:
    changed = await principal(V2, sub="other", preferred_username="root@contoso.example", upn="root", email="root@x")
    assert changed.key == (await principal(V2)).key
    assert not [mark for mark in changed.marks if "root" in mark]


@pytest.mark.identity_case("bearer", "Entra: a program's token with its application permissions", "its principal")
async def test_a_program_has_its_roles() -> None:
    found = await principal(V2, {"caller": (f"entra:claim:azp={CLIENT}",)}, **APP)
    assert "entra:role:Model.Infer" in found.marks
    assert found.roles == {"caller"}


@pytest.mark.identity_case("bearer", "Entra: a rule on a client (`azp`), a token without `idtyp` = `app`", "no role")
@pytest.mark.parametrize("changes", [{}, {"idtyp": "user"}, {"scp": ..., "roles": ["x"]}], ids=str)
async def test_a_rule_on_a_client_needs_proof_that_the_client_itself_calls(changes: dict[str, object]) -> None:
    found = await principal(V2, {"caller": (f"entra:claim:azp={CLIENT}",)}, **changes)
    assert found.roles == frozenset()


@pytest.mark.identity_case("bearer", "Entra: a token of version 1.0 where 2.0 is configured, and reverse", "401")
async def test_each_version_counts_where_it_is_configured() -> None:
    assert await refusal(V2, V1.token()) == "issuer"
    assert await refusal(V1, V2.token()) == "issuer"
    assert await failure(V2, ver="1.0", appid=CLIENT) == "token version"
    assert await failure(V1, ver="2.0", azp=CLIENT) == "token version"
    assert await failure(V2, ver=...) == "token version"


@pytest.mark.identity_case("bearer", "Entra: `iss` of our tenant with `tid` of another, and reverse", "401")
@pytest.mark.identity_case("bearer", "Entra: no `tid`, no `oid`, or ones that are no object ids", "401")
@pytest.mark.parametrize(
    "changes",
    [
        {"tid": OTHER_TENANT},
        {"iss": f"{HOST}/{OTHER_TENANT}/v2.0"},
        {"tid": ...},
        {"tid": ""},
        {"tid": None},
        {"tid": [TENANT]},
        {"tid": TENANT.upper()},
        {"tid": "{tenantid}"},
        {"oid": ...},
        {"oid": ""},
        {"oid": 7},
        {"oid": "root"},
        {"oid": f"{OID}|x"},
        {"oid": OID + "\n"},
    ],
    ids=str,
)
async def test_tenant_and_object_id_must_be_there_and_ours(changes: dict[str, object]) -> None:
    assert (await failure(V2, **changes)).split(" ")[0] in {"tenant", "issuer", "tid", "oid"}


@pytest.mark.identity_case("bearer", "Entra: an ID token of the same application", "401")
@pytest.mark.identity_case("bearer", "Entra: neither scopes nor roles (any program of the tenant can get one)", "401")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"azp": ...}, "azp missing"),
        ({"azp": ..., "scp": ..., "nonce": "n"}, "not an access token"),
        ({"azp": ..., "appid": CLIENT}, "azp missing"),
        ({"appid": OTHER_TENANT}, "client named twice"),
        ({"scp": ..., "roles": ...}, "neither scp nor roles"),
        ({"scp": ..., "roles": []}, "neither scp nor roles"),
        ({"scp": ..., "roles": ..., "idtyp": "app"}, "neither scp nor roles"),
        ({"scp": ""}, "scp malformed"),
        ({"scp": " "}, "scp malformed"),
        ({"scp": ["infer"]}, "scp malformed"),
        ({"roles": "Analyst"}, "roles malformed"),
        ({"roles": {"Analyst": 1}}, "roles malformed"),
        ({"roles": ["Analyst", 1]}, "roles malformed"),
        ({"idtyp": "app"}, "idtyp contradicts scp"),
        ({"idtyp": "device"}, "idtyp contradicts scp"),
        ({"idtyp": None}, "idtyp contradicts scp"),
        ({"idtyp": "user", "scp": ..., "roles": ["x"]}, "idtyp contradicts scp"),
        ({"cnf": {"kid": "x"}}, "bound token sent as bearer"),
    ],
    ids=str,
)
async def test_what_is_not_an_access_token_for_us_is_refused(changes: dict[str, object], reason: str) -> None:
    assert await failure(V2, **changes) == reason


async def test_the_type_is_jwt_and_nothing_else() -> None:
    for token_type in ("at+jwt", ..., ""):
        assert await refusal(V2, V2.token(header=V2.header(typ=token_type))) == "token type"


@pytest.mark.identity_case("bearer", "Entra: a program's token where only people count, and reverse", "401")
async def test_only_the_configured_callers_count() -> None:
    people, programs = Entra(callers=["user"]), Entra(callers=["app"])
    assert (await principal(people)).key
    assert await failure(people, **APP) == "a program's token"
    assert (await principal(programs, **APP)).key
    assert await failure(programs) == "a person's token"
    assert await failure(programs, scp=..., roles=["x"]) == "idtyp missing"


@pytest.mark.identity_case("bearer", "Entra: a guest where guests don't count, or a token that doesn't say", "401")
async def test_guests_can_be_kept_out() -> None:
    closed = Entra(allow_guests=False)
    assert (await principal(V2, acct=1)).key
    assert (await principal(closed, acct=0)).key
    assert (await principal(closed, **APP)).key, "a program is no guest"
    for acct in (1, ..., "0", None, False):
        assert await failure(closed, acct=acct) == "guest, or acct missing"


@pytest.mark.identity_case("bearer", "Entra: a token issued to a client that is not listed", "401")
async def test_only_listed_clients_count() -> None:
    listed = Entra(clients=[CLIENT])
    assert (await principal(listed)).key
    assert await failure(listed, azp=OTHER_TENANT) == "client not allowed"
    assert await failure(Entra(f"https://sts.windows.net/{TENANT}/", clients=[API])) == "client not allowed"


@pytest.mark.identity_case(
    "bearer", "Entra: groups left out because there are too many", "groups unknown: every denial on a group applies"
)
@pytest.mark.parametrize(
    "claims",
    [
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "http://127.0.0.1:9/steal"}}},
        {"hasgroups": True},
        {"hasgroups": "true"},
        {"_claim_names": "groups"},
        {"_claim_names": None},
        {"_claim_names": {"groups": "src1"}, "groups": ["g2"]},
    ],
    ids=str,
)
async def test_groups_that_were_left_out_are_not_no_groups(claims: dict[str, object]) -> None:
    found = await principal(V2, {"barred": ("entra:group:g1",), "analyst": ("entra:role:Analyst",)}, **claims)
    assert not found.groups_known
    assert (found.roles, found.denied_roles) == ({"analyst"}, {"barred"})


def many(*tenants: str) -> Entra:
    """An issuer of several tenants, whose key says so."""
    made = Entra(f"{HOST}/{{tenantid}}/v2.0", tenants=list(tenants))
    made.source.publish(published(f"{HOST}/{{tenantid}}/v2.0"))
    return made


def published(issuer: object) -> dict[str, object]:
    """The key as Entra publishes it: with the issuer whose tokens it signs."""
    return public_jwk(KEY, kid=V2.kid, use="sig", **({} if issuer is ... else {"issuer": issuer}))


@pytest.mark.identity_case(
    "bearer", "Entra, many tenants: a token of a listed tenant, and of one that is not", "counts; 401"
)
async def test_only_listed_tenants_count() -> None:
    issuer = many(TENANT, OTHER_TENANT)
    other = {"iss": f"{HOST}/{OTHER_TENANT}/v2.0", "tid": OTHER_TENANT}
    assert (await principal(issuer)).key == f"entra|{TENANT}|{OID}"
    assert (await principal(issuer, **other)).key == f"entra|{OTHER_TENANT}|{OID}"
    assert await failure(many(TENANT), **other) == "issuer"
    assert await failure(issuer, tid=OTHER_TENANT) == "tenant is not the issuer's"
    assert await failure(issuer, iss=f"{HOST}/{{tenantid}}/v2.0") == "issuer"
    assert await failure(issuer, iss=f"{HOST}/{{tenantid}}/v2.0", tid="{tenantid}") == "issuer"


@pytest.mark.identity_case("issuer", "Entra: a key whose `issuer` is another tenant's or the consumers'", "401")
@pytest.mark.parametrize(
    ("issuer", "key_issuer", "is_believed"),
    [
        ("one", ..., True),
        ("one", f"{HOST}/{{tenantid}}/v2.0", True),
        ("one", f"{HOST}/{TENANT}/v2.0", True),
        ("one", f"{HOST}/{OTHER_TENANT}/v2.0", False),
        ("one", f"{HOST}/{CONSUMERS}/v2.0", False),
        ("one", "https://evil.example/{tenantid}/v2.0", False),
        ("one", "{tenantid}", False),
        ("many", ..., False),
        ("many", "", False),
        ("many", f"{HOST}/{{tenantid}}/v2.0", True),
        ("many", f"{HOST}/{TENANT}/v2.0", True),
        ("many", f"{HOST}/{OTHER_TENANT}/v2.0", False),
        ("many", f"{HOST}/{CONSUMERS}/v2.0", False),
    ],
)
async def test_a_key_signs_for_the_issuer_that_it_names(issuer: str, key_issuer: object, is_believed: bool) -> None:
    made = Entra() if issuer == "one" else many(TENANT, OTHER_TENANT)
    made.source.publish(published(key_issuer))
    if is_believed:
        assert (await principal(made)).key
    else:
        assert await failure(made) == "key of another issuer"


async def test_organisations_keys_do_not_sign_for_personal_accounts() -> None:
    made = many(CONSUMERS)
    personal = {"iss": f"{HOST}/{CONSUMERS}/v2.0", "tid": CONSUMERS}
    assert await failure(made, **personal) == "key of another issuer"
    made.source.publish(published(f"{HOST}/{CONSUMERS}/v2.0"))
    assert (await principal(made, **personal)).key == f"entra|{CONSUMERS}|{OID}"


async def test_a_key_whose_issuer_is_no_text_is_left_out() -> None:
    made = Entra()
    made.source.publish(published(7), public_jwk(new_key("RS256"), kid="good"))
    with pytest.raises(RejectedCredential):
        await principal(made)


async def test_a_key_that_now_signs_for_another_tenant_is_another_key() -> None:
    """What was believed under the old meaning is forgotten."""
    made = Entra()
    made.source.publish(published(f"{HOST}/{TENANT}/v2.0"))
    tokens, token = tokens_of(made), made.token()
    await tokens.authenticate(token)
    made.source.publish(published(f"{HOST}/{OTHER_TENANT}/v2.0"))
    await tokens._issuers[made.settings.issuer].keys.refresh()
    assert tokens.cached(token) is None


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        (f"{HOST}/{TENANT}/v2.0", f"{HOST}/{TENANT}/v2.0/.well-known/openid-configuration"),
        (f"{HOST}/{{tenantid}}/v2.0", f"{HOST}/common/v2.0/.well-known/openid-configuration"),
        (f"https://sts.windows.net/{TENANT}/", f"{HOST}/{TENANT}/.well-known/openid-configuration"),
    ],
)
def test_metadata_is_that_of_the_tokens_version(issuer: str, url: str) -> None:
    found = read_entra_issuer(issuer)
    assert found is not None
    assert found.metadata_url == url


@pytest.mark.parametrize("host", ["https://x.b2clogin.com", "https://x.ciamlogin.com"])
def test_customer_tenants_need_another_profile(host: str) -> None:
    assert "generic" in entra_issuer_mistake(f"{host}/{TENANT}/v2.0", ())
