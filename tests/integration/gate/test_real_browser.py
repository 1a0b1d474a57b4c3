"""A real Chromium before the gate: pages of ours, pages of others, and a name that was bound anew to our address."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.rigs.front_ends import free_port, nginx
from tests.rigs.gate_rig import ALICE, GateRig, gate_rig, served

from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.door_parts import DoorNeighbours, front_door_parts
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.settings import GateSettings

pytestmark = pytest.mark.linux("Chromium, and nginx as Debian has it")

WAIT_S = 240.0
PROBES = ("fetch-get", "fetch-post", "fetch-cors", "image", "script", "frame", "form-get", "form-post", "beacon")
PAGE = """<!doctype html><meta charset="utf-8"><title>page</title><body><script>
const target = "TARGET/v2/models/";
const frames = ["form-get", "form-post"].map(name => {
  const frame = document.createElement("iframe"); frame.name = name; document.body.append(frame);
  const form = document.createElement("form");
  form.action = target + name; form.method = name.slice(5); form.target = name; form.enctype = "text/plain";
  document.body.append(form); form.submit();
  return new Promise(done => { frame.onload = frame.onerror = done; });
});
const element = (kind, name) => new Promise(done => {
  const one = document.createElement(kind); one.onload = one.onerror = done; one.src = target + name;
  document.body.append(one);
});
const ask = (name, more) => fetch(target + name, {credentials: "include", ...more}).catch(() => {});
navigator.sendBeacon(target + "beacon", "x");
Promise.all([
  ask("fetch-get", {mode: "no-cors"}), ask("fetch-post", {mode: "no-cors", method: "POST", body: "x"}),
  ask("fetch-cors"),
  element("img", "image"), element("script", "script"), element("iframe", "frame"), ...frames,
]).then(() => { document.body.textContent = "all asked"; });
</script>"""


@dataclass
class Site:
    """A gate behind a proxy that lets everybody in as alice, as a browser's silent Windows user would be."""

    rig: GateRig
    port: int
    other_port: int
    folder: Path

    async def browse(self, url: str) -> str:
        """The text of a page, once it has done all that it does."""
        return await asyncio.to_thread(self._browse, url)

    def _browse(self, url: str) -> str:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("needs chromium: apt-get install chromium")
        line = [
            program, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--no-proxy-server", f"--user-data-dir={self.folder / 'profile'}", "--virtual-time-budget=5000",
            "--host-resolver-rules=MAP rebound.example 127.0.0.1, MAP evil.example 127.0.0.1", "--dump-dom", url,
        ]  # fmt: skip
        if os.geteuid() == 0:
            line.insert(1, "--no-sandbox")
        environment = {**os.environ, "HOME": str(self.folder)}
        done = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, env=environment, check=False
        )
        return done.stdout.decode("utf-8", "replace")

    async def all_answered(self) -> dict[str, set[tuple[str, str]]]:
        """The same, once every probe is there: a beacon may come when the page has gone."""
        while not self.answered().keys() >= set(PROBES):
            self.rig.seen_one.clear()
            await asyncio.wait_for(self.rig.seen_one.wait(), 120)
        return self.answered()

    def answered(self) -> dict[str, set[tuple[str, str]]]:
        """What was asked, by name of the probe: methods and error codes."""
        found: dict[str, set[tuple[str, str]]] = {}
        for event in self.rig.audit.events:
            if event.path.startswith("/v2/models/"):
                found.setdefault(event.path.removeprefix("/v2/models/"), set()).add((event.method, event.code))
        return found


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path) as site:
        yield site


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Site]:
    """One page at our own origin, the same at others: another port of this machine, another name."""
    port, other_port, socket = free_port(), free_port(), folder / "gate.sock"
    pages = folder / "pages"
    pages.mkdir()
    (pages / "page.html").write_text(PAGE.replace("TARGET", f"http://127.0.0.1:{port}"), encoding="utf-8")
    page = f"location = /page.html {{ root {pages}; default_type text/html; }}"
    servers = f"""
    server {{ listen 127.0.0.1:{port}; {page}
      location / {{ proxy_pass http://unix:{socket}; proxy_set_header Host $http_host;
                    proxy_set_header X-Remote-User alice; }} }}
    server {{ listen 127.0.0.1:{other_port}; {page} }}"""
    settings = {"bind": f"unix:{socket}", "front_door": "proxy", "proxy": {"user_header": "X-Remote-User"}}
    rig = gate_rig(GateSettings.model_validate(settings))
    rig.door = FrontDoor(FRONT_DOORS["proxy"], parts=front_door_parts(rig.settings, {}, DoorNeighbours()))
    rig.keys.principals["alice"] = ALICE
    async with served(rig):
        with nginx(folder / "nginx", port, servers):
            yield Site(rig, port, other_port, folder)


async def test_a_person_and_our_own_page_are_served(site: Site) -> None:
    assert "alice" in await site.browse(f"http://127.0.0.1:{site.port}/whoami")
    assert "all asked" in await site.browse(f"http://127.0.0.1:{site.port}/page.html")
    answered = await site.all_answered()
    assert answered.keys() == set(PROBES)
    assert not any(code == "foreign_page" for codes in answered.values() for _, code in codes)


@pytest.mark.identity_case("proxy", "fetch, form, image, script, frame, beacon of a foreign page, real browser", "403")
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"], ids=["another port", "another site"])
async def test_nothing_that_a_foreign_page_asks_is_answered(site: Site, host: str) -> None:
    """The attacker's page is open in the browser of a colleague, whom the proxy knows without a word."""
    assert "all asked" in await site.browse(f"http://{host}:{site.other_port}/page.html")
    answered = await site.all_answered()
    assert answered.keys() == set(PROBES)
    assert {code for codes in answered.values() for _, code in codes} == {"foreign_page"}
    assert {method for codes in answered.values() for method, _ in codes} >= {"GET", "POST"}
    assert site.rig.keys.asked == 0


@pytest.mark.identity_case("front_door", "a foreign name bound anew to us (DNS rebinding), real browser", "400")
async def test_a_page_can_not_reach_us_by_a_name_of_its_own(site: Site) -> None:
    """The attacker binds its own name to our address, so that to the browser its page and we are one origin."""
    assert "Host header" in await site.browse(f"http://rebound.example:{site.port}/whoami")
    assert site.rig.audit.events[-1].status == 400
    assert site.rig.keys.asked == 0
