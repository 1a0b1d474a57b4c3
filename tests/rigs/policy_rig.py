"""A gate with real identity and real policy from a project's files, which a test may change; its engine in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from tests.fakes.gate_neighbours import RefusalBucket, RememberingAudit
from tests.fakes.in_process_engine import InProcessEngine, describe_model
from tests.rigs.gate_rig import double
from tests.rigs.http_connection import Answer, HttpConnection

from torchgate.access.build import build_access
from torchgate.access.identity.api_key import new_api_key
from torchgate.config import read_configuration
from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.clock import monotonic_s
from torchgate.contract.tensors import TensorSpec
from torchgate.gate.asgi import GateApp
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.http_server import HttpServer
from torchgate.gate.services import GateServices
from torchgate.gate.settings import GateSettings
from torchgate.policy_reload import PolicyReload

KEYS = {name: new_api_key(name) for name in ("ann", "bob", "root")}
ALL_KEYS = MappingProxyType(dict.fromkeys(KEYS, ""))
ROW = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1.5,-2]}]}'
HEAD = """
[policy]
reload_interval_s = {interval_s}
{policy}

[roles]
root = ["key:root"]
asker = [{askers}]

[[policy.grants]]
roles = ["root"]
models = ["*"]
actions = ["*"]
"""
GRANT = """
[[policy.grants]]
roles = ["asker"]
models = ["double"]
actions = ["infer", "read"]
"""


@dataclass
class PolicyRig:
    """What a test reaches for; keys `ann`, `bob` and `root`, who may everything."""

    folder: Path
    engine: InProcessEngine = field(default_factory=InProcessEngine)
    audit: RememberingAudit = field(default_factory=RememberingAudit)
    refusals: RefusalBucket = field(default_factory=RefusalBucket)
    seen: list[RequestEvent] = field(default_factory=list)
    port: int = 0
    policy: PolicyReload | None = None
    app: GateApp | None = None
    ahead_s: float = 0.0

    def wall_clock(self) -> float:
        """Unix seconds; `ahead_s` later than the system's."""
        return time.time() + self.ahead_s

    def write(
        self,
        rules: str = GRANT,
        *,
        askers: str = '"key:ann", "key:bob"',
        policy: str = "",
        interval_s: float = 0.0,
        keys: Mapping[str, str] = ALL_KEYS,
    ) -> None:
        """Write the settings file anew.

        Args:
            keys: who has one, and what else its table says.
        """
        tables = [f'id = "{name}"\nsha256 = "{KEYS[name].sha256}"\n{more}\n' for name, more in keys.items()]
        text = HEAD.format(askers=askers, policy=policy, interval_s=interval_s) + rules
        text += "".join(f"\n[[identity.api_keys]]\n{table}" for table in tables)
        (self.folder / "torchgate.toml").write_text(text, encoding="utf-8")

    async def ask(self, who: str, method: str, path: str, body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        connection = HttpConnection(self.port)
        try:
            return await connection.request(method, path, {"X-API-Key": KEYS[who].key}, body)
        finally:
            await connection.close()

    async def infer(self, who: str, model: str = "double") -> int:
        """The status of one inference."""
        return (await self.ask(who, "POST", f"/v2/models/{model}/infer", ROW)).status

    async def reload(self) -> Answer:
        """Ask for what the files say now."""
        return await self.ask("root", "POST", "/v2/policy/reload")

    def known(self) -> PolicyReload:
        """The policy of the server that runs."""
        assert self.policy is not None
        return self.policy


@asynccontextmanager
async def policy_rig(
    folder: Path,
    rules: str = GRANT,
    policy: str = "",
    *,
    interval_s: float = 0.0,
    before_start: Callable[[], None] = lambda: None,
) -> AsyncIterator[PolicyRig]:
    """The rig, listening; models `double` (versions 1 and 2) and `other`.

    Args:
        before_start: is called between reading the files and the start.
    """
    rig = PolicyRig(folder)
    rig.write(rules, policy=policy, interval_s=interval_s)
    specs = (TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),)
    for name, version in (("double", "1"), ("double", "2"), ("other", "1")):
        rig.engine.add(describe_model(name, *specs, version=version), double)
    configuration = read_configuration(folder)
    assert configuration.settings is not None, configuration.findings
    build = partial(build_access, wall_clock=rig.wall_clock)
    access = build(configuration.access_settings())
    await access[0].start()
    before_start()
    rig.policy = PolicyReload(configuration, access, build, rig.audit)

    async def render() -> tuple[bytes, str]:
        return b"a_metric 1\n", "text/plain; version=0.0.4"

    app = rig.app = GateApp(
        GateServices(
            settings=GateSettings(bind="127.0.0.1:0"),
            front_door=FrontDoor(FRONT_DOORS["direct"]),
            engine=rig.engine,
            authentication=access[0],
            authorisation=access[1],
            refusals=rig.refusals,
            audit=rig.audit,
            on_request=rig.seen.append,
            render_metrics=render,
            server_version="0.1",
            clock=monotonic_s,
            wall_clock=rig.wall_clock,
            policy=rig.policy,
        )
    )
    server = HttpServer(app, GateSettings(bind="127.0.0.1:0"))
    await server.start()
    rig.port = server.port
    try:
        async with rig.policy.watching(app.change_access):
            yield rig
    finally:
        await server.stop(5.0)
        await rig.policy.stop()
