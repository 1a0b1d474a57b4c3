"""What is rendered is what IIS reads, by its own schemas, and what our linter finds nothing wrong with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchgate.iis.config_schema import read_schemas
from torchgate.iis.facts import ServerFacts
from torchgate.iis.host_config import host_config
from torchgate.iis.lint import lint
from torchgate.iis.lint_question import Site
from torchgate.iis.located import below
from torchgate.iis.plan import Plan, plan_mistakes
from torchgate.iis.schema_check import schema_findings
from torchgate.iis.web_config import web_config
from torchgate.iis.xml_document import parse_xml

NAMES = st.text("aZ0 .-_~'#%!()éß漢🙂", min_size=1, max_size=12).filter(lambda name: name == name.strip(" ."))
PATHS = NAMES.map(lambda name: str(PureWindowsPath("C:\\", name, "python.exe")))


@pytest.fixture(scope="module")
def refused() -> Callable[[str], list[str]]:
    """What IIS refuses of a text, by its own schemas; they are Microsoft's and not ours to keep here."""
    folder = os.environ.get("TORCHGATE_IIS_SCHEMAS")
    if not folder:
        pytest.skip("needs IIS schemas: name their folder in TORCHGATE_IIS_SCHEMAS")
    sections = read_schemas(Path(folder))
    return lambda text: [str(one) for one in schema_findings(parse_xml(text.encode()), sections, "rendered")]


FACTS = st.builds(
    ServerFacts,
    front_door=st.sampled_from(["ancm", "httpplatform", "httpplatform-1.2", "fastcgi"]),
    takes_windows=st.booleans(),
    takes_bearer=st.booleans(),
    certificate_paths=st.lists(st.sampled_from(["/", "/win", "/v2/Models", "/mtls"]), max_size=2, unique=True).map(
        tuple
    ),
    windows_paths=st.lists(st.sampled_from(["/win", "/v2/Models", "/über/pfad", "/"]), max_size=2, unique=True).map(
        tuple
    ),
    max_body_bytes=st.integers(1024, 2**31 - 1),
    max_timeout_s=st.floats(0.001, 86_400),
    drain_s=st.floats(0, 600),
    has_own_pool=st.booleans(),
    models=st.lists(st.sampled_from(["digits", "bin", "App_Data"]), unique=True).map(tuple),
)
PLANS = st.builds(
    Plan,
    facts=FACTS,
    site=st.builds(Site, NAMES, st.sampled_from(["/", "/models", "/a b/c"])),
    pool_name=NAMES,
    python=PATHS,
    project=PATHS,
    folder=PATHS,
    command=st.sampled_from(["serve", "gate"]),
    environment=st.dictionaries(st.sampled_from(["HF_HOME", "TORCH_HOME"]), PATHS),
).filter(lambda plan: not list(plan_mistakes(plan)))


@given(plan=PLANS)
def test_iis_reads_every_file_that_is_rendered(refused: Callable[[str], list[str]], plan: Plan):
    for text in (web_config(plan), host_config(plan)):
        assert refused(text) == []


@settings(suppress_health_check=[HealthCheck.too_slow])  # plans are large
@given(plan=PLANS)
def test_the_linter_finds_nothing_wrong_with_what_is_rendered(tmp_path_factory: pytest.TempPathFactory, plan: Plan):
    folder = tmp_path_factory.getbasetemp()
    (folder / "web.config").write_text(web_config(plan), encoding="utf-8")
    (folder / "applicationHost.config").write_text(host_config(plan), encoding="utf-8")
    found = lint(folder / "web.config", folder / "applicationHost.config", site=plan.site, facts=plan.facts)
    # A gate without a pool of its own, or with IIS's usual end: of these the operator decides.
    decided = ("two servers hold the models", "shutdownTimeLimit", "HttpPlatformHandler 1.2 ends its process")
    assert [str(one) for one in found if not any(word in one.sentence for word in decided)] == []


def plan_of(**facts: object) -> Plan:
    """A plan with these facts."""
    return Plan(
        ServerFacts(**facts),  # type: ignore[arg-type]
        Site("Default Web Site", "/models"),
        "models",
        "C:\\Program Files\\Python 3.11\\python.exe",
        "D:\\Modèles & more",
        "D:\\Modèles & more\\iis",
    )


def test_the_command_line_keeps_paths_with_spaces_whole():
    module = next(parse_xml(web_config(plan_of()).encode()).children[0].children[0].named("aspNetCore"))
    assert module.get("processPath") == "C:\\Program Files\\Python 3.11\\python.exe"
    assert module.get("arguments") == '-m torchgate serve "D:\\Modèles & more"'


def test_limits_are_those_of_the_server():
    text = web_config(plan_of(max_body_bytes=123_456, max_timeout_s=3600.0, drain_s=6.0))
    assert 'maxAllowedContentLength="123456"' in text
    assert 'requestTimeout="01:01:00"' in text
    assert 'shutdownTimeLimit="10"' in text


def test_windows_callers_have_paths_of_their_own_where_tokens_pass_too():
    text = host_config(plan_of(takes_windows=True, windows_paths=("/win",)))
    by_path = {one.get("path"): one for one in parse_xml(text.encode()).named("location")}
    enabled = {
        path: [
            kind.tag
            for server in one.children
            for security in server.named("security")
            for authentication in security.named("authentication")
            for kind in authentication.children
            if kind.get("enabled") == "true"
        ]
        for path, one in by_path.items()
    }
    assert enabled == {
        "Default Web Site/models": ["anonymousAuthentication"],
        "Default Web Site/models/win": ["windowsAuthentication"],
        "Default Web Site/models/warm-up": ["anonymousAuthentication"],
    }
    assert 'forwardWindowsAuthToken="true"' in web_config(plan_of(takes_windows=True, windows_paths=("/win",)))


def test_behind_httpplatform_a_client_has_no_token_to_give():
    text = web_config(plan_of(front_door="httpplatform", takes_windows=True, windows_paths=("/win",)))
    assert '<set name="HTTP_X_IIS_WINDOWSAUTHTOKEN" value="" replace="true" />' in text
    assert "hostingModel" not in text
    assert "shutdownTimeLimit" not in text


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"front_door": "direct"}, "gate.front_door is 'direct'"),
        ({"drain_s": 599.0}, "gate.drain_s is 599"),
        ({"takes_windows": True}, "Name such paths in identity.windows.paths"),
        ({"takes_windows": True, "windows_paths": ("/",)}, "IIS would refuse them before we see them"),
        (
            {"front_door": "httpplatform-1.2", "takes_windows": True, "windows_paths": ("/w",)},
            "1.2",
        ),
    ],
)
def test_what_can_t_be_rendered_well_is_not_rendered(facts: dict[str, object], sentence: str):
    assert any(sentence in mistake for mistake in plan_mistakes(plan_of(**facts)))


@pytest.mark.parametrize(
    ("door", "application", "told"),
    [("httpplatform-1.2", "/models", ["/models"]), ("httpplatform-1.2", "/", []), ("httpplatform", "/models", [])],
)
def test_a_module_that_does_not_tell_where_we_are_mounted_is_told_to(door: str, application: str, told: list[str]):
    """Of HttpPlatformHandler 1.2 only the port is documented, and it hands on the whole path."""
    plan = Plan(ServerFacts(front_door=door), Site("s", application), "p", "python.exe", "C:\\a", "C:\\b")
    root = parse_xml(web_config(plan).encode())
    variables = below(root, "location/system.webServer/httpPlatform/environmentVariables/environmentVariable")
    assert [one.get("value") for one in variables if one.get("name") == "HTTP_PLATFORM_APPL_PATH"] == told
