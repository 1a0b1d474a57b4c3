"""What events of Windows' log mean for a server behind IIS. Source: iis.md 1.10, ops.md 3.3, 3.4.

Events of Windows Process Activation Service: Microsoft Learn, "IIS Application Pool Availability" and "IIS Application
Pool Recycling"; those of graphics: Microsoft Learn, "Timeout detection and recovery".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from torchgate.contract.diagnosis import Diagnosis, Verdict
from torchgate.iis.event_xml import LoggedEvent, read_event

WITHIN_S = 7 * 24 * 3600.0
"""How far back events are looked at: what happened once a week belongs to it."""
_FRESH_S = 24 * 3600.0
"""An older event is no more than amber: it may have been put right since."""
_SHOWN_CHARACTERS = 240


class _Meaning(msgspec.Struct, frozen=True):
    """Of one kind of event."""

    verdict: Verdict
    seen: str
    remedy: str


_LOG = "Read our own log and `torchgate check`; run the command of web.config by hand, as the pool's identity."
_START = _Meaning("red", "IIS's module could not start the server", _LOG)
_MODULE: Mapping[int, _Meaning] = MappingProxyType(
    {
        1000: _START,
        1003: _Meaning("red", "the server ended so often that IIS's module starts it no more (rapid fails)", _LOG),
        1005: _Meaning(
            "amber",
            "the server did not stop in time and was killed",
            "Give shutdownTimeLimit more than gate.drain_s (HttpPlatformHandler v2 has 10 s, always), and look for "
            "requests that never end.",
        ),
        1012: _Meaning(
            "amber", "app_offline.htm took the application down", "Remove the file when the change is done."
        ),
        1020: _START,
        1034: _Meaning("red", "IIS's module can't read its section of web.config", "Run `torchgate iis lint`."),
    }
)
_DISABLED = "Correct why its processes failed (our log, the events before this one), and start the pool again."
_IDENTITY = "Correct the pool's identity and its password, or use ApplicationPoolIdentity."
_WAS: Mapping[int, _Meaning] = MappingProxyType(
    {
        5002: _Meaning("red", "IIS has disabled the application pool after a series of failures (503)", _DISABLED),
        5009: _Meaning("red", "a process of the application pool ended unexpectedly", _DISABLED),
        5010: _Meaning("red", "a process of the application pool did not answer IIS's ping", _DISABLED),
        5011: _Meaning("red", "a process of the application pool broke off its talk with IIS", _DISABLED),
        5013: _Meaning(
            "amber", "a process of the application pool took too long to stop", "Raise shutdownTimeLimit of the pool."
        ),
        5021: _Meaning("red", "the application pool's identity is invalid", _IDENTITY),
        5057: _Meaning("red", "IIS has disabled the application pool because of its identity", _IDENTITY),
        5059: _Meaning("red", "IIS has disabled the application pool because it could not start a process", _DISABLED),
        5074: _Meaning(
            "amber",
            "the application pool was recycled because its time was over (29 hours unless set)",
            'Set <periodicRestart time="00:00:00"/>, or a schedule at a quiet hour.',
        ),
        5186: _Meaning(
            "amber",
            "the application pool was ended because nobody asked anything for a while",
            'Set <processModel idleTimeout="00:00:00"/>: the next caller waits until the models are loaded.',
        ),
    }
)
_RESET = _Meaning(
    "red",
    "the graphics driver was reset, which ends whatever every process computes there",
    "Put the GPU into MCDM or TCC mode, or raise TdrDelay; and look for a model whose batches run for seconds.",
)
_MEMORY = _Meaning(
    "red",
    "Windows ran out of memory that may be committed (torch: WinError 1455)",
    "Make the paging file larger, or lower engine.standbys and the replicas of models.",
)
_CRASH = _Meaning(
    "red",
    "Python crashed",
    "The module says whose fault it is: a driver, torch, or a library of a model. Update it, or isolate the model.",
)
_KNOWN: Mapping[str, Mapping[int, _Meaning]] = MappingProxyType(
    {
        "IIS AspNetCore Module": _MODULE,
        "IIS AspNetCore Module V2": _MODULE,
        "IIS HttpPlatformHandler Module V2": _MODULE,
        "Microsoft-Windows-WAS": _WAS,
        "Application Error": {1000: _CRASH},
        "Display": {4101: _RESET},
        "nvlddmkm": {13: _RESET, 14: _RESET, 153: _RESET},
        "Microsoft-Windows-Resource-Exhaustion-Detector": {2004: _MEMORY},
    }
)
PROVIDERS = tuple(_KNOWN)
"""Sources of events that are looked at."""
_PROGRAMS = frozenset({"python.exe", "pythonw.exe", "pythonservice.exe"})


def event_findings(texts: Iterable[str], wall_clock: Callable[[], float] = time.time) -> Iterator[Diagnosis]:
    """One finding for each kind of event, with how often and when last.

    Args:
        texts: events as XML, newest first.
    """
    kinds: dict[tuple[str, int, str], list[LoggedEvent]] = {}
    unread = 0
    for text in texts:
        try:
            event = read_event(text)
        except ValueError:
            unread += 1
            continue
        meaning = _KNOWN.get(event.provider, {}).get(event.number)
        if meaning is not None and (about := _about(event)) is not None:
            kinds.setdefault((event.provider, event.number, about), []).append(event)
    for (provider, number, about), events in kinds.items():
        yield _finding(_KNOWN[provider][number], about, events, wall_clock())
    if unread:
        remedy = "Look at them in the event viewer."
        yield Diagnosis("amber", f"{unread} events are not written as Windows writes them.", "", remedy)


def _about(event: LoggedEvent) -> str | None:
    """What the event is about, in few words; None: about another program."""
    if event.provider == "Application Error":
        program = event.value("AppName", 0)
        if program.lower() not in _PROGRAMS:
            return None
        return f"{program} in {event.value('ModuleName', 3)}, exception {event.value('ExceptionCode', 6)}"
    if event.provider == "Microsoft-Windows-WAS":
        # 5186 and 5074 name the process first.
        pool = event.value("AppPoolID", 0)
        return f"pool {pool}" if pool and not pool.isdecimal() else ""
    if event.provider in {"Display", "nvlddmkm", "Microsoft-Windows-Resource-Exhaustion-Detector"}:
        return ""
    return " ".join((event.values[0] if event.values else "").split())[:_SHOWN_CHARACTERS]


def _finding(meaning: _Meaning, about: str, events: list[LoggedEvent], now: float) -> Diagnosis:
    newest = max(event.written_at for event in events)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(newest))
    is_fresh = now - newest <= _FRESH_S
    often = "once" if len(events) == 1 else f"{len(events)} times"
    first = events[0]
    return Diagnosis(
        meaning.verdict if is_fresh else "amber",
        f"{meaning.seen}: {often} in 7 days, last at {when}{f' ({about})' if about else ''}.",
        "no such event",
        meaning.remedy,
        f"event log, {first.provider} {first.number}",
    )
