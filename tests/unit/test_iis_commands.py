"""`torchgate iis`, as a person types it, on any system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rigs import appcmd

from torchgate.cli import main
from torchgate.iis.xml_document import read_xml

PYTHON = "C:\\Program Files\\Python\\python.exe"
SETTINGS = """
[gate]
front_door = "ancm"
max_body_bytes = 4096
hosts = ["models.example.org"]

[identity.windows]
enabled = true
paths = ["/win"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project behind IIS."""
    folder = tmp_path / "a project ü"
    (folder / "models" / "digits").mkdir(parents=True)
    (folder / "models" / "digits" / "model.toml").write_text("", encoding="utf-8")
    (folder / "torchgate.toml").write_text(SETTINGS, encoding="utf-8")
    return folder


def render(project: Path, out: Path, *more: str) -> int:
    """Render for a server whose project is on another drive."""
    where = {"--python": PYTHON, "--project-path": "D:\\torchgate", "--out": str(out), "--application": "/models"}
    usual = [word for name, value in where.items() if name not in more for word in (name, value)]
    return main(["iis", "render", "--config", str(project), *usual, *more])


def test_what_is_rendered_is_written_and_written_again(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert render(project, out) == 0
    assert render(project, out, "--gate") == 0, "its own files it writes again"
    web = (out / "web.config").read_bytes()
    assert b'maxAllowedContentLength="4096"' in web
    assert b"-m torchgate gate &quot;D:\\torchgate&quot;" in web
    assert b"\r\n" in web
    assert "Not seen on Windows" in capsys.readouterr().err
    host = read_xml(out / "applicationHost.part.config")
    assert {one.get("path") for one in host.named("location")} == {
        "Default Web Site/models",
        "Default Web Site/models/win",
        "Default Web Site/models/warm-up",
    }
    assert "D:\\torchgate\\.torchgate\\cache\\torch" in (out / "applicationHost.part.config").read_text(
        encoding="utf-8"
    )


def test_a_file_of_somebody_else_is_never_overwritten(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "web.config").write_text("<configuration/>", encoding="utf-8")
    assert render(project, tmp_path) == 1
    assert "was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "web.config").read_text(encoding="utf-8") == "<configuration/>"
    assert not (tmp_path / "applicationHost.part.config").exists()


def test_a_front_door_that_iis_does_not_start_is_refused(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (project / "torchgate.toml").write_text("", encoding="utf-8")
    assert render(project, tmp_path / "out") == 1
    assert "gate.front_door is 'direct'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_rendered_is_found_good_for_its_project_and_bad_for_another(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    render(project, tmp_path / "out", "--gate")
    capsys.readouterr()
    web, host = tmp_path / "out", tmp_path / "out" / "applicationHost.part.config"
    ask = [
        "iis",
        "lint",
        str(web),
        "--application-host",
        str(host),
        "--config",
        str(project),
        "--site",
        "Default Web Site",
    ]
    ask += ["--application", "/models"]
    assert main(ask) == 0
    assert capsys.readouterr().out.startswith("0 errors")
    more = SETTINGS.replace("4096", "8192")
    (project / "torchgate.toml").write_text(more, encoding="utf-8")
    assert main([*ask, "--json"]) == 1
    (found,) = [one for one in json.loads(capsys.readouterr().out) if one["severity"] == "error"]
    assert "maxAllowedContentLength is 4,096, below gate.max_body_bytes (8,192)" in found["sentence"]


@pytest.mark.parametrize("door", ["ancm", "httpplatform", "fastcgi"])
def test_a_file_whose_project_nobody_names_is_read_by_what_it_says_itself(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str
):
    settings = SETTINGS.replace("4096", str(64 << 20)).replace('front_door = "ancm"', f'front_door = "{door}"')
    (project / "torchgate.toml").write_text(settings, encoding="utf-8")
    assert render(project, tmp_path / "out", "--gate") == 0
    capsys.readouterr()
    main(["iis", "lint", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "gate.front_door is" not in said
    assert "info: no project was named, so that limits are compared with Torchgate's own defaults. Name it" in said


def test_a_path_that_is_none_of_the_server_names_its_option(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    paths = ["--project-path", "shop", "--folder", "iis", "--python", "python.exe"]
    assert main(["iis", "render", "--config", str(project), "--out", str(tmp_path / "out"), *paths]) == 1
    said = capsys.readouterr().err
    for option in ("--project-path", "--folder", "--python"):
        assert option in said


def test_a_folder_without_schemas_is_said(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["iis", "lint", str(tmp_path / "web.config"), "--schemas", str(tmp_path)]) == 1
    assert "has no schema files" in capsys.readouterr().err


def test_wfastcgi_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = tmp_path / "web.config"
    old.write_text("<configuration/>", encoding="utf-8")
    assert main(["iis", "convert", str(old)]) == 1
    assert "nothing to convert" in capsys.readouterr().err
    handler = '<add name="p" path="*" verb="*" scriptProcessor="C:\\python.exe|C:\\wfastcgi.py"/>'
    old.write_text(
        f"<configuration><system.webServer><handlers>{handler}</handlers></system.webServer></configuration>",
        encoding="utf-8",
    )
    assert main(["iis", "convert", str(old)]) == 0
    assert '--python "C:\\python.exe"' in capsys.readouterr().out


def test_a_dry_run_prints_the_commands_and_changes_nothing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    host = tmp_path / "applicationHost.config"
    host.write_text(
        '<configuration><system.applicationHost><sites><site name="Default Web Site" id="1"/></sites>'
        "</system.applicationHost></configuration>",
        encoding="utf-8",
    )
    where = ["--config", str(project), "--application-host", str(host), "--appcmd", "appcmd.exe"]
    plan = ["--project-path", "D:\\torchgate", "--application", "/models", "--python", PYTHON]
    before = host.read_bytes()
    assert main(["iis", "install", "--dry-run", *where, *plan]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "appcmd.exe add apppool /name:torchgate"
    assert 'appcmd.exe set app "Default Web Site/models" /applicationPool:torchgate' in lines
    assert host.read_bytes() == before
    for line in lines:  # and they are the commands that do it
        assert appcmd.main(tmp_path, [one.strip('"') for one in _split(line)][1:]) == 0
    capsys.readouterr()
    assert main(["iis", "install", "--dry-run", *where, *plan]) == 0
    assert capsys.readouterr().out == "", "nothing is left to do"
    assert main(["iis", "uninstall", *where]) == 0
    assert "the journal is empty" in capsys.readouterr().out


def _split(line: str) -> list[str]:
    return [part for place, part in enumerate(line.split('"')) for part in ([part] if place % 2 else part.split())]


def test_without_iis_an_installation_says_which_file_is_missing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    missing = tmp_path / "none.config"
    where = ["--config", str(project), "--application-host", str(missing), "--project-path", "D:\\torchgate"]
    assert main(["iis", "install", *where, "--python", PYTHON]) == 1
    assert "none.config" in capsys.readouterr().err


def test_an_appcmd_that_is_not_there_leaves_nothing_behind(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    host = tmp_path / "applicationHost.config"
    host.write_text("<configuration/>", encoding="utf-8")
    where = ["--config", str(project), "--application-host", str(host), "--appcmd", str(tmp_path / "none.exe")]
    assert main(["iis", "install", *where, "--project-path", "D:\\t", "--python", PYTHON]) == 1
    assert "appcmd can't be run" in capsys.readouterr().err
    assert not (project / ".torchgate" / "iis-install.json").exists()


def test_a_program_of_ones_own_is_what_iis_starts(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert render(project, tmp_path / "out", "--gate", "--script", "D:\\my shop\\app.py") == 0
    text = (tmp_path / "out" / "web.config").read_text(encoding="utf-8")
    assert 'arguments="&quot;D:\\my shop\\app.py&quot;"' in text
    assert render(project, tmp_path / "none", "--script", 'D:\\a"b.py') == 1
    assert "the path of script has a quote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--python", "python.exe"], "the path of python is 'python.exe'"),
        (["--project-path", "shop"], "the path of project is 'shop'"),
        (["--site", ""], "the name of the site is ''"),
        (["--pool-name", "a/b"], "the name of the application pool is 'a/b'"),
        (["--wsgi-handler", "app.app"], "name your program by --script"),
    ],
)
def test_what_iis_would_not_take_is_not_written(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    assert render(project, tmp_path / "out", *arguments) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_place_of_the_file_is_told(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "out" / "web.config").mkdir(parents=True)
    assert render(project, tmp_path / "out") == 1
    assert "can't be written" in capsys.readouterr().err


def test_without_iis_the_next_step_is_said(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nowhere = tmp_path / "applicationHost.config"
    where = ["--python", PYTHON, "--project-path", "D:\\torchgate", "--application-host", str(nowhere)]
    assert main(["iis", "install", "--config", str(project), *where, "--dry-run"]) == 1
    assert "IIS is not installed on this machine" in capsys.readouterr().err
    nowhere.write_text("no xml", encoding="utf-8")
    assert main(["iis", "install", "--config", str(project), *where, "--dry-run"]) == 1
    assert f"{nowhere}: it is no XML" in capsys.readouterr().err
