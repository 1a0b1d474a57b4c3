"""The web.config of one application: its module, its limits, its warm-up. Source: iis.md 1, 2, 5, 6.1.

Authentication is not here: a fresh IIS locks those sections, and answers 500.19 to a web.config that has them.
"""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.iis.facts import MODULE_SECTIONS, MODULES, TOKEN_VARIABLE, WARM_UP_PATH
from torchgate.iis.fast_cgi import is_fast_cgi, script_processor, settings
from torchgate.iis.lint_module import time_text
from torchgate.iis.plan import SHUTDOWN_SPARE_S, Plan
from torchgate.iis.xml_document import Element
from torchgate.iis.xml_text import element, xml_text

SPARE_S = 30
"""By which the module waits longer than we do, so that our 504 arrives and not its 502.3."""

_STARTUP_S = 120
_COMMENT = """Written by `torchgate iis render` from torchgate.toml; change that, and render again.
Secrets do not belong here: torchgate.toml has references to them."""


def web_config(plan: Plan) -> str:
    """The text of web.config."""
    server = element(
        "system.webServer",
        element("handlers", _handler(plan)),
        *([_module(plan)] if plan.facts.front_door in MODULE_SECTIONS else []),
        element("security", _filtering(plan)),
        # Ours say code and request id; IIS's own pages would take their place.
        element("httpErrors", existingResponse="PassThrough"),
        element("urlCompression", doStaticCompression=False, doDynamicCompression=False),
        element(
            "applicationInitialization",
            element("add", initializationPage=f"/{WARM_UP_PATH}"),
            doAppInitAfterRestart=True,
        ),
    )
    if plan.facts.front_door in {"httpplatform", "httpplatform-1.2"}:
        server.children.append(_rewrite())
    # Applications below this one must not inherit a handler that sends everything here.
    location = element("location", server, path=".", inheritInChildApplications=False)
    root = element("configuration", *([settings(plan)] if is_fast_cgi(plan) else []), location)
    return xml_text(root, _COMMENT)


def _handler(plan: Plan) -> Element:
    return element(
        "add",
        name="torchgate",
        path="*",
        verb="*",
        modules=MODULES[plan.facts.front_door],
        scriptProcessor=script_processor(plan.python) if is_fast_cgi(plan) else None,
        resourceType="Unspecified",
        requireAccess="Script",
        responseBufferLimit=0,
    )


def _module(plan: Plan) -> Element:
    facts = plan.facts
    is_ancm = facts.front_door == "ancm"
    return element(
        MODULE_SECTIONS[facts.front_door],
        element("environmentVariables", *_variables(plan)),
        processPath=plan.python,
        arguments=plan.arguments,
        hostingModel="outofprocess" if is_ancm else None,
        startupTimeLimit=_STARTUP_S,
        shutdownTimeLimit=int(facts.drain_s + SHUTDOWN_SPARE_S) if is_ancm else None,
        requestTimeout=time_text(facts.max_timeout_s + SPARE_S),
        stdoutLogEnabled=False,
        forwardWindowsAuthToken=facts.takes_windows,
    )


def _variables(plan: Plan) -> Iterator[Element]:
    values = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    if plan.facts.front_door == "httpplatform-1.2" and plan.site.application.strip("/"):
        # This module hands on the whole path, and as far as is known tells nobody where it begins.
        values["HTTP_PLATFORM_APPL_PATH"] = plan.site.application
    for name, value in values.items():
        yield element("environmentVariable", name=name, value=value)


def _filtering(plan: Plan) -> Element:
    hidden = [element("remove", segment=name) for name in plan.facts.models if name.lower() in {"bin", "app_data"}]
    limits = element("requestLimits", maxAllowedContentLength=plan.facts.max_body_bytes)
    return element("requestFiltering", limits, *([element("hiddenSegments", *hidden)] if hidden else []))


def _rewrite() -> Element:
    """Empties a client's own token header; the module sets its own after this."""
    rule = element(
        "rule",
        element("match", url=".*"),
        element("serverVariables", element("set", name=TOKEN_VARIABLE, value="", replace=True)),
        element("action", type="None"),
        name="a client has no Windows token to give",
        stopProcessing=False,
    )
    return element("rewrite", element("rules", rule))
