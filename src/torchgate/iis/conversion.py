"""What an application behind wfastcgi becomes behind a module that is maintained. Source: iis.md 3.4, 9."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from torchgate.iis.located import sections
from torchgate.iis.plan import HANDLER
from torchgate.iis.xml_document import Element

_OWN = re.compile(
    r"WSGI_(HANDLER|LOG|RESTART_FILE_REGEX|PTVSD_\w+)|APPINSIGHTS_INSTRUMENTATIONKEY|PYTHONPATH", re.IGNORECASE
)


class Conversion(msgspec.Struct, frozen=True):
    """What was found in a wfastcgi web.config.

    Args:
        python: the python.exe that it runs.
        handler: its `WSGI_HANDLER`.
        python_path: folders of `PYTHONPATH`.
        environment: names of the other application settings, which wfastcgi puts into the environment.
        notes: what a person has to do.
    """

    python: str
    handler: str
    python_path: tuple[str, ...]
    environment: tuple[str, ...]
    notes: tuple[str, ...]


def read_wfastcgi(root: Element) -> Conversion:
    """The conversion of a web.config.

    Raises:
        ValueError: it has no handler of wfastcgi.
    """
    python = next(_interpreters(root), None)
    if python is None:
        raise ValueError(
            "it has no handler whose scriptProcessor is `python.exe|wfastcgi.py`; there is nothing to convert"
        )
    settings = {
        one.get("key"): one.get("value")
        for settings in root.named("appSettings")
        for one in settings.named("add")
        if one.get("key")
    }
    by_name = {name.upper(): value for name, value in settings.items()}
    others = tuple(name for name in settings if not _OWN.fullmatch(name))
    handler = by_name.get("WSGI_HANDLER", "")
    return Conversion(
        python,
        handler,
        tuple(part for part in by_name.get("PYTHONPATH", "").split(";") if part),
        others,
        tuple(_notes(handler, by_name, others)),
    )


def _interpreters(root: Element) -> Iterator[str]:
    for place in sections(root, "system.webServer/handlers"):
        for handler in place.element.named("add"):
            python, _, script = handler.get("scriptProcessor").partition("|")
            if "wfastcgi" in script.lower():
                yield python.strip().strip('"')


def _notes(handler: str, settings: dict[str, str], others: tuple[str, ...]) -> Iterator[str]:
    if handler and handler != HANDLER:
        yield (
            f"WSGI_HANDLER is {handler!r}, an application of your own. Its models move into [models] of "
            "torchgate.toml; put a gate around the rest of it (torchgate.Gate: guard_flask or guard_wsgi), and set "
            'gate.front_door = "fastcgi".'
        )
    if others:
        yield (
            f"{', '.join(others)}: put plain values into the pool's environment and secrets into [secrets] as "
            "references; "
            "no value was taken over."
        )
    if "WSGI_LOG" in settings:
        yield "WSGI_LOG counts behind wfastcgi alone (front door `fastcgi`): there our own lines go into it, too."
    if "WSGI_RESTART_FILE_REGEX" in settings:
        yield "WSGI_RESTART_FILE_REGEX has no successor: a change of the models is taken up by models.watch_interval_s."
    yield "Take the old fastCgi application out of applicationHost.config: `wfastcgi-disable`."
