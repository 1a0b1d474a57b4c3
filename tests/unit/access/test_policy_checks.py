"""What `check` says of rules and roles that can never do what somebody meant them to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.access.checks import checks
from torchgate.access.policy_checks import model_findings
from torchgate.access.settings import AccessSettings
from torchgate.config import read_configuration
from torchgate.contract.decision import ModelRef

HEAD = """
[[identity.oidc]]
name = "corp"
issuer = "https://id.example"
audience = ["api"]

[roles]
analyst = ["corp:role:Analyst"]
boss = ["corp:role:Boss"]
barred = ["corp:group:barred"]
empty = []
"""
GRANT = '[[policy.grants]]\nroles = ["analyst"]\nmodels = ["digits"]\nactions = ["infer"]\n'
MODELS = frozenset({ModelRef("digits", "1"), ModelRef("digits", "2"), ModelRef("credit-a", "1")})


def settings_of(folder: Path, text: str) -> AccessSettings:
    (folder / "torchgate.toml").write_text(HEAD + text, encoding="utf-8")
    configuration = read_configuration(folder)
    assert configuration.settings is not None, configuration.findings
    return configuration.access_settings()


def found(folder: Path, text: str) -> dict[str, str]:
    """Setting → sentence; the role `empty`, which every project here has, is left out."""
    findings = checks(settings_of(folder, text))
    return {one.setting: one.sentence for one in findings if one.setting.startswith("policy.")}


def denial(roles: str, models: str = '["*"]', actions: str = '["*"]', more: str = "") -> str:
    return f"[[policy.denials]]\nroles = {roles}\nmodels = {models}\nactions = {actions}\n{more}\n"


@pytest.mark.parametrize(
    ("text", "setting", "words"),
    [
        (GRANT.replace("analyst", "empty"), "policy.grants.0", "nobody has empty"),
        (GRANT + 'valid_until = "2020-01-01T00:00:00Z"\n', "policy.grants.0", "never counts any more"),
        (
            GRANT + 'days = ["sat"]\ntime_zone = "UTC"\nvalid_from = "2090-01-02"\nvalid_until = "2090-01-03"\n',
            "policy.grants.0",
            "never counts any more",
        ),
        (
            GRANT + denial('["analyst"]', '["*"]', '["*"]'),
            "policy.grants.0",
            "never wins: policy.denials[0]",
        ),
        (
            GRANT.replace("digits", "digits*") + denial('["boss", "analyst"]', '["dig*"]', '["infer"]'),
            "policy.grants.0",
            "never wins",
        ),
        (
            GRANT + 'versions = ["2"]\n' + denial('["analyst"]', '["digits"]', '["infer"]', 'versions = ["2"]'),
            "policy.grants.0",
            "never wins",
        ),
        (GRANT + GRANT, "policy.grants.1", "policy.grants[0] says all of this already"),
        (denial('["barred"]', '["*"]', '["*"]'), "policy.denials.0", "whose groups could not all"),
    ],
)  # fmt: skip
def test_a_rule_that_does_nothing_is_told(tmp_path: Path, text: str, setting: str, words: str) -> None:
    assert words in found(tmp_path, text).get(setting, ""), found(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        GRANT,
        GRANT + denial('["analyst"]', '["*"]', '["load"]'),
        GRANT + denial('["analyst"]', '["digit"]', '["*"]'),
        GRANT + denial('["boss"]', '["*"]', '["*"]'),
        GRANT.replace("digits", "d*") + denial('["analyst"]', '["di*"]', '["*"]'),
        GRANT + denial('["analyst"]', '["*"]', '["infer"]', 'versions = ["2"]'),
        GRANT + denial('["analyst"]', '["*"]', '["infer"]', 'above_rows = 2'),
        GRANT + denial('["analyst"]', '["*"]', '["*"]', 'days = ["mon"]\ntime_zone = "UTC"'),
        GRANT.replace('["analyst"]', '["analyst", "boss"]') + denial('["analyst"]', '["*"]', '["*"]'),
        GRANT.replace('"infer"', '"*"') + denial('["analyst"]', '["*"]', '["infer", "read"]'),
        GRANT + 'max_rows = 2\n' + GRANT,
        GRANT + 'valid_from = "2090-01-01T00:00:00Z"\n',
    ],
)  # fmt: skip
def test_a_rule_that_may_do_something_is_none_of_them(tmp_path: Path, text: str) -> None:
    assert not found(tmp_path, text)


def test_a_role_that_a_key_has_by_its_own_entry_is_somebodys(tmp_path: Path) -> None:
    key = f'[[identity.api_keys]]\nid = "k"\nsha256 = "{"0" * 64}"\nroles = ["empty"]\n'
    assert not found(tmp_path, GRANT.replace("analyst", "empty") + key)
    both = GRANT.replace('["analyst"]', '["analyst", "empty"]')
    assert "roles.empty" in {one.setting for one in checks(settings_of(tmp_path, both))}
    assert "roles.empty" not in {one.setting for one in checks(settings_of(tmp_path, both + key))}


@pytest.mark.parametrize(
    ("models", "versions", "words"),
    [
        ('["digitz"]', "", ["there is no model 'digitz'. Did you mean 'digits'?"]),
        ('["Digits"]', "", ["there is no model 'Digits'. Did you mean 'digits'?"]),
        ('["credit-b*", "*"]', "", ["there is no model 'credit-b*'."]),
        ('["digits"]', '["1", "3"]', ["none of these models has a version 3."]),
        ('["credit-*"]', '["2"]', ["none of these models has a version 2."]),
        ('["digits", "credit-*"]', '["2"]', []),
    ],
)
def test_models_and_versions_that_are_not_there_are_told(
    tmp_path: Path, models: str, versions: str, words: list[str]
) -> None:
    text = GRANT.replace('["digits"]', models) + (f"versions = {versions}\n" if versions else "")
    sentences = [one.sentence for one in model_findings(settings_of(tmp_path, text), MODELS)]
    assert len(sentences) == len(words)
    for sentence, word in zip(sentences, words, strict=True):
        assert word in sentence


def test_where_there_are_no_models_a_rule_for_all_of_them_misses_none(tmp_path: Path) -> None:
    """It is right before they come; a rule for a model by its name may be misspelt."""
    settings = settings_of(tmp_path, GRANT.replace('["digits"]', '["*", "digits"]'))
    sentences = [one.sentence for one in model_findings(settings, frozenset())]
    assert sentences == ["there is no model 'digits'. There are no models."]
