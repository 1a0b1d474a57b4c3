"""wfastcgi on this machine: whether what web.config and IIS name of it is here. Not seen on a real IIS yet.

Source: iis.md 3, and wfastcgi.py 3.0.0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.doctor.iis_checks import host_configuration, host_file, web_config_file, wfastcgi_findings
from torchgate.doctor.places import reason, unreadable, unwritable
from torchgate.doctor.project_checks import of_finding
from torchgate.doctor.world import World
from torchgate.iis.fast_cgi import APPLICATIONS
from torchgate.iis.installed_module import expanded
from torchgate.iis.located import section, sections
from torchgate.iis.plan import HANDLER
from torchgate.iis.xml_document import Element, XmlMistake, read_xml

_LIMITS = ("activityTimeout", "requestTimeout", "instanceMaxRequests")


class _Layout(msgspec.Struct, frozen=True):
    """wfastcgi as the files have it.

    Args:
        web: of the application.
        file: where that stands.
        settings: name in upper case → value, `%NAME%` filled in.
        process: what IIS starts, where its configuration could be read and knows it.
    """

    web: Element
    file: Path
    settings: Mapping[str, str]
    process: Element | None


def fast_cgi(world: World) -> Iterator[Diagnosis]:
    """Handler, settings, log and process of wfastcgi, where it is the front door."""
    if world.settings.gate.front_door != "fastcgi":
        yield skipped(f'gate.front_door = "{world.settings.gate.front_door}" needs no wfastcgi.')
        return
    file = web_config_file(world)
    if file is None:
        yield skipped("there is no web.config; the check of it says so.")
        return
    try:
        web = read_xml(file)
    except (XmlMistake, OSError) as error:
        yield skipped(f"web.config can't be read: {error}.", place=str(file))
        return
    host = host_configuration(world)
    found = wfastcgi_findings(world, file, host)
    yield from map(of_finding, found)
    layout = _Layout(web, file, _settings(web, world), _process(web, host))
    if world.is_windows:
        yield from _programs(layout, world)
        yield from _project(layout, world)
        yield from _log(layout)
    else:
        yield skipped("what web.config names can be looked for on Windows alone.")
    yield from _watched(layout, world)
    if layout.process is None:
        yield skipped("the process that IIS starts can't be seen; an administrator can.")
    elif not any(one.severity == "error" for one in found):
        limits = ", ".join(f"{name} {layout.process.get(name, 'by default')}" for name in _LIMITS)
        yield ok(f"{limits}; a request may take {world.settings.gate.max_timeout_s:g} s.", place=str(file))


def _settings(web: Element, world: World) -> dict[str, str]:
    return {
        one.get("key").strip().upper(): expanded(one.get("value"), world.environment)
        for settings in web.named("appSettings")
        for one in settings.named("add")
    }


def _processors(web: Element) -> list[str]:
    """`python.exe|wfastcgi.py` of every handler."""
    handlers = (one for place in sections(web, "system.webServer/handlers") for one in place.element.named("add"))
    return [text for one in handlers if "wfastcgi" in (text := one.get("scriptProcessor")).lower()]


def _process(web: Element, host: Element | str) -> Element | None:
    if not isinstance(host, Element):
        return None
    wanted = {text.lower() for text in _processors(web)}
    applications = section(host, APPLICATIONS)
    known = applications.named("application") if applications is not None else ()
    return next((one for one in known if f"{one.get('fullPath')}|{one.get('arguments')}".lower() in wanted), None)


def _programs(layout: _Layout, world: World) -> Iterator[Diagnosis]:
    for processor in dict.fromkeys(_processors(layout.web)):
        python, _, script = (part.strip().strip('"') for part in processor.partition("|"))
        for what, path in (("the Python", python), ("wfastcgi", script)):
            if why := unreadable(Path(path)):
                remedy = "Install it there and let this account read it, or let `torchgate iis render` write the path."
                yield red(f"{what} of the handler, {path}, can't be read: {why}.", "a file", remedy, place=_at(layout))
        if Path(python).exists() and not _is_ours(Path(python), world):
            seen = f"IIS starts {python}, and what is said here of Python and torch is true for another one."
            yield amber(seen, python, f"Run doctor with it: {python} -m torchgate doctor", place=_at(layout))


def _is_ours(python: Path, world: World) -> bool:
    ours = (world.interpreter.executable, world.interpreter.base)
    return any(os.path.realpath(python) == os.path.realpath(one) for one in ours)


def _project(layout: _Layout, world: World) -> Iterator[Diagnosis]:
    named = layout.settings.get("TORCHGATE_PROJECT", "")
    ours = {os.path.realpath(place) for place in (world.folder, world.configuration.file)}
    if named and os.path.realpath(named) not in ours:
        remedy = "Correct it, or examine that one."
        seen = f"TORCHGATE_PROJECT is {named}, and this is {world.folder}."
        yield red(seen, str(world.folder), remedy, place=_at(layout))
    handler = layout.settings.get("WSGI_HANDLER", "")
    if handler in {"", HANDLER}:
        return
    module = handler.removesuffix("()").partition(".")[0]
    folders = [layout.file.parent, *map(Path, filter(None, layout.settings.get("PYTHONPATH", "").split(";")))]
    folders.append(world.interpreter.prefix / "Lib" / "site-packages")
    if not any((folder / f"{module}.py").is_file() or (folder / module).is_dir() for folder in folders):
        seen = f"WSGI_HANDLER is {handler}, and no folder of PYTHONPATH has a module {module}: all is answered by 500."
        remedy = "Name its folder in PYTHONPATH of appSettings."
        yield red(seen, f"{module}.py", remedy, place=_at(layout))


def _log(layout: _Layout) -> Iterator[Diagnosis]:
    named = layout.settings.get("WSGI_LOG", "")
    if not named:
        remedy = "Add the application setting WSGI_LOG: a file in a folder that the pool's identity may write in."
        yield amber("no WSGI_LOG: log lines of this server go nowhere.", "a file for them", remedy, place=_at(layout))
        return
    log = Path(named)
    if not log.is_absolute():
        seen = f"WSGI_LOG is {named}: where that is depends on where IIS starts the process."
        yield amber(seen, "a whole path", "Write the whole path.", place=_at(layout))
        return
    try:
        why = _unappendable(log)
    except OSError as error:
        why = reason(error)
    if why:
        remedy = "Let the pool's identity write there, or name another file."
        yield red(f"WSGI_LOG {log} can't be written: {why}.", "a file to write to", remedy, place=_at(layout))
    if Path(os.path.realpath(log)).is_relative_to(os.path.realpath(layout.file.parent)):
        seen = f"WSGI_LOG {log} lies in the application's own folder, whose files a handler may serve."
        yield red(seen, "a folder of its own", "Name a file outside of it.", place=_at(layout))


def _unappendable(log: Path) -> str:
    if not log.exists():
        return unwritable(log.parent) if log.parent.is_dir() else f"there is no folder {log.parent}"
    if not log.is_file():
        return "it is no file"
    log.open("ab").close()
    return ""


def _watched(layout: _Layout, world: World) -> Iterator[Diagnosis]:
    """What IIS ends every process for when it changes."""
    watched = "" if layout.process is None else expanded(layout.process.get("monitorChangesTo"), world.environment)
    if not watched:
        return
    place = str(host_file(world))
    busy = (world.settings.state.folder, world.settings.models.folder, layout.settings.get("WSGI_LOG") or None)
    if any(Path(watched).is_relative_to(one) for one in busy if one):
        seen = f"monitorChangesTo is {watched}, which changes while the server runs; each time requests are cut off."
        yield red(seen, "a file that only people change", 'Take it out, or name "web.config" there.', place=place)
    elif world.is_windows and not Path(watched).exists():
        seen = f"monitorChangesTo is {watched}, which is not there: no change is ever noticed."
        yield amber(seen, "a file that is there", "Correct the path, or take it out.", place=place)


def _at(layout: _Layout) -> str:
    return str(layout.file)
