"""wfastcgi in IIS: which handler calls it, which settings it reads, and the process that IIS starts for it.

Source: iis.md 3, and wfastcgi.py 3.0.0. Handler and process belong together by their text alone: the handler's
scriptProcessor is `fullPath|arguments`, quotes and all.
"""

from __future__ import annotations

from pathlib import PureWindowsPath

from torchgate.iis.plan import HANDLER, SHUTDOWN_SPARE_S, Plan
from torchgate.iis.xml_document import Element
from torchgate.iis.xml_text import element

APPLICATIONS = "system.webServer/fastCgi"
MAX_SIGNAL_S = 60
"""The most that IIS waits between saying that a process ends and ending it. Source: IIS_schema.xml."""

_INSTANCES = 8
"""Each takes one request at a time and holds no model; what they ask for is batched in the pool."""

_REQUESTS = 1_000_000
"""Until IIS ends a process and starts another; its own default, 200, is for programs that leak."""

_IDLE_S = 86_400
_SPARE_S = 30
"""By which IIS waits longer than we do, so that our 504 arrives and not its 500."""


def is_fast_cgi(plan: Plan) -> bool:
    """Whether wfastcgi is the front door."""
    return plan.facts.front_door == "fastcgi"


def full_path(python: str) -> str:
    """How IIS is told of the interpreter; as `wfastcgi-enable` writes it, quoted where it has a space."""
    return _quoted(python)


def arguments(python: str) -> str:
    """Its argument: wfastcgi.py beside that interpreter's other packages."""
    folder = PureWindowsPath(python).parent
    root = folder.parent if folder.name.lower() == "scripts" else folder  # of a virtual environment
    return _quoted(str(root / "Lib" / "site-packages" / "wfastcgi.py"))


def script_processor(python: str) -> str:
    """What a handler says to mean that process."""
    return f"{full_path(python)}|{arguments(python)}"


def settings(plan: Plan) -> Element:
    """What wfastcgi puts into the environment. It watches no files: IIS itself ends it when web.config changes."""
    values = {
        "WSGI_HANDLER": plan.wsgi_handler,
        "TORCHGATE_PROJECT": plan.project,
        "WSGI_RESTART_FILE_REGEX": "",
    }
    if plan.wsgi_handler != HANDLER:
        values["PYTHONPATH"] = plan.project
    return element("appSettings", *(element("add", key=key, value=value) for key, value in values.items()))


def application(plan: Plan) -> Element:
    """The process, for applicationHost.config."""
    facts = plan.facts
    longest_s = int(facts.max_timeout_s) + _SPARE_S
    return element(
        "application",
        fullPath=full_path(plan.python),
        arguments=arguments(plan.python),
        maxInstances=_INSTANCES,
        instanceMaxRequests=_REQUESTS,
        idleTimeout=_IDLE_S,
        activityTimeout=longest_s,
        requestTimeout=longest_s,
        signalBeforeTerminateSeconds=min(MAX_SIGNAL_S, int(facts.drain_s) + SHUTDOWN_SPARE_S),
        stderrMode="ReturnGeneric500",  # else a traceback goes to whoever asked
    )


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
