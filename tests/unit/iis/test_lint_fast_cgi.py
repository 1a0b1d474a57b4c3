"""Each pain of wfastcgi that the two files can show, with its remedy; what is rendered has none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from torchgate.iis import fast_cgi
from torchgate.iis.facts import ServerFacts
from torchgate.iis.fast_cgi import script_processor
from torchgate.iis.host_config import host_config
from torchgate.iis.lint import lint
from torchgate.iis.lint_question import Site
from torchgate.iis.plan import Plan, plan_mistakes
from torchgate.iis.web_config import web_config

FACTS = ServerFacts(front_door="fastcgi", max_timeout_s=300.0, drain_s=6.0)
PLAN = Plan(FACTS, Site("Default Web Site", "/m"), "p", "C:\\My Python\\python.exe", "D:\\p", "D:\\s", command="gate")


def found(tmp_path: Path, web: str, host: str | None) -> list[str]:
    (tmp_path / "web.config").write_text(web, encoding="utf-8")
    if host is not None:
        (tmp_path / "host.config").write_text(host, encoding="utf-8")
    file = None if host is None else tmp_path / "host.config"
    return [str(one) for one in lint(tmp_path / "web.config", file, site=PLAN.site, facts=FACTS)]


def test_what_is_rendered_has_none(tmp_path: Path):
    assert found(tmp_path, web_config(PLAN), host_config(PLAN)) == []
    assert found(tmp_path, web_config(PLAN), None) == []


@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        ('value="torchgate.wsgi.application"', 'value="app.app"', "WSGI_HANDLER is 'app.app'"),
        ('key="TORCHGATE_PROJECT"', 'key="PROJECT"', "TORCHGATE_PROJECT says where"),
        ("wfastcgi.py", "other.py", "no handler calls wfastcgi"),
        ('scriptProcessor="&quot;C:\\My Python', 'scriptProcessor="&quot;C:\\Other', "no FastCGI application is"),
    ],
)
def test_a_web_config_that_does_not_call_us_is_found(tmp_path: Path, was: str, becomes: str, sentence: str):
    text = web_config(PLAN)
    assert was in text, text
    assert any(sentence in one for one in found(tmp_path, text.replace(was, becomes), host_config(PLAN)))


@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        ('activityTimeout="330"', 'activityTimeout="300"', "activityTimeout is 300 s, and a request may take 300 s"),
        (' activityTimeout="330"', "", "activityTimeout is 70 s"),
        (' requestTimeout="330"', "", "requestTimeout is 90 s"),
        (' instanceMaxRequests="1000000"', "", "instanceMaxRequests is 200"),
        (' signalBeforeTerminateSeconds="10"', "", "signalBeforeTerminateSeconds is 0"),
        (' stderrMode="ReturnGeneric500"', "", "stderrMode is ReturnStdErrIn500"),
    ],
)
def test_limits_of_iis_that_end_a_process_too_early_are_found(tmp_path: Path, was: str, becomes: str, sentence: str):
    text = host_config(PLAN)
    assert was in text, text
    assert any(sentence in one for one in found(tmp_path, web_config(PLAN), text.replace(was, becomes)))


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("C:\\Python\\python.exe", "C:\\Python\\python.exe|C:\\Python\\Lib\\site-packages\\wfastcgi.py"),
        ("C:\\venv\\Scripts\\python.exe", "C:\\venv\\Scripts\\python.exe|C:\\venv\\Lib\\site-packages\\wfastcgi.py"),
        (
            "C:\\My venv\\scripts\\python.exe",
            '"C:\\My venv\\scripts\\python.exe"|"C:\\My venv\\Lib\\site-packages\\wfastcgi.py"',
        ),
    ],
)
def test_the_process_is_written_as_wfastcgi_enable_writes_it(python: str, expected: str):
    assert script_processor(python) == expected


def test_a_plan_that_would_load_the_models_once_a_process_is_refused():
    mistaken = Plan(FACTS, PLAN.site, "p", "C:\\it's\\python.exe", "D:\\p", "D:\\s", command="serve")
    assert [sentence for sentence in plan_mistakes(mistaken) if "--gate" in sentence or "a '" in sentence] == list(
        plan_mistakes(mistaken)
    )
    assert len(list(plan_mistakes(mistaken))) == 2


def test_an_application_of_ones_own_is_called_from_its_project_and_the_linter_asks_who_guards_it(tmp_path: Path):
    own = msgspec.structs.replace(PLAN, wsgi_handler="app.app")
    settings = {one.get("key"): one.get("value") for one in fast_cgi.settings(own).named("add")}
    assert (settings["WSGI_HANDLER"], settings["PYTHONPATH"]) == ("app.app", "D:\\p")
    assert "PYTHONPATH" not in web_config(PLAN), "Torchgate itself is installed"
    (finding,) = found(tmp_path, web_config(own), host_config(own))
    assert "WSGI_HANDLER is 'app.app'" in finding
    assert "torchgate.Gate" in finding
