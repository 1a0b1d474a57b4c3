"""Findings about the module that starts us: which one, how, and with which time limits. Source: iis.md 1, 2, 9."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.attribute_check import seconds_of
from torchgate.iis.facts import MODULE_SECTIONS, MODULES
from torchgate.iis.lint_question import Question
from torchgate.iis.located import sections
from torchgate.iis.xml_document import Element

_DEFAULT_REQUEST_TIMEOUT = "00:02:00"
_PER_USER = re.compile(
    r"[\\/]users[\\/](?!public[\\/])|[\\/]windowsapps[\\/]|%(userprofile|localappdata|appdata)%", re.IGNORECASE
)
_SETTINGS = frozenset(
    {
        "shutdowndelay",
        "disallowrotationonconfigchange",
        "debugfile",
        "debuglevel",
        "handlerversion",
        "enableoutofprocessconsoleredirection",
        "forwardresponseconnectionheader",
        "enableshadowcopy",
        "shadowcopydirectory",
        "cleanshadowcopydirectory",
        "callstartuphook",
        "stacksize",
        "setcurrentdirectory",
    }
)
_OLD_STARTUP_S = 30


def module_findings(question: Question) -> Iterator[Finding]:
    """What is found in the module's own section and in handlers."""
    names = dict.fromkeys(MODULE_SECTIONS.values())
    found = {name: list(sections(question.web, f"system.webServer/{name}")) for name in names}
    if all(found.values()):
        yield question.here(
            found["httpPlatform"][0].element,
            "error",
            "both <aspNetCore> and <httpPlatform> are there, and one process can have one of them alone.",
            "Remove the one whose module is not installed; <aspNetCore> is the safer one.",
        )
    wanted = MODULE_SECTIONS.get(question.facts.front_door)
    if wanted is not None and not found[wanted]:
        yield question.here(
            None,
            "error",
            f"gate.front_door is {question.facts.front_door!r}, and there is no <{wanted}>.",
            "Let `torchgate iis render` write the file, or correct gate.front_door.",
        )
    for name, places in found.items():
        for place in places:
            yield from _process(question, name, place.element)
            yield from _leftovers(question, place.element)
            yield from _timeouts(question, place.element)
            yield from _output(question, place.element)
    yield from _handlers(question, {name for name, places in found.items() if places})


def _process(question: Question, name: str, module: Element) -> Iterator[Finding]:
    if not module.get("processPath"):
        yield question.here(module, "error", f"<{name}> has no processPath.", "Name the python.exe of the environment.")
    elif _PER_USER.search(module.get("processPath")):
        yield question.here(
            module,
            "error",
            "processPath is in one user's profile or the Store's apps; the pool's identity can't run it.",
            "Install Python for all users, and make the virtual environment outside of C:\\Users.",
        )
    if name == "aspNetCore":
        if module.get("hostingModel", "outofprocess").lower() != "outofprocess":
            yield question.here(
                module,
                "error",
                "hostingModel is not outofprocess: that is for .NET alone.",
                'Set hostingModel="outofprocess".',
            )
        if "%ASPNETCORE_PORT%" in module.get("arguments").upper():
            yield question.here(
                module,
                "error",
                "arguments has %ASPNETCORE_PORT%, which this module does not replace.",
                "Leave it out: the front door `ancm` reads the environment.",
            )


def _leftovers(question: Question, module: Element) -> Iterator[Finding]:
    if "startupRetryCount" in module.attributes:
        yield question.here(
            module,
            "error",
            "startupRetryCount exists in HttpPlatformHandler 1.2 alone; version 2 answers 500.19 to it.",
            "Take it out, unless the server has 1.2 and stays with it.",
        )
    if module.first("recycleOnFileChange") is not None:
        yield question.here(
            module.first("recycleOnFileChange"),
            "warning",
            "recycleOnFileChange is read by version 1.2 alone.",
            "Use app_offline.htm to take the application down for a change.",
        )
    settings = module.first("handlerSettings")
    for one in settings.named("handlerSetting") if settings is not None else ():
        if one.get("name").lower() not in _SETTINGS:
            yield question.here(one, "warning", f"no module reads the handlerSetting {one.get('name')!r}.")


def _timeouts(question: Question, module: Element) -> Iterator[Finding]:
    text = module.get("requestTimeout", _DEFAULT_REQUEST_TIMEOUT)
    seconds = seconds_of(text)
    if seconds is None:
        yield question.here(
            module,
            "error",
            "requestTimeout is no time as hh:mm:ss; minutes and seconds end at 59.",
            "Write one hour as 01:00:00.",
        )
    elif seconds <= question.facts.max_timeout_s:
        yield question.here(
            module,
            "error",
            f"requestTimeout is {text}, and a request may take {question.facts.max_timeout_s:g} s "
            "(gate.max_timeout_s): "
            "IIS answers 502.3 before our 504, and the model goes on for nobody.",
            f'Set requestTimeout="{time_text(question.facts.max_timeout_s + 30)}", or lower gate.max_timeout_s.',
        )
    startup = module.get("startupTimeLimit", "10" if question.facts.front_door == "httpplatform-1.2" else "120")
    for name in ("startupTimeLimit", "shutdownTimeLimit"):
        if module.get(name) and not module.get(name).isdecimal():
            yield question.here(module, "error", f"{name} is {module.get(name)!r}, which is no number of seconds.")
    if startup.isdecimal() and int(startup) < _OLD_STARTUP_S:
        yield question.here(
            module,
            "warning",
            f"startupTimeLimit is {startup} s, within which Python must have started and bound its port.",
            'Set startupTimeLimit="120": models load behind the bound port and need no more.',
        )
    shutdown = module.get("shutdownTimeLimit")
    if shutdown.isdecimal() and int(shutdown) < question.facts.drain_s + 2:
        yield question.here(
            module,
            "warning",
            f"shutdownTimeLimit is {shutdown} s; a stopping server needs {question.facts.drain_s + 2:g} s "
            "(gate.drain_s and the end of the audit trail).",
            f'Set shutdownTimeLimit="{int(question.facts.drain_s + 2.999)}" or more.',
        )


def time_text(seconds: float) -> str:
    """Seconds as hh:mm:ss, rounded up to whole minutes: version 1.2 of HttpPlatformHandler takes no others."""
    minutes = int(-(-seconds // 60))
    return f"{minutes // 60:02}:{minutes % 60:02}:00"


def _output(question: Question, module: Element) -> Iterator[Finding]:
    if module.get("stdoutLogEnabled", "false").lower() == "true":
        yield question.here(
            module,
            "warning",
            "stdoutLogEnabled is true: that file is never rotated and grows without end.",
            "Switch it off; the log of Torchgate is the one to keep.",
        )


def _handlers(question: Question, present: set[str]) -> Iterator[Finding]:
    handlers = [
        one for place in sections(question.web, "system.webServer/handlers") for one in place.element.named("add")
    ]
    wanted = {section_name: MODULES[door] for door, section_name in MODULE_SECTIONS.items()}
    for section_name in sorted(present):
        name = wanted[section_name]
        ours = [one for one in handlers if one.get("modules").lower() == name.lower()]
        if not ours:
            yield question.here(
                None,
                "error",
                f"no handler sends requests to {name}, so that <{section_name}> does nothing.",
                f'Add <add name="torchgate" path="*" verb="*" modules="{name}" resourceType="Unspecified"/> '
                "to <handlers>.",
            )
        for one in ours:
            if (
                one.get("path") != "*"
                or one.get("verb") != "*"
                or one.get("resourceType", "Unspecified") != "Unspecified"
            ):
                yield question.here(
                    one,
                    "error",
                    "the handler takes some requests alone; the others get 404 or a file from IIS.",
                    'Set path="*" verb="*" resourceType="Unspecified".',
                )
    for one in handlers:
        if "wfastcgi" in one.get("scriptProcessor").lower() and question.facts.front_door != "fastcgi":
            yield question.here(
                one,
                "warning",
                "this handler is wfastcgi's, which nobody maintains: one request at a time, no stop, no cancel.",
                "`torchgate iis convert` says what it has, and the command for a module that is maintained.",
            )
