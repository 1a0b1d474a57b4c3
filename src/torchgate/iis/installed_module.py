"""Which module of IIS is installed: its DLL, the version of that, and its schema. Source: iis.md 1.1, 1.2, 9.9."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PureWindowsPath

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.iis.facts import MODULES, Door
from torchgate.iis.located import section
from torchgate.iis.xml_document import Element, XmlMistake, read_xml

_SCHEMAS = {
    "ancm": "aspnetcore_schema_v2.xml",
    "httpplatform": "httpplatform_schema.xml",
    "httpplatform-1.2": "httpplatform_schema.xml",
}
_V2_DLL = "httpplatformhandlerv2.dll"
_INSTALL = {
    "ancm": "Install the .NET Hosting Bundle.",
    "httpplatform": "Uninstall HttpPlatformHandler 1.2 first, then install version 2.",
    "httpplatform-1.2": 'Install HttpPlatformHandler 1.2, or better version 2 with gate.front_door = "httpplatform".',
}
_OLD_ATTRIBUTE = "startupRetryCount"
"""In the schema of version 1.2 alone."""


def module_in_host(
    door: Door, host: Element, environment: Mapping[str, str], version_of: Callable[[Path], str]
) -> Iterator[Diagnosis]:
    """The module that applicationHost.config names.

    Args:
        host: its root.
        environment: for `%windir%` and the like.
        version_of: gives the version of a file; raises OSError where it can't be read.
    """
    modules = section(host, "system.webServer/globalModules")
    named = modules.named("add") if modules is not None else iter(())
    found = next((one for one in named if one.get("name").lower() == MODULES[door].lower()), None)
    if found is None:
        yield red(f"the module {MODULES[door]} is not installed in IIS.", f"the module of {door}", _INSTALL[door])
        return
    image = Path(expanded(found.get("image"), environment))
    try:
        version = version_of(image)
    except OSError as error:
        seen = f"{MODULES[door]} can't be read: {error.strerror or type(error).__name__} (IIS answers 500)."
        yield red(seen, "its DLL", _INSTALL[door], place=str(image))
        return
    name = PureWindowsPath(image).name
    is_v2 = name.lower() == _V2_DLL
    if door == "httpplatform" and not is_v2:
        seen = f"HttpPlatformHandler is version {version or '1.2'} ({name}), which proves nothing to us."
        yield red(seen, f"version 2 ({_V2_DLL})", _INSTALL[door], place=str(image))
    elif door == "httpplatform-1.2" and is_v2:
        seen = f"HttpPlatformHandler is version {version or '2'}, and gate.front_door says 1.2."
        yield amber(seen, 'gate.front_door = "httpplatform"', "Change gate.front_door; then callers are proven.")
    else:
        yield ok(f"{MODULES[door]} {version or 'of unknown version'}.", place=str(image))


def module_schema(door: Door, folder: Path) -> Iterator[Diagnosis]:
    """The schema by which IIS reads the module's section.

    Args:
        folder: of IIS's schema files.
    """
    file = folder / _SCHEMAS[door]
    try:
        root = read_xml(file)
    except FileNotFoundError:
        seen = "IIS has no schema of the module: every request is answered 500.19."
        yield red(seen, file.name, _INSTALL[door], place=str(file))
        return
    except (OSError, XmlMistake) as error:
        words = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
        yield skipped(f"the schema can't be read: {words}.", place=str(file))
        return
    is_old = any(_OLD_ATTRIBUTE in found for found in _attribute_names(root))
    if door == "httpplatform" and is_old:
        seen = "the schema is that of version 1.2: an upgrade in place has left it, and 500.19 follows."
        yield red(seen, "the schema of version 2", _INSTALL[door], place=str(file))
    elif door == "httpplatform-1.2" and not is_old:
        seen = "the schema is that of version 2, and gate.front_door says 1.2."
        yield amber(seen, 'gate.front_door = "httpplatform"', "Change gate.front_door; then callers are proven.")
    else:
        yield ok("the module's schema is there.", place=str(file))


def expanded(path: str, environment: Mapping[str, str]) -> str:
    """A path with its %VARIABLES%, whose case does not count; those that are not there stay."""
    known = {name.upper(): value for name, value in environment.items()}
    return re.sub(r"%([^%]+)%", lambda found: known.get(found[1].upper(), found[0]), path)


def _attribute_names(element: Element) -> Iterator[str]:
    for child in element.children:
        if child.tag == "attribute":
            yield child.get("name")
        yield from _attribute_names(child)
