"""What the pieces of one request cost inside Torchgate, each alone: `python benchmarks/pieces.py`, some seconds.

A piece measured alone is cheaper than in its place, where caches are cold and threads compete; the sum is a lower
bound. The whole is what `run.py` measures.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import environment

if TYPE_CHECKING:
    from torchgate.contract.audit_event import RequestEvent

REPEATS = 7
Piece = tuple[str, Callable[[], object]]


def main() -> int:
    if "--inside" not in sys.argv:
        python = environment.prepare()
        return subprocess.run([str(python), __file__, "--inside"], check=False).returncode
    print("| piece | median us | least us |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="torchgate pieces ", ignore_cleanup_errors=True) as folder:
        asyncio.run(_measure_all(Path(folder)))
    return 0


async def _measure_all(folder: Path) -> None:
    for name, piece in _identity_and_policy():
        _show(name, _times_us(piece))
    for name, piece in _quotas():
        _show(name, _times_us(piece))
    for name, piece in _telemetry():
        _show(name, _times_us(piece))
    await _audit(folder)


def _times_us(piece: Callable[[], object], count: int = 5000) -> list[float]:
    times = []
    for _ in range(REPEATS):
        started_at = time.perf_counter()
        for _ in range(count):
            piece()
        times.append((time.perf_counter() - started_at) / count * 1e6)
    return times


async def _awaited_us(piece: Callable[[], Awaitable[object]], count: int = 5000) -> list[float]:
    times = []
    for _ in range(REPEATS):
        started_at = time.perf_counter()
        for _ in range(count):
            await piece()
        times.append((time.perf_counter() - started_at) / count * 1e6)
    return times


def _show(name: str, times_us: list[float]) -> None:
    print(f"| {name} | {median(times_us):.2f} | {min(times_us):.2f} |", flush=True)


def _identity_and_policy() -> Iterator[Piece]:
    from torchgate.access.api_key_settings import ApiKeySettings
    from torchgate.access.build import build_access
    from torchgate.access.identity.api_key import new_api_key
    from torchgate.access.identity.presented import Presented
    from torchgate.access.policy_settings import PolicySettings, RuleSettings
    from torchgate.access.settings import AccessSettings, IdentitySettings
    from torchgate.contract.decision import Action, ModelRef, RequestFacts, Resource

    key = new_api_key("benchmark")
    grant = RuleSettings(roles=("caller",), models=("*",), actions=("infer",))
    authentication, authorisation = build_access(
        AccessSettings(
            IdentitySettings(api_keys=(ApiKeySettings(id=key.id, sha256=key.sha256),)),
            {"caller": (f"key:{key.id}",)},
            PolicySettings(grants=(grant,)),
        )
    )
    presented = Presented(api_key=key.key)
    yield "API key to principal", lambda: authentication.cached(presented)
    principal, resource = authentication.cached(presented), Resource(ModelRef("tiny", "1"))
    assert principal is not None
    yield "decision, remembered", lambda: authorisation.decide(principal, Action.INFER, resource)
    sized = grant.model_copy(update={"max_rows": 1000, "days": ("mon", "tue"), "time_zone": "UTC"})
    everyday = grant.model_copy(update={"hours": ("00:00-24:00",), "time_zone": "UTC"})
    narrowed = build_access(
        AccessSettings(roles={"caller": ("key:benchmark",)}, policy=PolicySettings(grants=(sized, everyday)))
    )[1]
    facts = RequestFacts(rows=1, body_bytes=100)
    yield "decision by the hour, remembered", lambda: narrowed.decide(principal, Action.INFER, resource)
    yield "decision by rows, with facts", lambda: narrowed.decide(principal, Action.INFER, resource, facts)


def _quotas() -> Iterator[Piece]:
    """What a request takes and gives back, from the door to the share of its batch's time."""
    from torchgate.contract.principal import Principal
    from torchgate.engine.quota_settings import QuotaSettings
    from torchgate.engine.quotas import Quotas

    principal = Principal("key:benchmark", "benchmark", "api_key", "key", roles=frozenset({"caller"}))

    def piece(quotas: Quotas) -> Callable[[], object]:
        def one() -> None:
            charge = quotas.enter(principal, "tiny", 130)
            if charge is not None:
                charge.exchange_bytes(128)
                charge.take_rows(1)
                charge.take_compute(1e-9)
                charge.end()

        return one

    plenty = 10**9
    yield "quotas, none", piece(Quotas())
    yield "quotas, one of requests", piece(Quotas([QuotaSettings(role="caller", requests_per_minute=plenty)]))
    every = QuotaSettings(
        role="caller", requests_per_minute=plenty, concurrent_requests=1000, rows_per_minute=plenty,
        request_bytes_per_minute=plenty * 1000, compute_seconds_per_minute=100_000,
    )  # fmt: skip
    yield "quotas, one of every unit", piece(Quotas([every]))
    five = [QuotaSettings(name=str(place), role="caller", requests_per_minute=plenty - place) for place in range(5)]
    yield "quotas, five of requests", piece(Quotas(five))


def _telemetry() -> Iterator[Piece]:
    import logging

    from torchgate.telemetry.log_setup import JsonFormatter
    from torchgate.telemetry.metrics import Metrics
    from torchgate.telemetry.request_log import RequestLog

    new_event, metrics = _new_event(), Metrics(lambda: ())
    event = new_event()
    yield "the record of a request", new_event
    yield "metrics", lambda: metrics.record(event)
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        log = RequestLog(logger)
        yield "request log, one line to a file", lambda: log.record(event)


async def _audit(folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from torchgate.telemetry.audit_trail import AuditTrail
    from torchgate.telemetry.checkpoint import Signer
    from torchgate.telemetry.settings import AuditSettings

    event = _new_event()()
    for level in ("bounded", "strict"):
        settings = AuditSettings(durability_allowed=level)
        signer = Signer("benchmark", Ed25519PrivateKey.generate())
        trail = AuditTrail(folder / level, settings, signer=signer, version="benchmark")
        await trail.start()
        count = 5000 if level == "bounded" else 50
        _show(
            f"audit event, {level}, one after another", await _awaited_us(functools.partial(trail.write, event), count)
        )
        await trail.close()


def _new_event() -> Callable[[], RequestEvent]:
    """Makes the record of a usual request, as the gate does."""
    from torchgate.contract.audit_event import RequestEvent
    from torchgate.contract.decision import Decision, ModelRef
    from torchgate.contract.principal import Principal

    model = ModelRef("tiny", "1")
    principal = Principal("key:benchmark", "benchmark", "api_key", "key", roles=frozenset({"caller"}))
    decision = Decision(True, "policy.grants[0]", "Role caller may infer on every model.", "sha256:0")
    return lambda: RequestEvent(
        "0" * 32, time.time(), 0.001, "POST", "/v2/models/tiny/infer", "127.0.0.1", "direct", 200,
        action="infer", model=model, model_name="tiny", principal=principal, decision=decision, rows=1,
        request_bytes=130, response_bytes=120, queue_s=0.0001, run_s=0.0002, worker="tiny:1/0#1",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
