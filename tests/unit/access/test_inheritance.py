"""What a pair of authentication and authorisation takes over from the one before, and what it must not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.unit.access.local_issuer import LocalIssuer, public_jwk

from torchgate.access.build import build_access
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.presented import Presented
from torchgate.access.policy.authorise import Authorisation
from torchgate.access.settings import AccessSettings
from torchgate.config import read_configuration
from torchgate.contract.errors import IssuerUnavailable

SETTINGS = """
[[identity.oidc]]
name = "corp"
issuer = "https://id.example"
audience = ["api"]
jwks_file = "keys.json"
clock_skew_s = {skew}

[roles]
analyst = ["corp:role:{role}"]

[policy]
hook = "hook.py:authorize"
hook_timeout_s = {timeout}

[[policy.grants]]
roles = ["analyst"]
models = ["digits"]
actions = ["infer"]
"""
HOOK = "def authorize(principal, action, resource, context):\n    return context.allow({reason!r})\n"


class Project:
    """A project with one issuer whose keys are in a file, and a token of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        issuer, now = LocalIssuer(), int(time.time())
        keys = {"keys": [public_jwk(issuer.key, kid=issuer.kid, alg=issuer.algorithm, use="sig")]}
        self.key_file = folder / "keys.json"
        self.key_file.write_text(json.dumps(keys), encoding="utf-8")
        self.presented = Presented(bearer=issuer.token(issuer.claims(roles=["Analyst"], exp=now + 600, iat=now)))
        self.write_hook("first")

    def write_hook(self, reason: str) -> None:
        (self.folder / "hook.py").write_text(HOOK.format(reason=reason), encoding="utf-8")

    def settings(self, role: str = "Analyst", skew: int = 30, timeout: float = 5.0) -> AccessSettings:
        text = SETTINGS.format(role=role, skew=skew, timeout=timeout)
        (self.folder / "torchgate.toml").write_text(text, encoding="utf-8")
        configuration = read_configuration(self.folder)
        assert configuration.settings is not None, configuration.findings
        return configuration.access_settings()

    def successor(
        self, former: tuple[Authentication, Authorisation], settings: AccessSettings
    ) -> tuple[Authentication, Authorisation]:
        successor = build_access(settings)
        successor[0].inherit(former[0])
        successor[1].inherit(former[1])
        return successor


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Fresh."""
    return Project(tmp_path)


@pytest.mark.identity_case("policy", "a token verified before its role was taken away", "the roles of the new policy")
async def test_keys_are_taken_over_and_roles_are_not(project: Project) -> None:
    """The issuer is out of reach when the policy changes: its tokens go on, with the roles of the new policy."""
    former = build_access(project.settings())
    assert (await former[0].authenticate(project.presented)).roles == {"analyst"}
    project.key_file.unlink()
    successor = project.successor(former, project.settings(role="Boss"))
    assert successor[0].cached(project.presented) is None, "verified tokens carry roles and are not taken over"
    assert (await successor[0].authenticate(project.presented)).roles == frozenset()
    await former[0].stop(heirs=[successor[0]])
    assert successor[0].cached(project.presented) is not None
    await successor[0].stop()


async def test_keys_of_an_issuer_whose_settings_changed_are_read_anew(project: Project) -> None:
    former = build_access(project.settings())
    await former[0].authenticate(project.presented)
    project.key_file.unlink()
    successor = project.successor(former, project.settings(skew=31))
    with pytest.raises(IssuerUnavailable):
        await successor[0].authenticate(project.presented)
    await former[0].stop()
    await successor[0].stop()


async def test_what_an_heir_has_taken_over_goes_on(project: Project) -> None:
    """The keys' background work, which both share, ends with the last of them."""
    former = build_access(project.settings())
    await former[0].start()
    successor = project.successor(former, project.settings())
    await successor[0].start()
    (keys,) = successor[0]._key_sets
    await former[0].stop(heirs=[successor[0]])
    assert keys._background is not None
    assert not keys._background.done()
    await successor[0].stop()
    assert keys._background is None


@pytest.mark.parametrize(
    ("reason", "timeout", "is_same"), [("first", 5.0, True), ("second", 5.0, False), ("first", 4.0, False)]
)
def test_an_unchanged_hook_is_taken_over_with_its_threads(
    project: Project, reason: str, timeout: float, is_same: bool
) -> None:
    former = build_access(project.settings())
    project.write_hook(reason)
    successor = project.successor(former, project.settings(timeout=timeout))
    assert (successor[1]._hook is former[1]._hook) is is_same
    assert (successor[1].policy_version == former[1].policy_version) is (reason == "first")
