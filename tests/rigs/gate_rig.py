"""The real gate over a real socket, its neighbours in memory: what a test may change stands as attributes."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy
from tests.fakes.gate_neighbours import FixedKeys, PolicyBySets, RefusalBucket, RememberingAudit
from tests.fakes.in_process_engine import InProcessEngine, Outputs, describe_model, forever
from tests.rigs.http_connection import HttpConnection

from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.clock import monotonic_s
from torchgate.contract.decision import Action
from torchgate.contract.inference import InferenceRequest
from torchgate.contract.principal import Principal
from torchgate.contract.tensors import TensorSpec
from torchgate.gate.asgi import GateApp
from torchgate.gate.certificate_paths import CertificatePaths
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import DoorParts, FrontDoor
from torchgate.gate.http_server import HttpServer
from torchgate.gate.services import GateServices
from torchgate.gate.settings import GateSettings
from torchgate.gate.under_way import RequestsUnderWay

ALICE = Principal("key:alice", "alice", "api_key", "key", roles=frozenset({"analyst"}))
GUEST = Principal("key:guest", "guest", "api_key", "key")
ALICE_KEY = {"X-API-Key": "alice-key"}
GUEST_KEY = {"X-API-Key": "guest-key"}
ONE_ROW = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1.5,-2]}]}'
DOUBLE = "/v2/models/double/infer"


async def double(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """Twice each number."""
    values = numpy.frombuffer(inputs["x"], "<f4") * 2
    return {"y": (request.inputs[0].shape, values.tobytes())}


async def fails(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """Fails as nobody foresaw."""
    raise ZeroDivisionError("a secret of the inside")


async def _one_metric() -> tuple[bytes, str]:
    return b"a_metric 1\n", "text/plain; version=0.0.4"


@dataclass
class GateRig:
    """The neighbours, and a way to ask."""

    settings: GateSettings
    engine: InProcessEngine = field(default_factory=InProcessEngine)
    keys: FixedKeys = field(default_factory=FixedKeys)
    policy: PolicyBySets = field(default_factory=PolicyBySets)
    refusals: RefusalBucket = field(default_factory=RefusalBucket)
    audit: RememberingAudit = field(default_factory=RememberingAudit)
    door: FrontDoor | None = None
    under_way: RequestsUnderWay = field(default_factory=RequestsUnderWay)
    stops: int = 0
    seen: list[RequestEvent] = field(default_factory=list)
    seen_one: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    tls: ssl.SSLContext | None = None
    certificate_paths: tuple[str, ...] = ()

    def services(self) -> GateServices:
        """For a GateApp."""
        parts = DoorParts(certificate_paths=CertificatePaths(self.certificate_paths))
        return GateServices(
            settings=self.settings,
            front_door=self.door or FrontDoor(FRONT_DOORS["direct"], parts=parts),
            engine=self.engine,
            authentication=self.keys,
            authorisation=self.policy,
            refusals=self.refusals,
            audit=self.audit,
            on_request=self._record,
            render_metrics=_one_metric,
            server_version="0.1",
            clock=monotonic_s,
            wall_clock=time.time,
            on_stop=self._stop,
            under_way=self.under_way,
        )

    def connect(self) -> HttpConnection:
        """A connection; the test closes it."""
        return HttpConnection(self.port)

    async def wait_event(self) -> RequestEvent:
        """The next record."""
        await asyncio.wait_for(self.seen_one.wait(), 120)
        return self.seen[-1]

    def _stop(self) -> None:
        self.stops += 1

    def _record(self, event: RequestEvent) -> None:
        self.seen.append(event)
        self.seen_one.set()


def gate_rig(settings: GateSettings | None = None) -> GateRig:
    """Models `double`, `hangs`, `fails` and `broken` (failed to load); alice may all, a guest nothing."""
    rig = GateRig(settings if settings is not None else GateSettings(bind="127.0.0.1:0"))
    specs = (TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),)
    for name, function in (("double", double), ("hangs", forever), ("fails", fails)):
        rig.engine.add(describe_model(name, *specs), function)
    rig.engine.add(describe_model("broken", *specs, state="failed"), double)
    rig.keys.principals = {"alice-key": ALICE, "guest-key": GUEST}
    rig.policy.allowed = {(ALICE.key, action) for action in Action}
    rig.policy.covered = frozenset({"nope"})
    return rig


@asynccontextmanager
async def served(rig: GateRig) -> AsyncIterator[GateRig]:
    """The rig, listening."""
    server = HttpServer(GateApp(rig.services()), rig.settings, tls=rig.tls)
    await server.start()
    rig.port = server.port
    try:
        yield rig
    finally:
        await server.stop(5.0)
