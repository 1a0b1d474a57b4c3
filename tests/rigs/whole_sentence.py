"""The whole sentence of the product, on Windows binaries: from a user whom IIS knows to a model in a Windows service.

IIS's stand-in starts the gate from the rendered web.config, as the module does: suspended, in a job, without standard
input, its port in the environment. It duplicates each caller's token into it. The gate maps SIDs to roles; the pool, a
service that the service control manager has started, runs the demo's models; the audit names the SID. Then IIS
recycles, with overlap, while callers ask on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.iis_project import render
from tests.rigs.pool_service import pool_service
from tests.rigs.processes import workers_of

if sys.platform == "win32":
    import win32api
    import win32security

    from torchgate.windows.access_list import own_sid

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
SERVICE = "torchgate-whole-sentence"
ADMINISTRATORS = "S-1-5-32-544"
CALLERS = 4
LOAD_AFTER_S = 2.0
"""How long callers ask on when the recycle is over."""

SETTINGS = """
[gate]
front_door = "ancm"

[identity.windows]
enabled = true
paths = ["/"]
allow_own_account = true                 # all processes of Wine are one account's

[roles]
analyst = ["sid:{administrators}"]       # a group of the caller's token

[[policy.grants]]
roles = ["analyst"]
models = ["similarity", "digits"]
actions = ["infer", "read"]

[models]
allow_code = ["similarity", "digits"]
"""
TEXTS = (("A cat sits on the mat.", "A kitten is resting on a rug."), ("A cat sits on the mat.", "The report is due."))


@dataclass
class Recycled:
    """What a recycle did to callers and models.

    Args:
        statuses: of all answers while it went on.
        gates: process ids, the old one's first.
        workers: process ids of the pool's workers, before and after.
        pool_events: how many events of models the pool's audit had, before and after.
        log: of the old gate's module.
    """

    statuses: list[int]
    gates: tuple[int, int]
    workers: tuple[set[int], set[int]]
    pool_events: tuple[int, int]
    log: list[tuple[int, str]]


@dataclass
class Sentence:
    """Everything runs.

    Args:
        project: its folder.
        state: the pool's own.
        service_pid: the service's process.
        iis: stands in for IIS; its users are ANN, who is in Administrators, and GUEST, whose token has that group for
            denials alone.
    """

    project: Path
    state: Path
    service_pid: int
    iis: Iis

    def infer(self, model: str, question: dict[str, Any], user: str | None) -> Answer:
        """One run of a model, for whoever IIS says is asking."""
        body = json.dumps(question).encode()
        return self.iis.ask("POST", f"/v2/models/{model}/infer", {"Content-Type": "application/json"}, body, user=user)

    def digit(self) -> dict[str, Any]:
        """A question about an image that the model has never seen."""
        flat = [grey for line in self.sample["pixels"] for grey in line]
        return {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 8, 8], "data": flat}]}

    def texts(self) -> dict[str, Any]:
        """A question about two pairs of texts, the first of which mean the same."""
        columns = (("first", [first for first, _ in TEXTS]), ("second", [second for _, second in TEXTS]))
        return {
            "inputs": [{"name": name, "datatype": "BYTES", "shape": [2, 1], "data": data} for name, data in columns]
        }

    @property
    def sample(self) -> dict[str, Any]:
        """The image, and what a person says that it shows."""
        sample: dict[str, Any] = json.loads((self.project / "sample-digit.json").read_text(encoding="utf-8"))
        return sample

    def events(self, state: Path | None = None) -> list[dict[str, Any]]:
        """The audit trail: of the gates, or of the pool's state folder."""
        folder = (state or self.project / ".torchgate") / "audit"
        segments = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        return [json.loads(line) for path in segments for line in path.read_text(encoding="utf-8").splitlines()]

    def requests(self) -> list[dict[str, Any]]:
        """Events of requests, in order."""
        return [event for event in self.events() if event.get("class_uid") == 6003]

    def workers(self) -> set[int]:
        """Processes that the service has started."""
        return {one.pid for one in workers_of(self.service_pid)}

    def recycled_under_load(self) -> Recycled:
        """Recycle while callers ask; what they and the models saw of it."""
        is_over = threading.Event()
        before = (self._gate(), self.workers(), len(self.events(self.state)))

        def ask_on() -> list[int]:
            statuses = []
            while not is_over.is_set():
                statuses.append(self.infer("digits", self.digit(), "ANN").status)
            return statuses

        with ThreadPoolExecutor(CALLERS) as threads:
            asking = [threads.submit(ask_on) for _ in range(CALLERS)]
            try:
                old = self.iis.recycle()
                time.sleep(LOAD_AFTER_S)
            finally:
                is_over.set()
            statuses = [status for one in asking for status in one.result()]
        after = (self._gate(), self.workers(), len(self.events(self.state)))
        return Recycled(statuses, *zip(before, after, strict=True), old.log)

    def _gate(self) -> int:
        assert self.iis.worker.process is not None
        return self.iis.worker.process.pid


@contextmanager
def whole_sentence(folder: Path, tell: Callable[[str], None]) -> Iterator[Sentence]:
    """All of it, warm; nothing is left of it at the end.

    Args:
        folder: empty; for the project, and the pool's state.
        tell: is told each step.
    """
    project, state = folder / "a prøject", folder / "state of the pool"
    project.mkdir()
    tell("The demo's models are prepared: a language model, and a network that reads digits")
    subprocess.run([sys.executable, "-X", "utf8", str(DEMO / "prepare.py"), str(project)], check=True, timeout=600)
    (project / "torchgate.toml").write_text(SETTINGS.format(administrators=ADMINISTRATORS), encoding="utf-8")
    tell("The pool is installed as a service, and the service control manager starts it")
    with pool_service(project, SERVICE, state) as service:
        tell(f"   {SERVICE} runs: process {service.pid}")
        tell("web.config is rendered; IIS's stand-in starts the gate from it, and warms it up")
        pages = render(project, "--gate")
        with Iis.started(pages, {"ANN": _token, "GUEST": _guests_token}) as iis:
            tell(f"   {iis.worker.log}")
            yield Sentence(project, state, service.pid, iis)


def callers_sid() -> str:
    """Whom the audit must name: every caller's account is ours."""
    return own_sid()


def _own() -> Any:
    return win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32security.TOKEN_ALL_ACCESS)


def _token() -> object:
    return win32security.DuplicateTokenEx(
        _own(), win32security.SecurityImpersonation, win32security.TOKEN_ALL_ACCESS, win32security.TokenPrimary
    )


def _guests_token() -> object:
    group = win32security.ConvertStringSidToSid(ADMINISTRATORS)
    return win32security.CreateRestrictedToken(_own(), 0, [(group, 0)], [], [])
