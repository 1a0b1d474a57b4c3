"""What a plan wants of IIS is made by appcmd, step by step, and taken back: on failure, and when asked."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import msgspec
import pytest
from tests.rigs import appcmd

from torchgate.contract.programs import ProgramAnswer
from torchgate.iis.appcmd_steps import Command
from torchgate.iis.facts import ServerFacts
from torchgate.iis.install import Installer, InstallFailed, Journal, command_line, steps
from torchgate.iis.lint import lint
from torchgate.iis.lint_question import Site
from torchgate.iis.plan import Plan
from torchgate.iis.web_config import web_config
from torchgate.iis.xml_document import Element, read_xml

if sys.platform == "win32":
    from torchgate.windows.programs import WindowsPrograms as Programs
else:
    from torchgate.posix.programs import PosixPrograms as Programs

FRESH = """<configuration>
  <system.applicationHost>
    <applicationPools>
      <add name="DefaultAppPool" />
      <applicationPoolDefaults managedRuntimeVersion="v4.0" />
    </applicationPools>
    <sites>
      <site name="Default Web Site" id="1">
        <application path="/"><virtualDirectory path="/" physicalPath="C:\\inetpub\\wwwroot" /></application>
        <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
</configuration>
"""
PLAN = Plan(
    ServerFacts(front_door="httpplatform", takes_windows=True, windows_paths=("/win",)),
    Site("Default Web Site", "/models"),
    "my models",
    "C:\\Program Files\\Python\\python.exe",
    "D:\\Modèles & more",
    "D:\\Modèles & more\\iis",
    "gate",
    {"HF_HOME": "D:\\caches\\hf"},
)

BY_WFASTCGI = msgspec.structs.replace(PLAN, facts=ServerFacts(front_door="fastcgi", has_own_pool=True))


class Server:
    """A server's configuration, and the stand-in that changes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "applicationHost.config"
        self.file.write_text(FRESH, encoding="utf-8")
        self.journal = Journal(folder / "state" / "iis-install.json")
        if schemas := os.environ.get("TORCHGATE_IIS_SCHEMAS"):
            (folder / "schemas.txt").write_text(schemas, encoding="utf-8")
        self.installer = Installer(lambda: read_xml(self.file), self.run, self.journal)

    def run(self, arguments: Command) -> ProgramAnswer:
        """Run the stand-in, here: a process for each command would take minutes."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = appcmd.main(self.folder, list(arguments))
        return ProgramAnswer(code, output.getvalue())

    def run_as_program(self, arguments: Command) -> ProgramAnswer:
        """Run the stand-in as the program that it is."""
        return Programs().run([sys.executable, str(appcmd.__file__), str(self.folder), *arguments], 60.0)

    def fail(self, text: str) -> None:
        """Let commands that hold this text fail from here on."""
        (self.folder / "fails.txt").write_text(text, encoding="utf-8")

    def recover(self) -> None:
        """Let no command fail any more."""
        (self.folder / "fails.txt").unlink()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A fresh one."""
    folder = tmp_path / "a server"
    folder.mkdir()
    return Server(folder)


def shape(element: Element) -> object:
    """An element without what says nothing: empty elements and locations."""
    children = [shape(child) for child in element.children]
    kept = [child for child in children if child is not None]
    says = kept or (element.attributes and element.tag != "location")
    return (element.tag, sorted(element.attributes.items()), kept) if says else None


BOTH = pytest.mark.parametrize("plan", [PLAN, BY_WFASTCGI], ids=lambda plan: plan.facts.front_door)


@BOTH
def test_after_an_installation_the_linter_has_nothing_to_say_and_a_second_one_nothing_to_do(server: Server, plan: Plan):
    lines = list(server.installer.install(steps(plan)))
    assert all(line.startswith("done: ") for line in lines), lines
    (server.folder / "web.config").write_text(web_config(plan), encoding="utf-8")
    found = lint(server.folder / "web.config", server.file, site=plan.site, facts=plan.facts)
    assert [str(one) for one in found if "two servers" not in one.sentence] == []
    before = server.file.read_text(encoding="utf-8")
    assert all(line.startswith("as it is: ") for line in server.installer.install(steps(plan)))
    assert server.file.read_text(encoding="utf-8") == before
    assert server.installer.missing(steps(plan)) == []


@BOTH
def test_an_uninstallation_leaves_what_was_there_before(server: Server, plan: Plan):
    before = shape(read_xml(server.file))
    list(server.installer.install(steps(plan)))
    assert shape(read_xml(server.file)) != before
    lines = list(server.installer.uninstall())
    assert all(line.startswith("undone: ") for line in lines), lines
    assert shape(read_xml(server.file)) == before
    assert not server.journal.file.exists()
    assert list(server.installer.uninstall()) == ["nothing to undo: the journal is empty"]


@pytest.mark.parametrize(
    "text", ["add apppool", "processModel.idleTimeout", "add app ", "HF_HOME", "customFields", "windowsAuthentication"]
)
def test_a_step_that_fails_takes_back_the_whole_run_and_says_why(server: Server, text: str):
    before = shape(read_xml(server.file))
    server.fail(text)
    with pytest.raises(InstallFailed, match=r"appcmd ended with 5: .*Access is denied.*is as before"):
        list(server.installer.install(steps(PLAN)))
    assert shape(read_xml(server.file)) == before
    assert not server.journal.file.exists()


def test_what_can_t_be_taken_back_is_said_and_kept_for_later(server: Server):
    list(server.installer.install(steps(PLAN)))
    server.fail("delete apppool")
    with pytest.raises(InstallFailed, match="1 changes could not be undone"):
        list(server.installer.uninstall())
    assert [title for title, _ in server.journal.read()] == ["application pool 'my models'"]
    server.recover()
    assert list(server.installer.uninstall()) == ["undone: application pool 'my models'"]


def test_values_of_a_pool_that_was_there_come_back(server: Server):
    plan = Plan(
        PLAN.facts, PLAN.site, "DefaultAppPool", PLAN.python, PLAN.project, PLAN.folder, "gate", {"HF_HOME": "new"}
    )
    pool = (
        '<add name="DefaultAppPool" startMode="OnDemand"><environmentVariables>'
        '<add name="HF_HOME" value="old" /></environmentVariables></add>'
    )
    server.file.write_text(FRESH.replace('<add name="DefaultAppPool" />', pool), encoding="utf-8")
    list(server.installer.install(steps(plan)))
    text = server.file.read_text(encoding="utf-8")
    assert 'value="new"' in text
    assert 'startMode="AlwaysRunning"' in text
    list(server.installer.uninstall())
    text = server.file.read_text(encoding="utf-8")
    assert 'value="old"' in text
    assert 'startMode="OnDemand"' in text
    assert 'idleTimeout="00:20:00"' in text, "what nobody had set is IIS's own value again"


def test_a_program_is_run_with_its_arguments_whole_and_its_words_are_kept(server: Server):
    assert server.run_as_program(("add", "apppool", "/name:a b")).code == 0
    assert 'name="a b"' in server.file.read_text(encoding="utf-8")
    answer = server.run_as_program(("delete", "apppool", "Käse & Brot"))
    assert answer.code != 0
    assert "Cannot find APPPOOL" in answer.output


def test_a_program_that_is_not_there_is_an_error_of_the_system(server: Server):
    with pytest.raises(OSError, match=r".+"):
        Programs().run([str(server.folder / "none.exe")], 5.0)


def test_a_journal_that_is_none_is_said(server: Server):
    server.journal.file.parent.mkdir()
    server.journal.file.write_text("nonsense", encoding="utf-8")
    with pytest.raises(InstallFailed, match="what is there to undo is unknown"):
        list(server.installer.install(steps(PLAN)))


def test_a_command_line_is_what_a_person_types():
    assert command_line("appcmd.exe", ("set", "app", "a b", "/x:y")) == 'appcmd.exe set app "a b" /x:y'
