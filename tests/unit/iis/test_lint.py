"""Each pain of IIS that a file can show is found, at its line and with a remedy; a good file has none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from torchgate.contract.findings import Finding
from torchgate.iis.facts import ServerFacts
from torchgate.iis.lint import lint
from torchgate.iis.lint_question import Site

FACTS = ServerFacts(max_body_bytes=1 << 20, max_timeout_s=60.0)

GOOD = """<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <location path="." inheritInChildApplications="false">
    <system.webServer>
      <handlers>
        <add name="torchgate" path="*" verb="*" modules="AspNetCoreModuleV2" resourceType="Unspecified" />
      </handlers>
      <aspNetCore processPath="C:\\Python\\python.exe" arguments="-m torchgate serve" hostingModel="outofprocess"
                  requestTimeout="00:02:00" startupTimeLimit="120" shutdownTimeLimit="10">
        <environmentVariables>
          <environmentVariable name="PYTHONUTF8" value="1" />
        </environmentVariables>
      </aspNetCore>
      <applicationInitialization doAppInitAfterRestart="true">
        <add initializationPage="/warm-up" />
      </applicationInitialization>
    </system.webServer>
  </location>
</configuration>
"""

GOOD_HOST = """<configuration>
  <configSections>
    <sectionGroup name="system.webServer">
      <section name="handlers" overrideModeDefault="Deny" />
      <sectionGroup name="security">
        <sectionGroup name="authentication">
          <section name="anonymousAuthentication" overrideModeDefault="Deny" />
          <section name="windowsAuthentication" overrideModeDefault="Deny" />
        </sectionGroup>
      </sectionGroup>
    </sectionGroup>
  </configSections>
  <system.applicationHost>
    <applicationPools>
      <add name="models" managedRuntimeVersion="" startMode="AlwaysRunning">
        <processModel idleTimeout="00:00:00" loadUserProfile="true" setProfileEnvironment="true" />
        <recycling disallowOverlappingRotation="true"><periodicRestart time="00:00:00" /></recycling>
      </add>
      <applicationPoolDefaults managedRuntimeVersion="v4.0" />
    </applicationPools>
    <sites>
      <site name="Default Web Site" id="1">
        <application path="/" applicationPool="models" preloadEnabled="true" />
        <logFile>
          <customFields><add logFieldName="r" sourceName="X-Request-ID" sourceType="ResponseHeader" /></customFields>
        </logFile>
      </site>
    </sites>
  </system.applicationHost>
  <system.webServer><globalModules><add name="AspNetCoreModuleV2" image="x" /></globalModules></system.webServer>
  <location path="" overrideMode="Allow"><system.webServer><handlers /></system.webServer></location>
</configuration>
"""


def findings_of(
    folder: Path, web: str, host: str | None = None, facts: ServerFacts = FACTS, site: Site | None = None
) -> tuple[Finding, ...]:
    """What lint says of these texts."""
    web_file, host_file = folder / "web.config", folder / "applicationHost.config"
    web_file.write_text(web, encoding="utf-8")
    if host is None:
        return lint(web_file, facts=facts)
    host_file.write_text(host, encoding="utf-8")
    return lint(web_file, host_file, site=site, facts=facts)


def sentences(findings: tuple[Finding, ...]) -> str:
    """All of them, a line each."""
    return "\n".join(map(str, findings))


def test_a_good_application_on_a_good_server_has_no_findings(tmp_path: Path):
    assert sentences(findings_of(tmp_path, GOOD)) == ""
    assert sentences(findings_of(tmp_path, GOOD, GOOD_HOST)) == ""


WEB_PAINS = {
    "requestTimeout too short": ('requestTimeout="00:02:00"', 'requestTimeout="00:01:00"', "502.3 before our 504"),
    "requestTimeout left out": ('requestTimeout="00:02:00" ', "", ""),
    "requestTimeout no time": (
        'requestTimeout="00:02:00"',
        'requestTimeout="00:60:00"',
        "minutes and seconds end at 59",
    ),
    "startup too short": ('startupTimeLimit="120"', 'startupTimeLimit="10"', "startupTimeLimit is 10 s"),
    "shutdown too short": ('shutdownTimeLimit="10"', 'shutdownTimeLimit="5"', "a stopping server needs 8 s"),
    "in process": ('hostingModel="outofprocess"', 'hostingModel="InProcess"', "that is for .NET alone"),
    "a user's Python": ("C:\\Python\\", "C:\\Users\\ada\\AppData\\Local\\Programs\\Python\\", "in one user's profile"),
    "the Store's Python": ("C:\\Python\\", "C:\\Program Files\\WindowsApps\\Python\\", "the Store's apps"),
    "port in arguments": ("torchgate serve", "torchgate serve %ASPNETCORE_PORT%", "which this module does not replace"),
    "no path": ('processPath="C:\\Python\\python.exe" ', "", "has no processPath"),
    "several processes": ("requestTimeout", 'processesPerApplication="16" requestTimeout', "each process would hold"),
    "retries": ("requestTimeout", 'startupRetryCount="3" requestTimeout', "HttpPlatformHandler 1.2 alone"),
    "endless log": ("requestTimeout", 'stdoutLogEnabled="True" requestTimeout', "grows without end"),
    "two modules": ("<handlers>", '<httpPlatform processPath="x"/><handlers>', "both <aspNetCore> and <httpPlatform>"),
    "another module's handler": ('modules="AspNetCoreModuleV2"', 'modules="httpPlatformHandler"', "no handler sends"),
    "some verbs": ('verb="*"', 'verb="GET,POST"', "takes some requests alone"),
    "some paths": ('path="*" verb', 'path="*.py" verb', "takes some requests alone"),
    "wfastcgi": (
        "</handlers>",
        (
            '<add name="w" path="*" verb="*" modules="FastCgiModule" '
            'scriptProcessor="C:\\p.exe|C:\\wfastcgi.py"/></handlers>'
        ),
        "wfastcgi's, which nobody maintains",
    ),
    "recycle on change": (
        "<environmentVariables>",
        '<recycleOnFileChange><file path="a"/></recycleOnFileChange><environmentVariables>',
        "read by version 1.2 alone",
    ),
    "unknown setting": (
        "<environmentVariables>",
        '<handlerSettings><handlerSetting name="shutdownDelai" value="1"/></handlerSettings><environmentVariables>',
        "no module reads the handlerSetting 'shutdownDelai'",
    ),
    "error pages": ("<handlers>", '<httpErrors existingResponse="Replace"/><handlers>', "pages of IIS"),
    "small bodies": (
        "<handlers>",
        (
            "<security><requestFiltering><requestLimits "
            'maxAllowedContentLength="4096"/></requestFiltering></security><handlers>'
        ),
        "maxAllowedContentLength is 4,096, below gate.max_body_bytes (1,048,576)",
    ),
    "verbs refused": (
        "<handlers>",
        (
            '<security><requestFiltering><verbs allowUnlisted="false"><add verb="GET" allowed="true"/></verbs>'
            "</requestFiltering></security><handlers>"
        ),
        "refuses POST, HEAD",
    ),
    "extensions refused": (
        "<handlers>",
        '<security><requestFiltering><fileExtensions allowUnlisted="false"/></requestFiltering></security><handlers>',
        "404.7",
    ),
    "few at once": ("<handlers>", '<serverRuntime appConcurrentRequestLimit="100"/><handlers>', "is 100, below"),
    "locked": (
        "<handlers>",
        "<security><authentication><anonymousAuthentication enabled='true'/></authentication></security><handlers>",
        "is locked on a fresh IIS",
    ),
    "no warm-up": ('<add initializationPage="/warm-up" />', "", "no Application Initialization"),
    "rewritten user": (
        "<handlers>",
        (
            '<rewrite><rules><rule name="u"><match url=".*"/><serverVariables>'
            '<set name="HTTP_X_USER" value="{LOGON_USER}"/></serverVariables></rule></rules></rewrite><handlers>'
        ),
        "the header is always empty",
    ),
}


@pytest.mark.parametrize("pain", WEB_PAINS)
def test_a_pain_of_a_web_config_is_found(tmp_path: Path, pain: str):
    before, after, sentence = WEB_PAINS[pain]
    assert GOOD.count(before) == 1
    found = findings_of(tmp_path, GOOD.replace(before, after))
    if sentence:
        assert sentence in sentences(found)
        assert all(one.file.endswith("web.config") for one in found)
    else:
        assert found == (), "the module's own value is long enough"


HOST_PAINS = {
    "on demand": (' startMode="AlwaysRunning"', "", "startMode is not AlwaysRunning"),
    "idle": (' idleTimeout="00:00:00"', "", "after 20 quiet minutes"),
    "29 hours": ('<periodicRestart time="00:00:00" />', "", "every 29 h"),
    ".NET": ('managedRuntimeVersion="" ', "", "loads .NET"),
    "web garden": ("<processModel ", '<processModel maxProcesses="4" ', "web garden of 4 processes"),
    "32 bits": ('name="models" ', 'name="models" enable32BitAppOnWin64="true" ', "no PyTorch for 32 bits"),
    "no profile": (' setProfileEnvironment="true"', "", "no profile of its own"),
    "LocalSystem": ("<processModel ", '<processModel identityType="LocalSystem" ', "runs as LocalSystem"),
    "overlap": (' disallowOverlappingRotation="true"', "", "two servers hold the models"),
    "slow end": (
        "<processModel ",
        '<processModel shutdownTimeLimit="00:00:03" ',
        "shutdownTimeLimit of the pool is 3 s",
    ),
    "cpu": ("<recycling", '<cpu limit="50000" action="KillW3wp"/><recycling', "cpu limit (killw3wp)"),
    "memory": (
        '<periodicRestart time="00:00:00"',
        '<periodicRestart privateMemory="1" time="00:00:00"',
        "counts IIS's own",
    ),
    "password": ("<processModel ", '<processModel password="hunter2" ', "stands here unencrypted"),
    "no preload": (' preloadEnabled="true"', "", "preloadEnabled is off"),
    "no pool": (
        'applicationPool="models"',
        'applicationPool="Models2"',
        "its application pool 'Models2' does not exist",
    ),
    "no request id": ('sourceName="X-Request-ID"', 'sourceName="other"', "does not keep X-Request-ID"),
    "site cuts bodies": (
        "<logFile>",
        '<limits connectionTimeout="00:00:20" /><logFile>',
        "connectionTimeout is 20 s, and a body may take 30 s",
    ),
    "every site cuts bodies": (
        "</sites>",
        '<siteDefaults><limits connectionTimeout="00:00:05" /></siteDefaults></sites>',
        "connectionTimeout is 5 s",
    ),
    "http.sys cuts bodies": (
        "</system.applicationHost>",
        '<webLimits connectionTimeout="00:00:25" /></system.applicationHost>',
        "connectionTimeout is 25 s",
    ),
    "http.sys cuts slow readers": (
        "</system.applicationHost>",
        '<webLimits minBytesPerSecond="10000" /></system.applicationHost>',
        "minBytesPerSecond is 10,000",
    ),
    "no module": ('name="AspNetCoreModuleV2"', 'name="Other"', "is not installed on this server"),
    "locked handlers": ('<location path="" overrideMode="Allow">', '<location path="">', "<handlers> is locked"),
}


def test_a_body_that_may_take_longer_than_http_sys_waits_unasked_is_found(tmp_path: Path):
    slow = msgspec.structs.replace(FACTS, body_timeout_s=200.0)
    assert "connectionTimeout is 120 s, and a body may take 200 s" in sentences(
        findings_of(tmp_path, GOOD, GOOD_HOST, slow)
    )


def test_the_times_of_the_site_itself_win_over_those_of_all_sites(tmp_path: Path):
    host = GOOD_HOST.replace("<logFile>", '<limits connectionTimeout="00:01:00" /><logFile>').replace(
        "</sites>", '<siteDefaults><limits connectionTimeout="00:00:05" /></siteDefaults></sites>'
    )
    assert "connectionTimeout" not in sentences(findings_of(tmp_path, GOOD, host))


@pytest.mark.parametrize("pain", HOST_PAINS)
def test_a_pain_of_a_server_is_found(tmp_path: Path, pain: str):
    before, after, sentence = HOST_PAINS[pain]
    assert GOOD_HOST.count(before) == 1
    found = sentences(findings_of(tmp_path, GOOD, GOOD_HOST.replace(before, after)))
    assert sentence in found
    assert "hunter2" not in found


def authentication(location: str, *, anonymous: bool, windows: bool, basic: bool = False) -> str:
    """The authentication of a location, as applicationHost.config has it."""
    kinds = {"anonymous": anonymous, "windows": windows, "basic": basic}
    inner = "".join(f'<{kind}Authentication enabled="{str(on).lower()}"/>' for kind, on in kinds.items())
    return (
        f'<location path="{location}"><system.webServer><security><authentication>{inner}'
        "</authentication></security></system.webServer></location></configuration>"
    )


WINDOWS = ServerFacts(max_body_bytes=1 << 20, max_timeout_s=60.0, takes_windows=True)
SITE = Site("Default Web Site")


def test_anonymous_beside_windows_is_an_error_where_windows_callers_count(tmp_path: Path):
    host = GOOD_HOST.replace("</configuration>", authentication(SITE.name, anonymous=True, windows=True))
    found = findings_of(tmp_path, GOOD, host, WINDOWS, SITE)
    assert [one.severity for one in found if "both on" in one.sentence] == ["error"]
    found = findings_of(tmp_path, GOOD, host, FACTS, SITE)
    assert [one.severity for one in found if "both on" in one.sentence] == ["warning"]


def test_without_anonymous_bearer_tokens_never_arrive_and_the_warm_up_gets_401(tmp_path: Path):
    host = GOOD_HOST.replace("</configuration>", authentication(SITE.name, anonymous=False, windows=True))
    found = sentences(findings_of(tmp_path, GOOD, host, WINDOWS, SITE))
    assert "IIS refuses bearer tokens and API keys" in found
    assert "/warm-up is not open to anonymous callers" in found
    open_again = authentication(f"{SITE.name}/Warm-Up", anonymous=True, windows=False)
    found = sentences(findings_of(tmp_path, GOOD, host.replace("</configuration>", open_again), WINDOWS, SITE))
    assert "not open to anonymous" not in found, "paths are compared without regard to case"


def test_basic_beside_windows_is_said(tmp_path: Path):
    host = GOOD_HOST.replace("</configuration>", authentication(SITE.name, anonymous=False, windows=True, basic=True))
    assert "it forwards the password" in sentences(findings_of(tmp_path, GOOD, host, WINDOWS, SITE))


BLOCKING_RULE = (
    '<rewrite><rules><rule name="b"><match url=".*" /><serverVariables>'
    '<set name="HTTP_X_IIS_WINDOWSAUTHTOKEN" value="" /></serverVariables><action type="None" '
    "/></rule></rules></rewrite>"
)


@pytest.mark.parametrize(
    ("rule", "is_blocked"),
    [
        (BLOCKING_RULE, True),
        ("", False),
        (BLOCKING_RULE.replace('url=".*"', 'url="^api"'), False),
        (BLOCKING_RULE.replace('value=""', 'value="{C:1}"'), False),
        (BLOCKING_RULE.replace('name="b"', 'name="b" enabled="false"'), False),
        (BLOCKING_RULE.replace('value=""', 'value="" replace="false"'), False),
        (BLOCKING_RULE.replace('url=".*"', 'url=".*" negate="true"'), False),
        (
            BLOCKING_RULE.replace(
                "<serverVariables>", '<conditions><add input="{HTTPS}"/></conditions><serverVariables>'
            ),
            False,
        ),
    ],
)
def test_a_client_s_own_token_header_must_be_blocked_on_every_path(tmp_path: Path, rule: str, is_blocked: bool):
    web = GOOD.replace("aspNetCore", "httpPlatform").replace("AspNetCoreModuleV2", "httpPlatformHandler")
    web = web.replace(' hostingModel="outofprocess"', "").replace(' shutdownTimeLimit="10"', "")
    web = web.replace("<handlers>", f"{rule}<handlers>")
    facts = ServerFacts(front_door="httpplatform", takes_windows=True, max_body_bytes=1 << 20, max_timeout_s=60.0)
    found = sentences(findings_of(tmp_path, web, facts=facts))
    assert ("whoever guesses a handle is somebody else" not in found) is is_blocked


SECRETS = [
    ("DB_PASSWORD", "correct horse"),
    ("APIKEY", "0123456789abcdef"),
    ("AZURE_CLIENT_SECRET", "xyz~abc"),
    ("HARMLESS", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
    ("SERVER", "https://ada:lovelace@example.org/"),
    ("CS", "Server=x;Password=lovelace;"),
    ("AWS", "AKIAIOSFODNN7EXAMPLE"),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_a_secret_in_plain_sight_is_found_and_not_repeated(tmp_path: Path, name: str, value: str):
    variable = f'<environmentVariable name="{name}" value="{value}" />'
    web = GOOD.replace('<environmentVariable name="PYTHONUTF8" value="1" />', variable)
    found = sentences(findings_of(tmp_path, web))
    assert f"'{name}' looks like a secret" in found
    assert value not in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PEPPER", "azure-keyvault:vault/pepper"),
        ("TOKEN_FILE", "C:\\keys\\a.txt"),
        ("SECRET", "%FROM_POOL%"),
        ("MAX_TOKEN_BYTES", "4096"),
        ("PYTHONPATH", "C:\\site"),
    ],
)
def test_a_reference_or_a_plain_setting_is_no_secret(tmp_path: Path, name: str, value: str):
    variable = f'<environmentVariable name="{name}" value="{value}" />'
    web = GOOD.replace('<environmentVariable name="PYTHONUTF8" value="1" />', variable)
    assert sentences(findings_of(tmp_path, web)) == ""


def test_a_model_whose_name_iis_hides_is_found(tmp_path: Path):
    facts = ServerFacts(max_body_bytes=1 << 20, max_timeout_s=60.0, models=("bin", "digits"))
    assert "model 'bin' has a name that IIS hides" in sentences(findings_of(tmp_path, GOOD, facts=facts))
    removed = (
        '<security><requestFiltering><hiddenSegments><remove segment="bin"/></hiddenSegments>'
        "</requestFiltering></security>"
    )
    assert sentences(findings_of(tmp_path, GOOD.replace("<handlers>", f"{removed}<handlers>"), facts=facts)) == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is no XML"),
        ("<configuration>", "it is no XML"),
        ("not xml at all", "it is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><configuration>&b;</configuration>', "DOCTYPE"),
        ('<?xml version="1.0" encoding="klingon"?><configuration/>', "unknown encoding: klingon"),
    ],
)
def test_what_is_no_configuration_is_said_with_its_line(tmp_path: Path, text: str, sentence: str):
    (found,) = findings_of(tmp_path, text)
    assert (found.severity, sentence in found.sentence) == ("error", True)


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    (found,) = lint(tmp_path / "web.config")
    assert "can't be read" in found.sentence


def test_among_several_applications_one_must_be_named(tmp_path: Path):
    host = GOOD_HOST.replace(
        '<application path="/" ', '<application path="/other" applicationPool="models" /><application path="/" '
    )
    assert "2 applications (Default Web Site/other, Default Web Site/)" in sentences(findings_of(tmp_path, GOOD, host))
    assert sentences(findings_of(tmp_path, GOOD, host, FACTS, SITE)) == ""
    found = sentences(findings_of(tmp_path, GOOD, host, FACTS, Site("Default Web Site", "/none")))
    assert "no application '/none' in site 'Default Web Site'" in found
