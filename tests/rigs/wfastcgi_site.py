"""A site of IIS with one application behind wfastcgi, as far as a process that IIS starts can see it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.fastcgi_records import FastCgiAnswer

from torchgate.iis.facts import ServerFacts
from torchgate.iis.lint_question import Site
from torchgate.iis.plan import HANDLER, Plan
from torchgate.iis.web_config import web_config

if sys.platform == "win32" or TYPE_CHECKING:
    from tests.rigs.fastcgi_process import FastCgiProcess


def wfastcgi() -> str:
    """Its file, which must not be imported: it is a program."""
    found = importlib.util.find_spec("wfastcgi")
    if found is None or found.origin is None:
        pytest.skip("needs wfastcgi: pip install wfastcgi")
    return found.origin


class WfastcgiSite:
    """A site with one application, `/Models`, and the web.config that `iis render` writes for it.

    Args:
        project: its folder.
        handler: what wfastcgi calls.
    """

    def __init__(self, project: Path, handler: str = HANDLER) -> None:
        self.folder = project / f"the site of {handler}"
        self.folder.mkdir()
        facts = ServerFacts(front_door="fastcgi", has_own_pool=True)
        plan = Plan(
            facts,
            Site("s", "/Models"),
            "p",
            sys.executable,
            str(project),
            str(self.folder),
            command="gate",
            wsgi_handler=handler,
        )
        (self.folder / "web.config").write_text(web_config(plan), encoding="utf-8")
        self.log = project / "wsgi.log"

    @property
    def said(self) -> str:
        """What its processes wrote into their log."""
        return self.log.read_text("utf-8")

    def start(self, **more: str) -> FastCgiProcess:
        """One more process, with more in its environment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TORCHGATE_", "WSGI_"))}
        environment = {**inherited, **more, "WSGI_LOG": str(self.log)}
        return FastCgiProcess([sys.executable, wfastcgi()], environment, self.folder)

    def variables(
        self, path: str, *, user: str = "", body: bytes = b"", method: str = "GET", **headers: str
    ) -> dict[str, str]:
        """As IIS gives them: the path is decoded, and stands in PATH_INFO and SCRIPT_NAME whole."""
        by_iis = {"AUTH_TYPE": "Negotiate", "AUTH_USER": user, "LOGON_USER": user, "REMOTE_USER": user}
        nobody = dict.fromkeys(by_iis, "")
        return {
            **(by_iis if user else nobody),
            "APPL_MD_PATH": "/LM/W3SVC/1/ROOT/Models",
            "APPL_PHYSICAL_PATH": f"{self.folder}\\",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/json" if body else "",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "HTTPS": "on",
            "HTTP_CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": "localhost",
            "INSTANCE_ID": "1",
            "INSTANCE_META_PATH": "/LM/W3SVC/1",
            "LOCAL_ADDR": "127.0.0.1",
            "PATH_INFO": f"/models{path}",
            "PATH_TRANSLATED": f"C:\\inetpub\\wwwroot\\models{path}",
            "QUERY_STRING": "",
            "REMOTE_ADDR": "192.0.2.7",
            "REMOTE_HOST": "192.0.2.7",
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": f"/models{path}",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "443",
            "SERVER_PORT_SECURE": "1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "Microsoft-IIS/10.0",
            "URL": f"/models{path}",
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }

    def get(self, process: FastCgiProcess, path: str, *, user: str = "", **headers: str) -> FastCgiAnswer:
        """A GET below the application."""
        return process.ask(self.variables(path, user=user, **headers))

    def double(self, process: FastCgiProcess, number: int, **headers: str) -> FastCgiAnswer:
        """An inference."""
        placed = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [number]}
        body = json.dumps({"inputs": [placed]}).encode()
        return process.ask(self.variables("/v2/models/owner/infer", method="POST", body=body, **headers), body)
