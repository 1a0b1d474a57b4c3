"""`torchgate policy explain` and `policy test`: what a person asks at the terminal, and what it answers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.unit.access.local_issuer import LocalIssuer, public_jwk

from torchgate.cli import main

SETTINGS = """
[[identity.oidc]]
name = "corp"
issuer = "https://id.example"
audience = ["api"]
jwks_file = "keys.json"

[[identity.api_keys]]
id = "ops"
sha256 = "{digest}"
roles = ["operator"]

[roles]
analyst = ["corp:role:Analyst"]
barred = ["corp:group:barred"]
operator = []

[[policy.grants]]
roles = ["analyst"]
models = ["digits"]
versions = ["1"]
actions = ["infer"]
days = ["mon", "tue", "wed", "thu", "fri"]
hours = ["08:00-18:00"]
time_zone = "Europe/Berlin"
max_rows = 10

[[policy.grants]]
roles = ["operator"]
models = ["*"]
actions = ["load", "read"]

[[policy.denials]]
roles = ["barred"]
models = ["*"]
actions = ["*"]
"""
MONDAY_NOON = "2026-03-02T12:00:00+01:00"
ANALYST = ["--member", "corp:role:Analyst"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without models."""
    text = SETTINGS.format(digest="0" * 64)
    (tmp_path / "torchgate.toml").write_text(text, encoding="utf-8")
    return tmp_path


def explain(project: Path, *arguments: str) -> int:
    return main(["policy", "explain", "--config", str(project), *arguments])


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ([*ANALYST, "infer", "digits:1", "--at", MONDAY_NOON], "allowed by policy.grants[0]"),
        ([*ANALYST, "infer", "digits", "--version", "1", "--at", MONDAY_NOON], "allowed by policy.grants[0]"),
        ([*ANALYST, "infer", "digits:2", "--at", MONDAY_NOON], "denied by default deny"),
        ([*ANALYST, "infer", "digits", "--at", MONDAY_NOON], "denied by default deny"),
        ([*ANALYST, "infer", "digits:1", "--at", "2026-03-01T12:00:00+01:00"], "denied by default deny"),
        ([*ANALYST, "infer", "digits:1", "--at", MONDAY_NOON, "--rows", "11"], "denied by default deny"),
        ([*ANALYST, "infer", "digits:1", "--at", MONDAY_NOON, "--rows", "10"], "allowed by policy.grants[0]"),
        ([*ANALYST, "--groups-unknown", "infer", "digits:1", "--at", MONDAY_NOON], "denied by policy.denials[0]"),
        ([*ANALYST, "--member", "corp:group:barred", "infer", "digits:1"], "denied by policy.denials[0]"),
        (["--principal", "key:ops", "load", "digits"], "allowed by policy.grants[1]"),
        (["--principal", "key:else", "load", "digits"], "denied by default deny"),
        (["--roles", "operator,barred", "load", "digits"], "denied by policy.denials[0]"),
        (["--roles", "", "identify"], "allowed by built in"),
    ],
)
def test_who_asks_what_and_when_decides(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], first: str
) -> None:
    assert explain(project, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(first)], lines


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--roles", "anlyst", "infer", "digits"], "Did you mean 'analyst'?"),
        (["--principal", "nobody", "infer", "digits"], "neither a development identity"),
        (["--member", "corp:rle:X", "infer", "digits"], "Did you mean 'role'?"),
        (["--token-file", "nowhere", "infer", "digits"], "Name the file where the bearer token is"),
    ],
)
def test_a_question_that_is_none_is_told_why(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    assert explain(project, *arguments) == 1
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "word"), [(b"\xff", "it is not ASCII text"), (b"x" * ((1 << 20) + 1), "more than 1,048,576 bytes")]
)
def test_a_file_without_a_token_is_told(
    project: Path, capsys: pytest.CaptureFixture[str], content: bytes, word: str
) -> None:
    (project / "token").write_bytes(content)
    assert explain(project, "--token-file", str(project / "token"), "infer", "digits") == 1
    said = capsys.readouterr().err
    assert word in said
    assert "Error" not in said, "no class of Python's"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([*ANALYST, "infre", "digits"], "Did you mean 'infer'?"),
        ([*ANALYST, "infer", "digits:1", "--version", "1"], "given twice"),
        ([*ANALYST, "infer", "digits", "--at", "yesterday"], "no moment"),
        ([*ANALYST, "infer", "digits", "--at", "2026-03-02T12:00:00"], "no moment"),
        ([*ANALYST, "infer", "digits", "--at", "9999-12-31T23:59:59+00:00"], "no moment"),
        (["--roles", "analyst", "--groups-unknown", "infer", "digits"], "say --principal or --member with it"),
    ],
)
def test_a_question_that_no_project_could_answer_is_a_wrong_command_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    assert explain(project, *arguments) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--rows", "--bytes"])
@pytest.mark.parametrize("value", ["-1", "1.5", "many", "\u00b2", ""])
def test_what_is_counted_is_no_less_than_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        explain(project, *ANALYST, "infer", "digits", option, value)
    assert ended.value.code == 2
    assert f"argument {option}: {value!r} is no whole number from 0 on" in capsys.readouterr().err


def test_a_token_is_verified_and_never_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever explains a token that nobody signed explains an attacker's wish."""
    issuer, now = LocalIssuer(), int(time.time())
    keys = {"keys": [public_jwk(issuer.key, kid=issuer.kid, alg=issuer.algorithm, use="sig")]}
    (project / "keys.json").write_text(json.dumps(keys), encoding="utf-8")
    token = issuer.token(issuer.claims(roles=["Analyst"], exp=now + 600, iat=now))
    file = project / "token"
    file.write_text(f"{token}\n", encoding="ascii")
    question = ["--token-file", str(file), "infer", "digits:1", "--at", MONDAY_NOON]
    assert explain(project, *question) == 0
    shown = capsys.readouterr()
    assert "allowed by policy.grants[0]" in shown.out
    file.write_text(token[:-8] + "AAAAAAAA", encoding="ascii")
    assert explain(project, *question) == 1
    refused = capsys.readouterr()
    assert "refused: signature" in refused.err
    assert token[:20] not in shown.out + shown.err + refused.out + refused.err


CASES = """
[[cases]]
name = "office hours"
members = ["corp:role:Analyst"]
action = "infer"
model = "digits"
version = "1"
at = 2026-03-02T12:00:00+01:00
rows = 10
expect = "allow"
rule = "policy.grants[0]"

[[cases]]
name = "not on Sundays"
members = ["corp:role:Analyst"]
action = "infer"
model = "digits"
version = "1"
at = 2026-03-01T12:00:00+01:00
expect = "{sunday}"

[[cases]]
name = "barred where groups are unknown"
members = ["corp:role:Analyst"]
groups_known = false
action = "infer"
model = "digits"
version = "1"
expect = "deny"
rule = "{rule}"
"""


@pytest.mark.parametrize(
    ("sunday", "rule", "code", "told"),
    [
        ("deny", "policy.denials[0]", 0, ["cases.toml: passed: 3 as expected, 0 not."]),
        (
            "allow",
            "policy.denials[0]",
            1,
            ["WRONG not on Sundays: expected allow, and it is deny.", "and it is sun 2026-03-01T12:00:00+01:00"],
        ),
        (
            "deny",
            "default deny",
            1,
            ["expected deny by default deny, and it is by policy.denials[0].", "NOT passed: 2 as expected, 1 not."],
        ),
    ],
)
def test_cases_pass_or_are_explained(
    project: Path, capsys: pytest.CaptureFixture[str], sunday: str, rule: str, code: int, told: list[str]
) -> None:
    file = project / "cases.toml"
    file.write_text(CASES.format(sunday=sunday, rule=rule), encoding="utf-8")
    assert main(["policy", "test", str(file), "--config", str(project)]) == code
    shown = capsys.readouterr().out
    for words in told:
        assert words in shown, shown


def test_a_case_about_a_role_that_is_not_there_is_wrong_and_the_others_are_asked(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CASES.format(sunday="deny", rule="policy.denials[0]").replace('["corp:role:Analyst"]', "[]", 1)
    file = project / "cases.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["policy", "test", str(file), "--config", str(project)]) == 1
    assert "WRONG office hours: nothing is said of who asks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "cases: is missing"),
        ("cases = []", "at least 1 item"),
        ('[[cases]]\nname = "x"\naction = "infer"\nexpect = "deny"\n', "say who asks"),
        ('[[cases]]\nname = "x"\nroles = []\naction = "infer"\nexpect = "no"\n', "'allow' or 'deny'"),
        ('[[cases]]\nname = "x"\nroles = []\naction = "infer"\nexpect = "deny"\nrow = 1\n', "Did you mean 'rows'?"),
        ("[", "is not TOML"),
    ],
)
def test_a_file_that_holds_no_cases_is_a_mistake(
    project: Path, capsys: pytest.CaptureFixture[str], text: str, word: str
) -> None:
    file = project / "cases.toml"
    file.write_text(text, encoding="utf-8")
    assert main(["policy", "test", str(file), "--config", str(project)]) == 1
    assert word in capsys.readouterr().err


HOOK = """
def authorize(principal, action, resource, context):
    if context.facts is not None and context.facts.rows > 5:
        return context.deny("more than 5 rows.")
    return context.allow("fine.") if context.grant else context.deny("no grant.")
"""


def test_the_hook_is_asked_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a server answers is what is explained: rules, then the hook, once more with facts."""
    (project / "hook.py").write_text(HOOK, encoding="utf-8")
    path = project / "torchgate.toml"
    path.write_text('[policy]\nhook = "hook.py:authorize"\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    question = [*ANALYST, "infer", "digits:1", "--at", MONDAY_NOON]
    assert explain(project, *question, "--rows", "6") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["  the hook allows: fine.", "  the hook denies: more than 5 rows.", "denied by hook"]
    assert explain(project, "--roles", "barred", "infer", "digits:1") == 0
    assert "the hook" not in capsys.readouterr().out.replace("then the hook", ""), "a denial is final"
    (project / "hook.py").write_text("1 / 0", encoding="utf-8")
    assert explain(project, *question) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_case_file_of_a_new_project_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert main(["init", str(folder)]) == 0
    assert main(["policy", "test", str(folder / "policy_cases.toml"), "--config", str(folder)]) == 0
    assert "passed: 3 as expected" in capsys.readouterr().out


def test_an_explanation_is_one_json_object_for_programs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(project, *ANALYST, "infer", "digits:1", "--at", MONDAY_NOON, "--rows", "11", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["decision"]["allowed"], said["decision"]["rule"]) == (False, "default deny")
    assert (said["roles"], said["model"], said["version"], said["facts"]["rows"]) == (["analyst"], "digits", "1", 11)
    assert [(rule["rule"], rule["applies"]) for rule in said["rules"]] == [
        ("policy.denials[0]", False),
        ("policy.grants[0]", False),
        ("policy.grants[1]", False),
    ]


def test_cases_are_one_json_array_for_programs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project / "cases.toml"
    cases = (("operators load", "operator", "load", "allow"), ("operators ask", "operator", "infer", "allow"))
    file.write_text(
        "".join(
            f'[[cases]]\nname = "{name}"\nroles = ["{role}"]\n'
            f'action = "{action}"\nmodel = "digits"\nexpect = "{expect}"\n'
            for name, role, action, expect in cases
        ),
        encoding="utf-8",
    )
    assert main(["policy", "test", str(file), "--config", str(project), "--json"]) == 1
    right, wrong = json.loads(capsys.readouterr().out)
    assert (right["name"], right["wrong"], right["decision"]["rule"]) == ("operators load", "", "policy.grants[1]")
    assert (wrong["name"], wrong["wrong"]) == ("operators ask", "expected allow, and it is deny")
