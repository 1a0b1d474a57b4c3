"""What clients learn without a credential: what the settings say, and nothing of the request."""

from __future__ import annotations

import json

import pydantic
import pytest

from torchgate.access.build import build_access
from torchgate.access.identity.protected_resource import bearer_challenge, resource_document
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.resource_settings import ResourceSettings
from torchgate.access.settings import AccessSettings, IdentitySettings

TENANT = "11111111-aaaa-bbbb-cccc-222222222222"
CORP = OidcSettings(name="corp", issuer="https://id.example", audience=("api",))
MANY = OidcSettings(
    name="entra",
    profile="entra",
    issuer="https://login.microsoftonline.com/{tenantid}/v2.0",
    tenants=(TENANT,),
    audience=("api",),
)


def test_nothing_configured_is_nothing_told() -> None:
    assert resource_document(None, [CORP]) is None
    assert build_access(AccessSettings())[0].challenges() == ("Bearer",)


def test_the_issuers_are_told_and_not_the_tenants() -> None:
    settings = ResourceSettings(url="https://models.example", scopes=("infer",), name="Models")
    document = resource_document(settings, [CORP, MANY])
    assert document is not None
    assert json.loads(document) == {
        "resource": "https://models.example",
        "authorization_servers": ["https://id.example", "https://login.microsoftonline.com/organizations/v2.0"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["infer"],
        "resource_name": "Models",
    }
    assert TENANT.encode() not in document


def test_what_proofs_may_be_signed_with_is_told_where_they_count() -> None:
    """And that they must be there, where no issuer's tokens count without."""
    settings = ResourceSettings(url="https://models.example")
    allowed, required = CORP.model_copy(update={"dpop": "allowed"}), CORP.model_copy(update={"dpop": "required"})
    told = [json.loads(resource_document(settings, issuers) or b"") for issuers in ([CORP, allowed], [required])]
    assert [one["dpop_signing_alg_values_supported"] for one in told] == [["ES256", "ES384", "Ed25519", "EdDSA"]] * 2
    assert [one.get("dpop_bound_access_tokens_required") for one in told] == [None, True]


@pytest.mark.parametrize(
    ("url", "metadata"),
    [
        ("https://models.example", "https://models.example/.well-known/oauth-protected-resource"),
        ("https://models.example/", "https://models.example/.well-known/oauth-protected-resource"),
        ("https://models.example:8443/a/b", "https://models.example:8443/.well-known/oauth-protected-resource/a/b"),
    ],
)
def test_a_challenge_names_the_metadata(url: str, metadata: str) -> None:
    """The path stands after the well-known name (RFC 9728 section 3.1)."""
    identity = IdentitySettings(oidc=(CORP,), resource=ResourceSettings(url=url))
    challenge = f'Bearer resource_metadata="{metadata}"'
    assert bearer_challenge(identity.resource) == challenge
    assert build_access(AccessSettings(identity))[0].challenges() == (challenge,)


@pytest.mark.parametrize(
    "url",
    ["http://models.example", "models.example", "https://u@models.example", "https://a.example/?x", 'https://a"b'],
)
def test_an_address_that_clients_could_not_trust_is_a_mistake(url: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        ResourceSettings(url=url)
    with pytest.raises(pydantic.ValidationError):
        ResourceSettings(url="https://models.example", authorization_servers=(url,))


@pytest.mark.parametrize("scope", ["", "a b", 'a"b', "a\\b", "é", "a\n"])
def test_a_scope_has_the_characters_of_its_standard(scope: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        ResourceSettings(url="https://models.example", scopes=(scope,))
