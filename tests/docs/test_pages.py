"""Pages lead where they say, name what exists, and show settings that the server takes."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from tests.docs.markdown import REPOSITORY, blocks, command_lines, links, pages

from torchgate import cli
from torchgate.access.policy.cases import CasesSettings
from torchgate.config import TorchgateSettings
from torchgate.contract.settings_file import read_settings
from torchgate.engine.model_settings import ModelSettings
from torchgate.examination import examine

PATH = re.compile(r"`((?:[a-z_]+/)+[A-Za-z0-9_.-]*|[a-z_]+\.py)`")
NO_FILE = re.compile(r"can't be read: No such file|is not there")


def _name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_link_leads_to_a_file(page: Path):
    """Those to the outside are few and not followed."""
    broken = [
        target
        for target in links(page)
        if not target.startswith(("https://", "#")) and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_python_blocks_are_python(page: Path):
    """They parse; what can run is run by other tests."""
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_settings_blocks_are_accepted(page: Path, tmp_path: Path):
    """What a page says of torchgate.toml or model.toml, the server reads without a mistake."""
    for block in blocks(page):
        if block.language == "toml":
            file = tmp_path / "block.toml"
            file.write_text(block.text, encoding="utf-8")
            shapes = {"model.toml": ModelSettings, "policy_cases.toml": CasesSettings}
            shape = shapes.get(block.title.rpartition("/")[2], TorchgateSettings)
            assert read_settings(file, shape)[1] == []


@pytest.mark.linux("names of a domain that no machine here knows, and unix sockets")
@pytest.mark.parametrize("page", pages(), ids=_name)
def test_a_whole_settings_file_passes_check(page: Path, tmp_path: Path):
    """A block that is called torchgate.toml is one: whoever copies it misses nothing but the files that it names."""
    for number, block in enumerate(block for block in blocks(page) if block.title.endswith("torchgate.toml")):
        folder = tmp_path / str(number)
        (folder / "models").mkdir(parents=True)
        (folder / "torchgate.toml").write_text(block.text, encoding="utf-8")
        errors = [finding for finding in examine(folder, {}).findings if finding.severity == "error"]
        assert [str(error) for error in errors if not NO_FILE.search(error.sentence)] == []


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_commands_are_understood(page: Path):
    """Each `torchgate …` of a page parses; each `python …` names a file or module that is there."""
    for line in command_lines(page):
        program, *arguments = shlex.split(line)
        if program == "torchgate":
            parsed, rest = cli._parser().parse_known_args(arguments)
            assert cli._take(parsed, rest), line
        elif program == "python" and arguments[0] != "-m":
            assert (REPOSITORY / arguments[0]).is_file(), line


def test_the_tour_names_files_that_exist():
    """A row that leads nowhere is worse than none."""
    tour = (REPOSITORY / "docs" / "explanation" / "tour.md").read_text(encoding="utf-8")
    paths = set(PATH.findall(tour))
    assert len(paths) > 20
    package = REPOSITORY / "src" / "torchgate"
    assert [path for path in sorted(paths) if not (REPOSITORY / path).exists() and not (package / path).exists()] == []


def test_the_way_in_the_tour_goes_through_files_and_rooms_that_exist():
    """The picture has neither ticks nor endings."""
    tour = (REPOSITORY / "docs" / "explanation" / "tour.md").read_text(encoding="utf-8")
    steps = set(re.findall(r"\b[a-z_]+/[a-z_]+\b", tour.split("```")[1]))
    package = REPOSITORY / "src" / "torchgate"
    assert {"gate/request_way", "gate/inference_way"} <= steps
    assert [
        step for step in sorted(steps) if not ((package / step).is_dir() or (package / f"{step}.py").is_file())
    ] == []


def test_every_decision_is_listed():
    """In the table at the head of its folder."""
    folder = REPOSITORY / "docs" / "decisions"
    listed = set(links(folder / "README.md"))
    assert {path.name for path in folder.glob("0*.md")} == listed


def test_the_readme_fits_a_screen():
    """Forty lines say what it is, how to start it, and where to go on."""
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 40
