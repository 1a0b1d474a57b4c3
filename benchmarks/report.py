"""Rows of figures become tables of at most seven columns, and sentences about what was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from trial import Row

OURS = "Torchgate"
APART = "gate + pool"
PEERS = ("FastAPI", "LitServe")
BOUNDS = ("torch alone", "HTTP alone")
UNSTEADY = 0.3
"""A median is marked where its repeats lie further apart than this part of it."""


class Results:
    """All rows of a run, by system and cell; LitServe is the best of its settings in each cell."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[tuple[str, str], list[Row]] = {}
        self.cells: list[str] = []
        for row in rows:
            self._rows.setdefault((row.system, row.cell), []).append(row)
            if row.cell not in self.cells:
                self.cells.append(row.cell)

    def of(self, system: str, cell: str) -> list[Row]:
        """The rows with figures of a system, or of the best setting of that system, in a cell."""
        settings = {name for name, at in self._rows if at == cell and name.startswith(system)}
        return max((self._good(name, cell) for name in settings), key=_rate, default=[])

    def reason(self, system: str, cell: str) -> str:
        """Why there is no figure, or nothing."""
        settings = [several for (name, at), several in self._rows.items() if at == cell and name.startswith(system)]
        return next((row.reason for several in settings for row in several if row.reason), "not run")

    def ratio(self, system: str, cell: str) -> float | None:
        """How many times as many answers we give: the median of the ratios of each repeat, which drift together."""
        ours = {row.repeat: row.rate for row in self.of(OURS, cell)}
        theirs = {row.repeat: row.rate for row in self.of(system, cell)}
        both = [ours[repeat] / theirs[repeat] for repeat in ours.keys() & theirs.keys()]
        return median(both) if both else None

    def mishaps(self) -> list[str]:
        """Contenders that could not be measured, and requests that failed under load, each with its cells."""
        found: dict[str, dict[str, None]] = {}
        for (system, cell), rows in self._rows.items():
            for row in rows:
                if row.reason and not row.reason.startswith("not run"):
                    found.setdefault(f"{system}: {row.reason}", {})[cell] = None
                if row.failures:
                    sentence = f"{system}: {row.failures} requests failed under load, repeat {row.repeat + 1}"
                    found.setdefault(sentence, {})[cell] = None
        return [f"{sentence} ({', '.join(cells)})" for sentence, cells in found.items()]

    def systems(self) -> list[str]:
        """All systems, in the order of their first row."""
        return list(dict.fromkeys(system for system, _ in self._rows))

    def rows_of(self, system: str, model: str) -> list[Row]:
        """All rows with figures of a system and a model."""
        return [
            row for (name, cell), rows in self._rows.items() if name == system and cell.split()[0] == model
            for row in rows if not row.reason
        ]  # fmt: skip

    def _good(self, system: str, cell: str) -> list[Row]:
        return [row for row in self._rows.get((system, cell), []) if not row.reason]


def render(results: Results, heading: str) -> str:
    """The whole report as Markdown."""
    parts = [
        heading,
        (
            "### Answers per second\n\n"
            "Median (least-most) of the repeats; x: how many times as many Torchgate gives; "
            f"~: the repeats lie more than {UNSTEADY:.0%} apart. "
            "Torchgate has identity, policy, quotas and audit on; the others have none."
        ),
        _table((OURS, APART, *PEERS, *BOUNDS), results, _rate_text),
        "### Time of an answer, p50 / p99 in ms\n\nClosed loop: a slower server is asked less often.",
        _table(
            (OURS, APART, *PEERS), results, lambda _, __, rows: f"{_of(rows, 'p50_ms'):.2f} / {_of(rows, 'p99_ms'):.2f}"
        ),
        "### CPU per answer in µs, all processes of the contender",
        _table((OURS, APART, *PEERS, *BOUNDS), results, lambda _, __, rows: f"{_of(rows, 'cpu_us'):,.0f}"),
        "### Start and memory",
        _start_table(results),
        "### Where Torchgate loses",
        "\n".join(f"* {loss}" for loss in losses(results)) or "No row of this run.",
    ]
    if mishaps := results.mishaps():
        parts += ["### What went wrong", "\n".join(f"* {mishap}" for mishap in mishaps)]
    return "\n\n".join(parts) + "\n"


def losses(results: Results) -> list[str]:
    """A sentence for each row in which a peer gave more answers, the worst first."""
    found = []
    for cell in results.cells:
        for peer in PEERS:
            ratio = results.ratio(peer, cell)
            if ratio is not None and ratio < 1:
                found.append((ratio, f"{cell}: {peer} gives {1 / ratio:.2f} times as many answers."))
    return [sentence for _, sentence in sorted(found)]


def _table(systems: Sequence[str], results: Results, text: Callable[[Results, str, list[Row]], str]) -> str:
    present = [system for system in systems if any(results.of(system, cell) for cell in results.cells)]
    lines = [_line(("", *present)), _line(["---"] * (len(present) + 1))]
    for cell in results.cells:
        texts = [
            text(results, system, rows) if (rows := results.of(system, cell)) else _absence(results, system, cell)
            for system in present
        ]
        lines.append(_line((cell, *texts)))
    return "\n".join(lines)


def _rate_text(results: Results, system: str, rows: list[Row]) -> str:
    rates = [row.rate for row in rows]
    middle = median(rates)
    mark = "~" if len(rates) > 1 and (max(rates) - min(rates)) > UNSTEADY * middle else ""
    spread = f" ({_number(min(rates))}-{_number(max(rates))})" if len(rates) > 1 else ""
    ratio = results.ratio(system, rows[0].cell) if system != OURS else None
    setting = rows[0].system.removeprefix(system)
    return f"{mark}{_number(middle)}{spread}{setting}" + (f" · {_ratio(ratio)}x" if ratio is not None else "")


def _start_table(results: Results) -> str:
    systems = [system for system in results.systems() if any(row.start_s for row in results.rows_of(system, "tiny"))]
    lines = [
        _line(("", "start s, tiny", "MiB, tiny", "start s, resnet18", "MiB, resnet18")),
        _line(["---"] * 5),
    ]
    for system in systems:
        texts = []
        for model in ("tiny", "resnet18"):
            rows = results.rows_of(system, model)
            texts += [f"{_of(rows, 'start_s'):.1f}", f"{_of(rows, 'memory_mib'):,.0f}"] if rows else ["-", "-"]
        lines.append(_line((system, *texts)))
    return "\n".join(lines)


def _absence(results: Results, system: str, cell: str) -> str:
    reason = results.reason(system, cell)
    return "-" if reason.startswith("not run") else "failed"


def _rate(rows: list[Row]) -> float:
    return _of(rows, "rate") if rows else 0.0


def _of(rows: list[Row], name: str) -> float:
    return float(median(getattr(row, name) for row in rows))


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"
