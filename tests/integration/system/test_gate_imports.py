"""What a gate's process imports: a gate that was killed is to answer again within a second."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

NEVER = (
    "torch",
    "torchgate.engine.scheduler",
    "torchgate.engine.catalog",
    "torchgate.engine.local_workers",
    "torchgate.engine.golden",
    "torchgate.engine.trusted_code",
    "torchgate.engine_composition",
    "torchgate.posix.children",
    "torchgate.windows.children",
    "torchgate.worker",
    "torchgate.console",
    "torchgate.examination",
    "torchgate.tune_commands",
)
NOT_WITHOUT_NEED = ("joserfc", "prometheus_client")
"""Where there is an issuer, or somebody scrapes."""

_PROGRAM = """
import sys, json
import torchgate.cli
torchgate.cli._parser()
import torchgate.gate_app
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def imported() -> frozenset[str]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, timeout=240, check=True)
    return frozenset(json.loads(done.stdout))


@pytest.mark.parametrize("name", NEVER + NOT_WITHOUT_NEED)
def test_a_gate_starts_without(name: str, imported: frozenset[str]):
    assert not {one for one in imported if one == name or one.startswith(f"{name}.")}


def test_what_a_gate_imports_is_seen_here(imported: frozenset[str]):
    """So that the test above can fail."""
    assert {"torchgate.gate_app", "torchgate.engine.link.remote_engine", "torchgate.gate.asgi"} <= imported


LATE = ("asyncio", "msgspec", "numpy", "pydantic", "ssl", "torchgate.gate.declarations", "torchgate.config", "uvicorn")
"""What takes long, and so comes after IIS's port is bound."""


def test_the_port_is_bound_before_anything_that_takes_long():
    """A watch on the sockets: when the first one is bound, only little is imported."""
    program = """
import sys, json, os, socket
def hook(event, arguments):
    if event == "socket.bind":
        print(json.dumps(sorted(sys.modules)), flush=True)
        os._exit(0)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    os.environ["ASPNETCORE_PORT"] = str(free.getsockname()[1])
sys.addaudithook(hook)
import torchgate.cli
torchgate.cli.main([sys.argv[1], "nowhere"])
"""
    for command in ("serve", "gate"):
        line = [sys.executable, "-c", program, command]
        done = subprocess.run(line, capture_output=True, timeout=240, check=True)
        early = frozenset(json.loads(done.stdout))
        assert "torchgate.gate.early_port" in early
        assert not early & set(LATE)
