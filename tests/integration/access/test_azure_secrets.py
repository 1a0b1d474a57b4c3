"""Secrets of Azure Key Vault, by the real SDK and azure-identity: versions are states, and failures are sentences."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

pytest.importorskip("azure.keyvault.secrets", reason="needs azure-keyvault-secrets")
pytest.importorskip("azure.identity", reason="needs azure-identity")

from tests.rigs.key_vault import LOGIN, VAULT, VAULT_HOST, KeyVault

from torchgate.access.secrets.azure import AzureSecret
from torchgate.access.secrets.reference import parse_reference
from torchgate.access.secrets.secret import Secret, SecretUnreadable

NOW = 1_900_000_000.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyVault]:
    with KeyVault(tmp_path_factory.mktemp("vault")) as vault:
        yield vault


@pytest.fixture
def vault(running: KeyVault, monkeypatch: pytest.MonkeyPatch) -> KeyVault:
    running.reset()
    for name in list(os.environ):
        if name.upper().startswith("AZURE_") or name.upper().endswith(("_PROXY", "_CA_BUNDLE")):
            monkeypatch.delenv(name)
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


def source(reference: str = f"{VAULT}/pepper", now: float = NOW) -> AzureSecret:
    return AzureSecret(parse_reference(f"azure-keyvault:{reference}"), os.environ, wall_clock=lambda: now)


def values(secret: Secret) -> dict[str, bytes]:
    return {state: one.value for state, one in secret.by_state()}


def test_the_newest_version_is_current_the_one_before_previous_and_a_later_one_next(vault: KeyVault) -> None:
    vault.put("pepper", "hunter0", created=NOW - 400)
    vault.put("pepper", "hunter1", created=NOW - 300)
    secret = source()
    assert values(secret.read()) == {"current": b"hunter1", "previous": b"hunter0"}
    vault.put("pepper", "hunter2", created=NOW - 200)
    assert values(secret.read()) == {"current": b"hunter2", "previous": b"hunter1"}
    vault.put("pepper", "hunter3", created=NOW - 100, nbf=int(NOW + 60))
    found = secret.read()
    assert values(found) == {"current": b"hunter2", "previous": b"hunter1", "next": b"hunter3"}
    assert found.current.version == f"{3:032x}"
    assert values(source(now=NOW + 60).read()) == {"current": b"hunter3", "previous": b"hunter2"}


def test_a_value_once_read_is_asked_for_no_more(vault: KeyVault) -> None:
    vault.put("pepper", "hunter1", created=NOW - 300)
    secret = source()
    secret.read()
    vault.asked.clear()
    secret.read()
    assert vault.asked == [f"{VAULT_HOST}/secrets/pepper/versions"]


def test_a_disabled_or_expired_version_counts_no_more(vault: KeyVault) -> None:
    vault.put("pepper", "hunter1", created=NOW - 300)
    vault.put("pepper", "hunter2", created=NOW - 200, exp=int(NOW + 100))
    secret = source()
    assert secret.read().current.expires_at == NOW + 100
    vault.secrets["pepper"][0]["attributes"]["enabled"] = False
    assert values(secret.read()) == {"current": b"hunter2"}
    with pytest.raises(SecretUnreadable, match="1 disabled, 1 expired"):
        source(now=NOW + 100).read()
    vault.put("later", "hunter2", created=NOW, nbf=int(NOW + 1))
    with pytest.raises(SecretUnreadable, match="1 not valid yet"):
        source(f"{VAULT}/later").read()


def test_a_key_of_a_json_object_is_a_value(vault: KeyVault) -> None:
    vault.put("pepper", "hunter0, no JSON yet", created=NOW - 300)
    vault.put("pepper", '{"pepper": "hunter1"}', created=NOW - 200)
    found = source(f"{VAULT}/pepper#pepper").read()
    assert values(found) == {"current": b"hunter1"}
    assert "is not accepted" in found.remarks[0]
    assert "hunter" not in found.remarks[0]
    with pytest.raises(SecretUnreadable, match="no text under the key"):
        source(f"{VAULT}/pepper#other").read()


@pytest.mark.parametrize(
    ("failing", "sentence"),
    [
        ("denies", "403.*Key Vault Secrets User"),
        ("throttles", "429.*interval_s"),
        ("breaks", "503"),
        ("no token", r"no token \(AADSTS7000215\)"),
        ("drops", "HTTPS_PROXY where there is a proxy"),
    ],
)
def test_a_failure_is_told_in_our_words_and_over_when_the_store_is_back(
    vault: KeyVault, failing: str, sentence: str
) -> None:
    """The sentence of the store itself is not repeated: who knows what is in it."""
    vault.put("pepper", "hunter1", created=NOW - 300)
    secret = source()
    vault.failing = failing
    with pytest.raises(SecretUnreadable, match=sentence) as caught:
        secret.read()
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    vault.failing = ""
    assert values(secret.read()) == {"current": b"hunter1"}


def test_a_secret_that_is_not_there_is_told_with_the_remedy(vault: KeyVault) -> None:
    with pytest.raises(SecretUnreadable, match=r"404.*no such secret"):
        source().read()


def test_where_versions_may_not_be_listed_the_newest_counts_and_it_is_told(vault: KeyVault) -> None:
    vault.put("pepper", "hunter1", created=NOW - 300)
    vault.put("pepper", "hunter2", created=NOW - 200)
    vault.failing = "denies lists"
    found = source().read()
    assert values(found) == {"current": b"hunter2"}
    assert "may not be listed" in found.remarks[0]


def test_a_vault_that_is_out_of_reach_is_named(vault: KeyVault) -> None:
    vault.put("pepper", "hunter1", created=NOW - 300)
    with pytest.raises(SecretUnreadable, match=r"https://another\.vault\.azure\.net can't be reached"):
        source("another/pepper").read()


def test_a_vault_that_asks_for_a_token_for_somebody_else_gets_none(
    vault: KeyVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever plays the vault could have our token for another service sent to it."""
    vault.put("pepper", "hunter1", created=NOW - 300)
    challenge = f'Bearer authorization="https://{LOGIN}/x", resource="https://evil.example"'
    monkeypatch.setattr(vault, "answer", lambda *_: (401, {}, {"WWW-Authenticate": challenge}))
    with pytest.raises(SecretUnreadable):
        source().read()


def test_a_proxy_with_a_certificate_that_nobody_knows_is_not_believed(
    vault: KeyVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put("pepper", "hunter1", created=NOW - 300)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(SecretUnreadable):
        source().read()
    assert vault.asked == []


@pytest.mark.linux("OpenSSL's own variable stands for the operating system's store")
def test_without_a_bundle_of_its_own_the_operating_systems_store_counts(
    vault: KeyVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put("pepper", "hunter1", created=NOW - 300)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv("SSL_CERT_FILE", str(vault.authority))
    assert values(source().read()) == {"current": b"hunter1"}


def test_whatever_level_others_have_set_the_library_logs_no_value(
    vault: KeyVault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    vault.put("pepper", "hunter1-canary", created=NOW - 300)
    source().read()
    for word in ("hunter1-canary", "token-of-the-vault", "a-made-up-credential"):
        assert word not in caplog.text
