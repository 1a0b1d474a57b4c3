"""One contender with one model: started, checked, measured, ended. A failure becomes a row with its reason."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy

import load
from processes import Tree, busy_cpu_s, free_port, started, waits_until
from systems import Looped, Place, Question, Served
from workloads import Cell, ModelFacts, Plan, Workload

START_LIMIT_S = 90.0
QUIET_LIMIT_S, QUIET_STEP_S, QUIET_CORES = 6.0, 0.3, 0.15
"""How long a contender is left alone after its first answer at most; quiet is less than this part of a core.

The limit is for those that never are: LitServe with batch_timeout 0 polls.
"""

SLOW_FACTOR = 2
"""Cells of a slow model last so many times as long: still only some hundred answers."""
CHECKED_ROWS = {"tiny": 16, "mlp": 16, "resnet18": 3, "echo1": 3, "echo4": 2}
"""How many different rows are asked for at the same time and compared with torch, before a workload is timed."""

Contender = Served | Looped
Report = Callable[["Row"], None]


@dataclass(frozen=True)
class Row:
    """One measured cell, or the reason why there is none.

    Args:
        rate: answers per second.
        cpu_us: CPU microseconds of the contender's processes per answer.
        client_cores, other_cores: how busy the client, and the rest of the machine, kept the cores meanwhile.
        start_s: from the start of the process to its first right answer.
        memory_mib: of its processes after the cell.
        reason: why there is no figure; empty where there is one.
    """

    system: str = ""
    cell: str = ""
    repeat: int = 0
    rate: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    failures: int = 0
    cpu_us: float = 0.0
    client_cores: float = 0.0
    other_cores: float = 0.0
    start_s: float = 0.0
    memory_mib: float = 0.0
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        """For the results file."""
        return asdict(self)


class Failed(Exception):
    """A contender could not be measured; the text is the reason."""


@dataclass(frozen=True)
class Truth:
    """Rows of a model's input and torch's own answers to them."""

    rows: numpy.ndarray
    answers: numpy.ndarray


@dataclass(frozen=True)
class Conditions:
    """What holds for every trial of a run."""

    plan: Plan
    client: str
    python: Path
    truths: dict[str, Truth]


def truth_of(facts: ModelFacts) -> Truth:
    """Different rows, and what torch answers to each alone."""
    import torch  # late: the runner can list and explain without it

    from models import build

    torch.set_num_threads(1)
    random = numpy.random.default_rng(7)
    rows = random.standard_normal((CHECKED_ROWS[facts.name], *facts.row)).round(4).astype(numpy.float32)
    with torch.inference_mode():
        answers = numpy.concatenate([build(facts.name)(torch.from_numpy(row[None])).numpy() for row in rows])
    return Truth(rows, answers)


def run_trial(contender: Contender, cells: Sequence[Cell], repeat: int, conditions: Conditions) -> Iterable[Row]:
    """Every cell of one model for one contender, in a fresh process; yields a row for each cell, whatever happens."""
    left = list(cells)
    for cell in cells:
        if reason := contender.declines(cell):
            left.remove(cell)
            yield Row(contender.name, cell.name, repeat, reason=f"not run: {reason}")
    if not left:
        return
    measured = _run_served if hasattr(contender, "question") else _run_looped
    with tempfile.TemporaryDirectory(prefix="torchgate benchmark ", ignore_cleanup_errors=True) as folder:
        try:
            for row in measured(contender, list(left), repeat, Path(folder), conditions):
                left = [cell for cell in left if cell.name != row.cell]
                yield row
        except Exception as error:  # noqa: BLE001  # whatever a contender does wrong, the others are still measured
            reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            for cell in left:
                yield Row(contender.name, cell.name, repeat, reason=reason)


def _run_served(
    contender: Served, cells: list[Cell], repeat: int, folder: Path, conditions: Conditions
) -> Iterable[Row]:
    facts = cells[0].workload.model
    place = Place(conditions.python, folder, free_port())
    launch = contender.launch(facts, place)
    started_at = time.perf_counter()
    with started(launch.argv, launch.environment, folder / "server.log") as tree:
        _await_first_answer(contender, cells[0].workload, place.port, tree, conditions)
        start_s = time.perf_counter() - started_at
        _await_quiet(tree)
        for workload in dict.fromkeys(cell.workload for cell in cells):
            _check(contender, workload, place.port, tree, conditions.truths[facts.name])
            question = contender.question(workload, conditions.truths[facts.name].rows[0])
            # A slow model answers few questions in a cell: the Python client waits for those still under way at
            # its end and counts them and the time they took, which wrk does not.
            client = "python" if facts.is_slow else conditions.client
            run = functools.partial(load.run_load, client, place.port, question, folder=folder)
            run(max(cell.connections for cell in cells), conditions.plan.warm_up_s)
            for cell in (cell for cell in cells if cell.workload == workload):
                ask(place.port, question)  # answered when the work that the last load left behind is done
                seconds = conditions.plan.seconds * (SLOW_FACTOR if facts.is_slow else 1)
                row = _measure(tree, functools.partial(run, cell.connections, seconds))
                yield replace(row, system=contender.name, cell=cell.name, repeat=repeat, start_s=start_s)


def _measure(tree: Tree, run: Callable[[], load.Load]) -> Row:
    server_before_s, all_before_s, at = tree.cpu_s(), busy_cpu_s(), time.perf_counter()
    seen = run()
    took_s = time.perf_counter() - at
    server_s = tree.cpu_s() - server_before_s
    others_s = busy_cpu_s() - all_before_s - server_s - seen.client_cpu_s
    if not seen.answers:
        raise Failed(f"no right answer under load, {seen.failures} failures; {tree.last_words()}")
    return Row(
        rate=seen.answers / seen.seconds,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        failures=seen.failures,
        cpu_us=server_s / seen.answers * 1e6,
        client_cores=seen.client_cpu_s / took_s,
        other_cores=max(0.0, others_s / took_s),
        memory_mib=tree.memory_mib(),
    )


def _await_first_answer(contender: Served, workload: Workload, port: int, tree: Tree, conditions: Conditions) -> None:
    question = contender.question(workload, conditions.truths[workload.model.name].rows[0])
    seen = "nothing listened"
    for _ in waits_until(START_LIMIT_S):
        if tree.process.poll() is not None:
            raise Failed(f"ended with {tree.process.returncode} at its start: {tree.last_words()}")
        try:
            status, _, body = ask(port, question)
        except OSError as error:
            seen = f"nothing listened ({error})"
            continue
        if status == 200:
            return
        seen = f"{status} {body[:200].decode('utf-8', 'replace')}"
    raise Failed(f"did not answer within {START_LIMIT_S:.0f} s; last: {seen}; {tree.last_words()}")


def _await_quiet(tree: Tree) -> None:
    """Let a contender finish what it still does after its first answer, such as starting a spare worker."""
    before_s = tree.cpu_s()
    for _ in range(round(QUIET_LIMIT_S / QUIET_STEP_S)):
        time.sleep(QUIET_STEP_S)
        now_s = tree.cpu_s()
        if now_s - before_s < QUIET_CORES * QUIET_STEP_S:
            return
        before_s = now_s


def _check(contender: Served, workload: Workload, port: int, tree: Tree, truth: Truth) -> None:
    """Ask for different rows at the same time; each answer must be torch's answer to that very row."""

    def compare(index: int) -> str:
        status, headers, body = ask(port, contender.question(workload, truth.rows[index]))
        if status != 200:
            return f"answered {status}: {body[:200].decode('utf-8', 'replace')}; {tree.last_words()}"
        seen = contender.answer(workload, headers, body)
        if seen is None:
            return ""
        wanted = truth.answers[index]
        if seen.size != wanted.size or not numpy.allclose(seen.ravel(), wanted.ravel(), rtol=1e-3, atol=1e-4):
            return (
                f"wrong answer to row {index} of {workload.name}: {seen.ravel()[:4]}, torch says {wanted.ravel()[:4]}"
            )
        return ""

    with ThreadPoolExecutor(len(truth.rows)) as pool:
        for mistake in pool.map(compare, range(len(truth.rows))):
            if mistake:
                raise Failed(mistake)


def ask(port: int, question: Question) -> tuple[int, dict[str, str], bytes]:
    """One question on a connection of its own: status, headers (lower case) and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", question.path, question.body, dict(question.headers))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _run_looped(
    contender: Looped, cells: list[Cell], repeat: int, folder: Path, conditions: Conditions
) -> Iterable[Row]:
    launch = contender.launch(cells[0].workload.model, Place(conditions.python, folder, 0))
    known: dict[int, dict[str, float]] = {}
    with started(launch.argv, launch.environment, folder / "loop.log", talks=True) as tree, _time_limit(tree):
        _line(tree)
        for cell in cells:
            for batch in contender.batches(cell):
                if batch not in known:
                    assert tree.process.stdin is not None
                    tree.process.stdin.write(f"{batch} {max(1, conditions.plan.seconds - 1)}\n".encode())
                    tree.process.stdin.flush()
                    known[batch] = _line(tree)
            best = max(
                (known[batch] for batch in contender.batches(cell)),
                key=lambda seen: seen["items"] / seen["seconds"],
            )
            rate = best["items"] / best["seconds"]
            yield Row(contender.name, cell.name, repeat, rate=rate, cpu_us=best["cpu_s"] / best["items"] * 1e6)


def _line(tree: Tree) -> dict[str, float]:
    assert tree.process.stdout is not None
    line = tree.process.stdout.readline()
    if not line:
        raise Failed(f"the loop's process ended: {tree.last_words()}")
    found: dict[str, float] = json.loads(line)
    return found


@contextlib.contextmanager
def _time_limit(tree: Tree) -> Iterable[None]:
    """A silent loop is killed, so that reading from it ends."""
    timer = threading.Timer(START_LIMIT_S + 60, tree.process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
