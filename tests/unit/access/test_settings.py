"""Settings of access: safe defaults, and every mistake refused with a sentence that says what is right."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pydantic
import pytest

from torchgate.access.build import build_access, build_policy
from torchgate.access.checks import checks
from torchgate.access.identity.api_key import new_api_key
from torchgate.access.identity.development import new_development_token
from torchgate.access.identity.presented import Presented
from torchgate.access.settings import (
    AccessSettings,
    DevelopmentIdentity,
    DevelopmentSettings,
    IdentitySettings,
    PolicySettings,
    RolesSettings,
    SecretsSettings,
)
from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.decision import Action, ModelRef, Resource
from torchgate.contract.errors import RejectedCredential
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import Settings, examine_settings

OPS, CI = new_api_key("ops"), new_api_key("ci")


class Shape(Settings):
    """The tables of access, as the whole server's settings have them."""

    identity: IdentitySettings = IdentitySettings()
    roles: RolesSettings = pydantic.Field(default_factory=dict)
    policy: PolicySettings = PolicySettings()
    development: DevelopmentSettings = DevelopmentSettings()
    secrets: SecretsSettings = pydantic.Field(default_factory=dict)


def read(text: str) -> tuple[AccessSettings | None, list[Finding]]:
    values: dict[str, Any] = tomllib.loads(text)
    found, findings = examine_settings(values, Shape, "torchgate.toml", {})
    if found is None:
        return None, findings
    return AccessSettings(found.identity, found.roles, found.policy, found.development, found.secrets), findings


def mistakes(text: str) -> dict[str, str]:
    """Setting → sentence of every finding."""
    settings, findings = read(text)
    found = findings if settings is None else list(checks(settings))
    return {finding.setting: finding.sentence for finding in found}


GOOD = f"""
[[identity.oidc]]
name = "corp"
issuer = "https://id.example"
audience = ["api"]

[[identity.api_keys]]
id = "ops"
sha256 = "{OPS.sha256}"

[roles]
analyst = ["corp:role:Analyst", 'corp:claim:"https://x/y".z=1']
operator = ["key:ops"]

[[policy.grants]]
roles = ["analyst"]
models = ["sentiment", "d*"]
actions = ["infer", "read"]

[[policy.grants]]
roles = ["operator"]
actions = ["metrics"]

[secrets]
peppers = "file:secrets/pepper"
"""


def test_good_settings_have_no_findings() -> None:
    assert mistakes(GOOD) == {}


def test_nothing_set_is_nothing_allowed() -> None:
    authentication, authorisation = build_access(AccessSettings())
    assert authentication.challenges() == ("Bearer",)
    assert authentication.cached(Presented(api_key=OPS.key)) is None
    assert authorisation.is_degraded is False
    assert {finding.severity for finding in checks(AccessSettings())} == {"warning"}


KEY = f'[[identity.api_keys]]\nid = "a"\nsha256 = "{"0" * 64}"\n'
GRANT = '[[policy.grants]]\nroles = ["x"]\nmodels = ["m"]\nactions = ["infer"]\n'
TENANT = "11111111-aaaa-bbbb-cccc-222222222222"
ENTRA = f"https://login.microsoftonline.com/{TENANT}/v2.0"
OIDC = 'name = "corp"\nissuer = "https://id.example"\naudience = ["api"]\n'


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ('issuer = "http://id.example"', "is not https"),
        ('issuer = "http://127.0.0.1:1"', "allow_insecure_loopback"),
        ('issuer = "http://id.example"\nallow_insecure_loopback = true', "is not https"),
        ('issuer = "http://127.0.0.1.evil.example"\nallow_insecure_loopback = true', "is not https"),
        ('issuer = "https://user@id.example"', "has a user"),
        ('issuer = "https://id.example?x"', "has a user, a fragment or a query"),
        ('issuer = "https://id.example#x"', "has a user, a fragment or a query"),
        ('issuer = "file:///etc/passwd"', "is not an https URL"),
        ('issuer = "id.example"', "is not an https URL"),
        ('issuer = "https://[::1"', "is not a URL"),
        ('issuer = "https://id.example:port"', "is not a URL"),
        ('issuer = "https://id.example/ x"', "has not"),
        ('name = "key"', "is reserved"),
        ('name = "group"', "is reserved"),
        ('name = "a:b"', "pattern"),
        ("audience = []", "at least 1"),
        ('audience = "api"', "array"),
        ('algorithms = ["none"]', "whoever can examine a token can make one"),
        ('algorithms = ["None"]', "whoever can examine"),
        ('algorithms = ["HS256"]', "whoever can examine"),
        ('algorithms = ["hs512"]', "whoever can examine"),
        ('algorithms = ["RS265"]', "Did you mean 'RS256'"),
        ('algorithms = ["ES256K"]', "not an algorithm that we verify"),
        ("algorithms = []", "at least 1"),
        ('profile = "entr"', "rfc9068"),
        ('profile = "entra"', "not one of Entra"),
        ('profile = "entra"\nissuer = "https://login.microsoftonline.com/common/v2.0"', "not a domain, `common`"),
        ('profile = "entra"\nissuer = "https://login.microsoftonline.com/contoso.com/v2.0"', "not a domain"),
        (f'profile = "entra"\nissuer = "{ENTRA.upper()}"', "not one of Entra"),
        (f'profile = "entra"\nissuer = "{ENTRA}/"', "not one of Entra"),
        ('profile = "entra"\nissuer = "https://login.microsoftonline.com/{tenantid}/v2.0"', "list in `tenants`"),
        (f'profile = "entra"\nissuer = "https://sts.windows.net/{{tenantid}}/"\ntenants = ["{TENANT}"]', "version 1.0"),
        (f'profile = "entra"\nissuer = "{ENTRA}"\ntenants = ["{TENANT}"]', "tenants is for an issuer with"),
        ('profile = "entra"\nissuer = "https://login.microsoftonline.com/{tenantid}/v2.0"\ntenants = ["*"]', "pattern"),
        ('profile = "entra"\nissuer = "https://x.b2clogin.com/x/v2.0/"', 'profile = "generic"'),
        (f'tenants = ["{TENANT}"]', 'belong to profile = "entra"'),
        ("allow_guests = false", 'belong to profile = "entra"'),
        (f'[identity.oidc.graph]\nclient_id = "{TENANT}"\nclient_secret = "g"', 'belong to profile = "entra"'),
        ('[identity.oidc.graph]\nclient_id = "x"\nclient_secret = "g"', "pattern"),
        (
            f'[identity.oidc.graph]\nclient_id = "{TENANT}"\nclient_secret = "g"\nendpoint = "http://localhost"',
            "not https",
        ),
        ('callers = ["user"]', "do not prove"),
        ("callers = []", "at least 1"),
        ('profile = "okta"\nissuer = "https://corp.okta.com"', "only Okta itself may validate"),
        ('profile = "okta"\nissuer = "https://corp.okta.com/"', "only Okta itself may validate"),
        ('profile = "okta"\nissuer = "https://corp.okta.com/oauth2"', "only Okta itself may validate"),
        ('profile = "okta"\nissuer = "https://corp.okta.com/oauth2/default/v1"', "not a custom authorisation server"),
        ('profile = "okta"\nissuer = "https://corp.okta.com/oauth2/../"', "not a custom authorisation server"),
        ("clock_skew_s = 301.0", "less than or equal to 300"),
        ("clock_skew_s = -1.0", "greater than or equal to 0"),
        ('role_claims = ["a..b"]', "not a claim path"),
        ('jwks_uri = "http://id.example/jwks"', "is not https"),
        ('jwks_uri = "https://id.example/jwks"\njwks_file = "x"', "both there"),
        ('isuer = "x"', "Did you mean 'issuer'"),
    ],
)
def test_a_mistake_about_an_issuer_says_what_is_right(changes: str, sentence: str) -> None:
    keys = {line.split(" = ")[0] for line in changes.splitlines()}
    kept = "".join(f"{line}\n" for line in OIDC.splitlines() if line.split(" = ")[0] not in keys)
    found = mistakes(f"[[identity.oidc]]\n{kept}{changes}\n")
    assert any(sentence in text for text in found.values()), found


@pytest.mark.parametrize(
    ("text", "setting", "sentence"),
    [
        (KEY.replace('"a"', '"a b"'), "identity.api_keys.0.id", "pattern"),
        (KEY.replace("0" * 64, "abc"), "identity.api_keys.0.sha256", "not a SHA-256"),
        (KEY + "expires = 2030-01-01T00:00:00\n", "identity.api_keys.0.expires", "timezone"),
        (KEY + f'previous_sha256 = "{OPS.sha256}"', "identity.api_keys.0", "together"),
        (KEY + "expires = 2020-01-01T00:00:00Z", "identity.api_keys.0.expires", "expired at"),
        (GRANT.replace('models = ["m"]\n', ""), "policy.grants.0", "models is missing"),
        (GRANT.replace('models = ["m"]\n', "").replace("grants", "denials"), "policy.denials.0", "models is missing"),
        (GRANT.replace("infer", "metrics"), "policy.grants.0", "asked of the server"),
        (GRANT.replace("infer", "infre"), "policy.grants.0.actions.0", "Did you mean 'infer'"),
        (GRANT.replace('"m"', '"m*n"'), "policy.grants.0.models.0", "last character"),
        (GRANT.replace('"m"', '"m?"'), "policy.grants.0.models.0", "mean nothing here"),
        (GRANT.replace('"x"', ""), "policy.grants.0.roles", "at least 1"),
        (GRANT.replace('"m"', ""), "policy.grants.0.models", "at least 1"),
        (GRANT.replace("models", "model"), "policy.grants.0.model", "Did you mean 'models'"),
        ('[policy]\nhook = "nothing"', "policy.hook", "pattern"),
        ('[policy]\nhook = "nowhere.py:authorize"', "policy.hook", "there is no file"),
        ('[secrets]\npepper = "hunter2"', "secrets.pepper", "not a secret reference"),
        ('[secrets]\npepper = "vault:x"', "secrets.pepper", "Allowed: aws-secretsmanager, azure-keyvault,"),
        ("[development]\nenabled = true", "development.enabled", "Not for production"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_it_is_and_what_is_right(text: str, setting: str, sentence: str) -> None:
    found = mistakes(text)
    assert sentence in found.get(setting, ""), found


@pytest.mark.parametrize(
    "text",
    ['[secrets]\npepper = "hunter2"', '[secrets]\npepper = "hunter2:x"', KEY.replace("0" * 64, "tg_ops_hunter2")],
)
def test_a_secret_written_in_the_wrong_place_is_a_mistake_that_does_not_show_it(text: str) -> None:
    """Findings are printed and logged."""
    _, findings = read(text)
    assert len(findings) == 1
    assert "hunter2" not in str(findings[0])


CROSSED = (
    GOOD
    + f"""
[[identity.oidc]]
name = "corp"
issuer = "https://id.example"
audience = ["api"]

[[identity.api_keys]]
id = "ops"
sha256 = "{OPS.sha256}"

[[policy.denials]]
roles = ["analist"]
models = ["*"]
actions = ["infer"]
"""
)


def test_all_mistakes_between_tables_are_found_at_once() -> None:
    text = CROSSED.replace(
        "[roles]",
        '[roles]\nunused = ["key:opps"]\nlost = ["crop:role:X", "corp:rolle:X"]\n'
        'later = ["group:CONTOSO\\\\X"]\nempty = []',
    )
    found = mistakes(text)
    assert found.keys() == {
        "identity.oidc.1.name",
        "identity.oidc.1.issuer",
        "identity.api_keys.1.id",
        "identity.api_keys.1.sha256",
        "roles.unused.0",
        "roles.lost.0",
        "roles.lost.1",
        "roles.later.0",
        "roles.empty",
        "roles.unused",
        "roles.lost",
        "roles.later",
        "policy.denials.0.roles",
    }
    assert "Did you mean 'ops'" in found["roles.unused.0"]
    assert "Did you mean 'corp'" in found["roles.lost.0"]
    assert "Did you mean 'role'" in found["roles.lost.1"]
    assert "Windows identity" in found["roles.later.0"]
    assert "Did you mean 'analyst'" in found["policy.denials.0.roles"]


def test_a_server_with_such_mistakes_does_not_start() -> None:
    """A denial that names a role that does not exist would deny nobody."""
    settings, _ = read(CROSSED)
    assert settings is not None
    with pytest.raises(ValueError, match=r"(?s)identity\.oidc\.1\.issuer.*policy\.denials\.0\.roles"):
        build_access(settings)


def test_key_files_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    text = GOOD.replace('audience = ["api"]', 'audience = ["api"]\njwks_file = "keys.json"\nca_file = "ca.pem"')
    settings, _ = read(text)
    assert settings is not None
    missing = AccessSettings(settings.identity, settings.roles, settings.policy, folder=tmp_path)
    assert [finding.setting for finding in checks(missing)] == ["identity.oidc.0.ca_file", "identity.oidc.0.jwks_file"]
    (tmp_path / "keys.json").write_text("<html>", encoding="utf-8")
    assert any("not JSON" in finding.sentence for finding in checks(missing))


async def test_what_is_built_lets_the_right_one_in() -> None:
    settings, _ = read(GOOD)
    assert settings is not None
    authentication, authorisation = build_access(settings)
    operator = await authentication.authenticate(Presented(api_key=OPS.key))
    assert operator.roles == {"operator"}
    assert (await authorisation.authorise(operator, Action.METRICS, Resource())).rule == "policy.grants[1]"
    assert not (await authorisation.authorise(operator, Action.INFER, Resource(ModelRef("digits", "1")))).allowed
    assert authorisation.policy_version == build_policy(settings).version
    with pytest.raises(RejectedCredential):
        await authentication.authenticate(Presented(api_key=CI.key))


@pytest.mark.parametrize("name", ["con", "NUL", "com1", "aux"])
def test_no_development_identity_is_named_like_a_device(name: str) -> None:
    """Its token goes into a file of that name, which Windows would not write."""
    with pytest.raises(pydantic.ValidationError, match="names a device on Windows"):
        DevelopmentIdentity(name=name)


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_development_identities_exist_only_where_they_are_enabled(is_enabled: bool) -> None:
    token = new_development_token()
    text = f"""
[development]
enabled = {str(is_enabled).lower()}
[[development.identities]]
name = "ann"
roles = ["analyst"]
[[policy.grants]]
roles = ["analyst"]
models = ["*"]
actions = ["infer"]
[roles]
analyst = []
"""
    settings, _ = read(text)
    assert settings is not None
    authentication, authorisation = build_access(settings, development_tokens={"ann": token})
    presented = Presented(bearer=token)
    if not is_enabled:
        with pytest.raises(RejectedCredential):
            await authentication.authenticate(presented)
        return
    ann = await authentication.authenticate(presented)
    assert authorisation.decide(ann, Action.INFER, Resource(ModelRef("digits", "1"))).allowed


def test_the_secret_that_graph_is_asked_with_must_be_there() -> None:
    text = f"""
[[identity.oidc]]
name = "entra"
profile = "entra"
issuer = "{ENTRA}"
audience = ["api"]

[identity.oidc.graph]
client_id = "{TENANT}"
client_secret = "grap"

[secrets]
graph = "file:secrets/graph"
"""
    found = mistakes(text)["identity.oidc.0.graph.client_secret"]
    assert "Did you mean 'graph'" in found
    settings, _ = read(text)
    assert settings is not None
    with pytest.raises(ValueError, match="grap"):
        build_access(settings)


def test_a_role_by_a_login_name_of_okta_is_a_mistake() -> None:
    text = """
[[identity.oidc]]
name = "okta"
profile = "okta"
issuer = "https://corp.okta.com/oauth2/default"
audience = ["api"]

[roles]
analyst = ["okta:sub:ann@corp.example", "okta:sub:0oaclient", "okta:uid:00uann"]
"""
    assert "okta:uid:ID" in mistakes(text)["roles.analyst.0"]
    assert "roles.analyst.1" not in mistakes(text)


def test_a_tenant_counts_for_one_issuer_alone() -> None:
    """Otherwise the rules of one of the two would be those that nobody sees at work."""
    many = f'''
[[identity.oidc]]
name = "many"
profile = "entra"
issuer = "https://login.microsoftonline.com/{{tenantid}}/v2.0"
audience = ["api"]
tenants = ["{TENANT}"]
'''
    one = f'[[identity.oidc]]\nname = "one"\nprofile = "entra"\nissuer = "{ENTRA}"\naudience = ["api"]\n'
    assert "count already for the issuer 'many'" in mistakes(many + one)["identity.oidc.1.issuer"]
    assert "count already for the issuer 'one'" in mistakes(one + many)["identity.oidc.1.issuer"]
    assert "is there already" in mistakes(one + one.replace("one", "two"))["identity.oidc.1.issuer"]


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ({"prefix": "/win"}, "enabled is not true"),
        ({"enabled": True, "prefix": "/"}, 'paths = \\["/"\\]'),
        ({"enabled": True, "prefix": "win"}, "pattern"),
    ],
)
def test_a_prefix_for_windows_callers_is_a_path_of_an_enabled_door(windows: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        WindowsSettings.model_validate(windows)


def test_the_prefix_is_marked_with_the_other_paths():
    assert WindowsSettings(enabled=True, paths=("/admin",), prefix="/win").marked_paths == ("/admin", "/win")
