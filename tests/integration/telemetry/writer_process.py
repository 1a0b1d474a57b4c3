"""A process that writes audit events and says on stdout which of them were acknowledged; run by the tests beside it.

    python writer_process.py FOLDER KEY-FILE PRODUCERS [FILE-LIMIT-BYTES]

Prints `ready`, then one line for each acknowledged event, written after its acknowledgement; then it is killed.
With a file limit it stops at the first refusal, prints `refused`, lifts the limit at a line on stdin, and writes on.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.errors import AuditUnavailable
from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.checkpoint import Signer
from torchgate.telemetry.settings import AuditSettings


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def produce(trail: AuditTrail, producer: int) -> None:
    number = 0
    while True:
        uid = f"{producer}-{number}"
        await trail.write((make_refusal if number % 5 == 0 else make_event)(request_id=uid))
        say(uid)
        number += 1
        if number % 20 == 0:
            await asyncio.sleep(0)  # let the other producers in, which bounded writes alone do not


async def fill_up(trail: AuditTrail, lift_limit: object) -> None:
    written = 0
    try:
        while True:
            await trail.write(make_event(request_id=str(written)))
            written += 1
    except AuditUnavailable:
        say(f"refused {written} available {trail.is_available}")
    await asyncio.to_thread(sys.stdin.readline)
    lift_limit()  # type: ignore[operator]
    deadline = time.monotonic() + 120
    while not trail.is_available and time.monotonic() < deadline:  # noqa: ASYNC110 - as the gate sees it: by asking
        await asyncio.sleep(0.02)
    await trail.write(make_event(request_id="again"))
    await trail.close()
    say("closed")


async def main(folder: Path, key: bytes, producers: int, limit_bytes: int) -> None:
    signer = Signer("torchgate-audit/test", Ed25519PrivateKey.from_private_bytes(key))
    settings = AuditSettings(segment_bytes=200_000 if not limit_bytes else 1 << 30, checkpoint_interval_s=0.2)
    trail = AuditTrail(folder, settings, signer=signer, version="9.9")
    await trail.start()
    say("ready")
    if limit_bytes:
        import resource  # Linux only, as the test that asks for it

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
        await fill_up(trail, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before))
        return
    await asyncio.gather(*(produce(trail, producer) for producer in range(producers)))


if __name__ == "__main__":
    asyncio.run(
        main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), int((sys.argv[4:] or ["0"])[0]))
    )
