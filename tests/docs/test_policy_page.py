"""The policy and the cases of the page about policies: the cases pass, and the commands of the page answer."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.docs.markdown import REPOSITORY, blocks, command_lines

from torchgate.cli import main

PAGE = REPOSITORY / "docs" / "how-to" / "write-a-policy.md"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The page's files, and a token that nobody signed."""
    for block in blocks(PAGE):
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    (tmp_path / "token.txt").write_text("a.b.c", encoding="ascii")
    return tmp_path


def test_the_cases_of_the_page_pass(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", str(project / "policy_cases.toml"), "--config", str(project)]) == 0
    assert "4 as expected, 0 not" in capsys.readouterr().out


def test_the_questions_of_the_page_are_answered(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {}
    for line in command_lines(PAGE):
        arguments = shlex.split(line)[1:]
        if arguments[:2] == ["policy", "explain"]:
            arguments = [str(project / word) if word == "token.txt" else word for word in arguments]
            code = main([*arguments, "--config", str(project)])
            answers[line.rpartition("explain ")[2]] = (code, capsys.readouterr())
    codes = [code for code, _ in answers.values()]
    assert codes == [0, 0, 0, 1], "the token is refused, because nobody signed it"
    rules = [shown.out.partition(" by ")[2].partition(":")[0] for code, shown in answers.values() if code == 0]
    assert rules == ["policy.denials[0]", "policy.denials[1]", "policy.grants[1]"]


def test_the_project_of_the_page_has_no_errors(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "models").mkdir()
    assert main(["check", str(project)]) == 0
    assert "there is no model 'credit-score'" in capsys.readouterr().out
