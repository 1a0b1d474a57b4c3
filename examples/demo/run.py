"""Torchgate at work: two real models, an allowed caller, two refused ones, and what the audit trail says of them.

    python run.py [--folder DIR] [--port PORT] [--once]

Prepares the project in the folder (first run: some seconds), starts `torchgate serve` in it, asks, and leaves the
server running; with --once it stops it. Started by `python dev.py demo`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

READY_WITHIN_S = 180.0
"""Until both models are ready; two imports of torch, and a first run on a slow disk reads 1 GB for them."""

POLL_S = 0.25
STOPS_WITHIN_S = 15.0
"""Twice what a server may take to finish its requests and close the audit trail."""

ANSWER_WITHIN_S = 30.0

PAIRS = (
    ("A cat sits on the mat.", "A kitten is resting on a rug."),
    ("How do I reset my password?", "I forgot my login and cannot sign in."),
    ("A cat sits on the mat.", "The quarterly report is due on Friday."),
)
SHADES = " .:-=+*#%@"
"""Ten steps from dark to bright, for printing a digit."""


class DemoFailed(Exception):
    """Something did not go as it must; the text says what."""


def main(arguments: list[str]) -> int:
    """The whole demo; 0 only if everything was as it must be."""
    parser = argparse.ArgumentParser(description="Torchgate at work, on two real models.")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo", help="where the project is made")
    parser.add_argument("--port", type=int, default=8080, help="of 127.0.0.1; 0: any free one")
    parser.add_argument("--once", action="store_true", help="stop at the end")
    options = parser.parse_args(arguments)
    folder = options.folder.absolute()
    try:
        heading("1. Two models: prepared once, offline")
        run([sys.executable, HERE / "prepare.py", folder])
        (folder / "torchgate.toml").write_bytes((HERE / "torchgate.toml").read_bytes())
        heading("2. The server starts")
        with serving(folder, free_port(options.port)) as (server, address):
            show(folder, address)
            if not options.once:
                leave_running(server, folder, address)
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


def show(folder: Path, address: str) -> None:
    """Ask as three callers, and read what was written about it."""
    tokens = folder / ".torchgate" / "development"
    analyst = (tokens / "analyst.token").read_text(encoding="utf-8").strip()
    guest = (tokens / "guest.token").read_text(encoding="utf-8").strip()

    heading("3. An analyst asks, and is answered")
    question = similarity_question()
    similarities = output(ask(address, "similarity", question, analyst, expect=200))
    for (first, second), similarity in zip(PAIRS, similarities, strict=True):
        print(f"   {similarity:6.3f}   {first!r} / {second!r}")
    sample = json.loads((folder / "sample-digit.json").read_text(encoding="utf-8"))
    print_digit(sample["pixels"])
    probabilities = output(ask(address, "digits", digit_question(sample["pixels"]), analyst, expect=200))
    answer = max(range(10), key=lambda digit: probabilities[digit])
    print(f"   digits says {answer} ({probabilities[answer]:.1%}); a person wrote a {sample['digit']}")
    if answer != sample["digit"] or not similarities[0] > similarities[2]:
        raise DemoFailed("a model's answer is wrong.")

    heading("4. The same request without a token, and by a guest, who has no role")
    ask(address, "similarity", question, None, expect=401)
    ask(address, "similarity", question, guest, expect=403)

    heading("5. What the audit trail says")
    events = [event for event in audit_lines(folder) if event.get("class_uid") == 6003 and "resources" in event]
    for event in events[-4:]:
        print(f"   {audit_sentence(event)}")
    statuses = [event["status_code"] for event in events[-4:]]
    if statuses != ["200", "200", "401", "403"]:
        raise DemoFailed(f"the audit trail tells of {statuses}.")
    print()
    run([sys.executable, "-m", "torchgate", "audit", "verify", folder])


def leave_running(server: subprocess.Popen[bytes], folder: Path, address: str) -> None:
    """Say what to try, and wait for Ctrl-C."""
    name = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    scripts = Path(sys.executable).parent
    torchgate = f"{scripts.relative_to(ROOT)}{os.sep}torchgate" if scripts.is_relative_to(ROOT) else "torchgate"
    ask_similarity = f'{torchgate} predict similarity --config {name} --as analyst first="Where is my parcel?"'
    heading("The server goes on running; Ctrl-C stops it. In another terminal, try:")
    print(f"""   {torchgate} models status {name} --as analyst
   {ask_similarity} second="My order has not arrived."
   {torchgate} policy explain --config {name} --principal guest infer digits
   {torchgate} audit tail {name}
""")
    print(f"   {address}/v2/health/ready", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        server.wait(STOPS_WITHIN_S)  # the same Ctrl-C told the server, which finishes what runs
        raise
    raise DemoFailed(f"the server ended with exit code {server.returncode}.")


# --- the server -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of this project, ready; stopped at the end, also when somebody ends us."""
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "torchgate", "serve", str(folder), "--set", f"gate.bind=127.0.0.1:{port}"]
    log = folder / "server.log"
    print(f"   torchgate serve {folder}   (its log: {log})")
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # else it would outlive us
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        _job = job_of(server)  # its last handle is ours
        try:
            wait_until_ready(server, address, log)
            yield server, address
        finally:
            stop(server)
            signal.signal(signal.SIGTERM, before)


def job_of(server: subprocess.Popen[bytes]) -> object:
    """On Windows, where nobody is told of its end: what ends the server when we are gone. Elsewhere nothing."""
    if sys.platform != "win32":
        return None
    import win32job  # of Torchgate's own requirements

    job = win32job.CreateJobObject(None, "")
    limits = win32job.QueryInformationJobObject(job, win32job.JobObjectExtendedLimitInformation)
    limits["BasicLimitInformation"]["LimitFlags"] = win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    win32job.SetInformationJobObject(job, win32job.JobObjectExtendedLimitInformation, limits)
    win32job.AssignProcessToJobObject(job, int(server._handle))  # type: ignore[attr-defined]
    return job


def wait_until_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return once every model is ready; print how long it takes.

    Raises:
        DemoFailed: it ended, or did not become ready in time.
    """
    started_at, told_s = time.perf_counter(), 0.0
    while (elapsed_s := time.perf_counter() - started_at) < READY_WITHIN_S:
        if server.poll() is not None:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise DemoFailed(f"the server ended with exit code {server.returncode}:\n{tail}")
        with contextlib.suppress(OSError):
            if fetch(f"{address}/v2/health/ready")[0] == 200:
                print(f"   ready after {elapsed_s:.1f} s: {address}", flush=True)
                return
        if elapsed_s - told_s >= 2.0:
            told_s = elapsed_s
            print(f"   {elapsed_s:.0f} s: workers import torch, load and warm up …", flush=True)
        time.sleep(POLL_S)
    raise DemoFailed(f"the server was not ready after {READY_WITHIN_S:.0f} s; see {log}.")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server; where it does not follow, kill it. Its workers end with it, however it ends."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()


def free_port(wanted: int) -> int:
    """The wanted port, or another one where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            if os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                print(f"   port {port} is taken; another one is used")
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed("no port of 127.0.0.1 is free.")


# --- asking ---------------------------------------------------------------------------------------------------------


def similarity_question() -> dict[str, Any]:
    """All pairs as one request in the Open Inference Protocol: one row each."""
    columns = (("first", [first for first, _ in PAIRS]), ("second", [second for _, second in PAIRS]))
    return {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [len(texts), 1], "data": texts} for name, texts in columns
        ]
    }


def digit_question(pixels: list[list[float]]) -> dict[str, Any]:
    """One image as one row."""
    flat = [grey for line in pixels for grey in line]
    return {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 8, 8], "data": flat}]}


def ask(address: str, model: str, question: dict[str, Any], token: str | None, *, expect: int) -> dict[str, Any]:
    """The answer to an inference request.

    Raises:
        DemoFailed: its status is not the expected one.
    """
    path = f"/v2/models/{model}/infer"
    status, body = fetch(address + path, question, token)
    print(f"   POST {path} → {status}{'' if status == 200 else '  ' + body}", flush=True)
    if status != expect:
        raise DemoFailed(f"{path} answered {status} and not {expect}: {body}")
    answer: dict[str, Any] = json.loads(body)
    return answer


def fetch(url: str, question: dict[str, Any] | None = None, token: str | None = None) -> tuple[int, str]:
    """Status and body of one HTTP request, never through a proxy."""
    request = urllib.request.Request(url, None if question is None else json.dumps(question).encode())
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_WITHIN_S) as response:
            return response.status, response.read().decode("utf-8")
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode("utf-8")


def output(answer: dict[str, Any]) -> list[float]:
    """The data of the only output."""
    data: list[float] = answer["outputs"][0]["data"]
    return data


# --- telling --------------------------------------------------------------------------------------------------------


def audit_lines(folder: Path) -> list[dict[str, Any]]:
    """All events of the trail, in order; each line is one."""
    segments = sorted((folder / ".torchgate" / "audit").glob("audit-*.jsonl"), key=lambda path: path.stat().st_mtime)
    return [json.loads(line) for path in segments for line in path.read_text(encoding="utf-8").splitlines()]


def audit_sentence(event: dict[str, Any]) -> str:
    """One event in a line: who, what, on what, the rule that decided, the status."""
    decided = [f"{one['decision']} by {one['policy']['name']}" for one in event.get("authorizations", ())]
    reason = event["unmapped"].get("credential_reason", "")
    who = event["actor"]["user"]["name"]
    what = f"{event['activity_name']} {event['resources'][0]['name']}"
    return f"{event['status_code']}  {who:<9} {what:<17} {decided[0] if decided else 'not proven: ' + reason}"


def print_digit(pixels: list[list[float]]) -> None:
    """The image, two characters for each pixel."""
    print()
    for line in pixels:
        print("      " + "".join(SHADES[min(9, int(grey / 16 * 9.99))] * 2 for grey in line))
    print()


def heading(title: str) -> None:
    """A title between the steps."""
    print(f"\n{title}\n", flush=True)


def run(command: list[str | Path]) -> None:
    """Run a command with our terminal.

    Raises:
        DemoFailed: it did not succeed.
    """
    sys.stdout.flush()
    code = subprocess.call([str(part) for part in command], env={**os.environ, "PYTHONUTF8": "1"})
    if code:
        raise DemoFailed(f"{' '.join(map(str, command[1:3]))} ended with exit code {code}.")


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
    sys.exit(main(sys.argv[1:]))
