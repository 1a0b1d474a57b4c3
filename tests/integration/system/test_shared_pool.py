"""One pool, two gates and a liar on the pipe, as real processes: quotas are the pool's, and each gate is its own."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.pipe_process import Heard
from tests.rigs.processes import workers_of
from tests.rigs.server_process import ServerProcess

from torchgate.composition import local_pipes
from torchgate.contract.decision import ModelRef
from torchgate.contract.local_pipes import PipeAddress
from torchgate.contract.principal import Principal
from torchgate.engine.link.principals import WrittenPrincipals
from torchgate.engine.link.wire import Admit, Hello, Release, encode

MODELS = Path(__file__).parents[2] / "models" / "owner"
AT_ONCE = 10
TOGETHER = 4
QUOTAS = f"""
[[quotas]]
principal = "key:ada"
requests_per_minute = 1
burst_s = {AT_ONCE * 60}

[[quotas]]
principal = "key:bob"
concurrent_requests = {TOGETHER}
"""
"""Ada's comes back in a minute, so that it does not while a test runs."""

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


@dataclass
class Halves:
    """A pool, what it is asked through, and who may ask."""

    pool: subprocess.Popen[bytes]
    gates: tuple[ServerProcess, ServerProcess]
    project: KeyedProject

    def ask(self, gate: ServerProcess, who: str) -> int:
        """The status of one question."""
        placed = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [3]}
        headers = {"X-API-Key": self.project.keys[who], "Content-Type": "application/json"}
        url = f"{gate.url}/v2/models/owner/infer"
        try:
            request = urllib.request.Request(url, json.dumps({"inputs": [placed]}).encode(), headers)
            with urllib.request.urlopen(request, timeout=300) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code

    def workers(self) -> set[int]:
        """Their processes."""
        return {one.pid for one in workers_of(self.pool.pid)}

    def begin(self, gate: ServerProcess, who: str) -> socket.socket:
        """A question whose body does not come."""
        lines = ["POST /v2/models/owner/infer HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 100"]
        lines += [f"X-API-Key: {self.project.keys[who]}"]
        begun = socket.create_connection(("127.0.0.1", gate.port), timeout=300)
        begun.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        return begun

    def wait_for(self, gate: ServerProcess, who: str, status: int) -> None:
        """Return when this is the answer."""
        give_up_at = time.perf_counter() + 240
        while self.ask(gate, who) != status:
            assert time.perf_counter() < give_up_at
            time.sleep(0.02)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Halves]:
    folder = tmp_path_factory.mktemp("shared")
    model = ((MODELS / "model.toml").read_text("utf-8"), (MODELS / "1" / "model.py").read_text("utf-8"))
    project = KeyedProject.write(folder, {"owner": model}, ("ada", "bob", "eve"), QUOTAS)
    line = [sys.executable, "-m", "torchgate", "pool", str(folder)]
    pool = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with (
            ServerProcess.start(folder, command="gate") as one,
            ServerProcess.start(folder, command="gate") as other,
        ):
            one.wait_ready()
            other.wait_ready()
            yield Halves(pool, (one, other), project)
    finally:
        pool.terminate()
        pool.wait(120)


def test_two_gates_admit_together_exactly_what_the_quota_says(halves: Halves):
    with ThreadPoolExecutor(8) as askers:
        asked = [askers.submit(halves.ask, halves.gates[number % 2], "ada") for number in range(3 * AT_ONCE)]
        statuses = [one.result() for one in asked]
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == AT_ONCE


HELLO = encode(Hello(1, 1, "liar"))
EVE = WrittenPrincipals().write(Principal("key:eve", "eve", "api_key", "key"))
LIES = {
    "garbage": b"\x05\x00\x00\x00{{{{{",
    "a frame of 4 GiB": struct.pack("<I", 0xFFFFFFFF),
    "text of another protocol": b"GET / HTTP/1.1\r\n\r\n" * 10,
    "the permit of another gate": HELLO + encode(Release(1)),
    "a number once more": HELLO + 2 * encode(Admit(7, ModelRef("owner", "1"), EVE, 8)),
    "a number that went by": HELLO + encode(Admit(7, ModelRef("owner", "1"), EVE, 8)) + encode(Release(3)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_of_our_own_account_is_cut_off_and_nobody_else_notices(halves: Halves, lie: str):
    """The attacker runs as the gate's account, and speaks to the pool as no gate does."""
    before = halves.workers()
    asyncio.run(_say(halves.project.folder, LIES[lie]))
    assert halves.pool.poll() is None
    assert [halves.ask(gate, "eve") for gate in halves.gates] == [200, 200]
    assert before <= halves.workers()


def test_a_gate_of_another_version_is_told_and_let_go(halves: Halves):
    said = asyncio.run(_say(halves.project.folder, encode(Hello(77, 78, "newer"))))
    assert b"Install the same version for both" in said
    assert halves.ask(halves.gates[0], "eve") == 200


def test_what_a_killed_gate_held_is_given_back(halves: Halves):
    """Last here: it takes a gate."""
    one, other = halves.gates
    begun = [halves.begin(one, "bob") for _ in range(TOGETHER + 1)]
    refused, _, _ = select.select(begun, [], [], 240)  # the one too many: the others have their room
    assert [connection.recv(12) for connection in refused] == [b"HTTP/1.1 429"]
    assert halves.ask(other, "bob") == 429, "what one gate holds counts at the other"
    one.process.kill()
    halves.wait_for(other, "bob", 200)
    with ThreadPoolExecutor(TOGETHER) as askers:
        assert set(askers.map(lambda _: halves.ask(other, "bob"), range(TOGETHER))) == {200}, "all of it"
    for connection in begun:
        connection.close()


async def _say(folder: Path, words: bytes) -> bytes:
    """Be connected as a gate is, and return what the pool says before it ends the connection."""
    heard = Heard()
    pipes = local_pipes()
    channel = await pipes.connect(PipeAddress(folder / ".torchgate", "pool"), heard, owner=pipes.own_account)
    try:
        channel.write(words)
        await heard.wait_closed()
    finally:
        channel.close()
    return bytes(heard.received)
