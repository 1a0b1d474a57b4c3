"""A stand-in for appcmd.exe: its state is a real applicationHost.config, and IIS's schemas examine every change.

Knows what `torchgate iis install` uses of it, written from Microsoft's description of the commands; nobody has yet
compared it with the real one. Run as `python appcmd.py STATE …`, where STATE is a folder:

- `applicationHost.config`: the state
- `schemas.txt`: a folder of schema files, if there are any
- `fails.txt`: a text; a command whose line holds it fails
- `log.txt`: every command, a line each
"""

from __future__ import annotations

import functools
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from torchgate.iis.config_schema import Sections, read_schemas
from torchgate.iis.schema_check import schema_findings
from torchgate.iis.xml_document import parse_xml

NOT_FOUND, REFUSED = 1168, 13


class Refused(Exception):
    """Why a command is not done; code and sentence."""


def main(state: Path, arguments: list[str]) -> int:
    """Do one command."""
    line = " ".join(arguments)
    with (state / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"{line}\n")
    fails = state / "fails.txt"
    file = state / "applicationHost.config"
    tree = ET.parse(file)
    try:
        if fails.exists() and fails.read_text(encoding="utf-8") in line:
            raise Refused(5, "Access is denied.")
        change(tree.getroot(), arguments)
        examine(tree.getroot(), state)
    except Refused as refused:
        code, sentence = refused.args
        print(f"ERROR ( message:{sentence} )")
        return int(code)
    tree.write(file, encoding="utf-8", xml_declaration=True)
    print("OK")
    return 0


def change(root: ET.Element, arguments: list[str]) -> None:
    """Change the tree."""
    verb, kind, *rest = arguments
    names = [one for one in rest if not one.startswith("/") or "/:" in one]
    options = dict(one[1:].split(":", 1) for one in rest if one.startswith("/") and ":" in one and one[1] not in "+-[")
    if kind == "apppool":
        change_pool(root, verb, names, options)
    elif kind == "app":
        change_application(root, verb, names, options)
    elif kind == "config":
        change_section(root, verb, rest, options)
    else:
        raise Refused(REFUSED, f"Unknown object {kind}.")


def change_pool(root: ET.Element, verb: str, names: list[str], options: dict[str, str]) -> None:
    pools = the(root, "system.applicationHost/applicationPools")
    if verb == "add":
        ET.SubElement(pools, "add", {"name": options["name"]})
        return
    pool = entry(pools, "add", "name", names[0], "APPPOOL")
    if verb == "delete":
        pools.remove(pool)
        return
    for path, value in options.items():
        *elements, attribute = path.split(".")
        the(pool, "/".join(elements)).set(attribute, value)


def change_application(root: ET.Element, verb: str, names: list[str], options: dict[str, str]) -> None:
    sites = the(root, "system.applicationHost/sites")
    if verb == "add":
        site = entry(sites, "site", "name", options["site.name"], "SITE")
        application = ET.SubElement(site, "application", {"path": options["path"]})
        ET.SubElement(application, "virtualDirectory", {"path": "/", "physicalPath": options["physicalPath"]})
        return
    site_name, _, path = names[0].partition("/")
    site = entry(sites, "site", "name", site_name, "SITE")
    application = entry(site, "application", "path", f"/{path}", "APP")
    if verb == "delete":
        site.remove(application)
        return
    for attribute, value in options.items():
        application.set(attribute, value)


def change_section(root: ET.Element, verb: str, rest: list[str], options: dict[str, str]) -> None:
    path = options.pop("section")
    if "/commit:apphost" not in rest:
        raise Refused(REFUSED, "This configuration section cannot be used at this path.")
    where = rest[0] if not rest[0].startswith("/") else ""
    options.pop("commit")
    holder = location(root, where) if where else root
    found = the(holder, path)
    if verb == "clear":
        parent = the(holder, path.rpartition("/")[0])
        parent.remove(found)
        return
    for attribute, value in options.items():
        found.set(attribute, value)
    for one in rest:
        if re.match(r"/[-+]?\[", one):
            change_collection(found, one[1:])


def change_collection(element: ET.Element, text: str) -> None:
    """`+[name='a'].environmentVariables.[name='b',value='c']` and its like."""
    sign = text[0] if text[0] in "+-" else ""
    text = text.removeprefix(sign) if sign else text
    *steps, last = re.findall(r"\[(?:[^\]']|'[^']*')*\]|[^.\[\]]+(?::.*)?", text)
    for step in steps if not last.startswith("[") and ":" in last else [*steps]:
        element = step_into(element, step)
    if last.startswith("["):
        pairs = keys(last)
        if sign == "+":
            keys_of = pairs if element.tag == "fastCgi" else dict(list(pairs.items())[:1])
            if any(all(child.get(n) == v for n, v in keys_of.items()) for child in element):
                raise Refused(183, "Cannot add duplicate collection entry.")
            ET.SubElement(element, "application" if element.tag == "fastCgi" else "add", pairs)
        else:
            element.remove(item(element, pairs))
        return
    attribute, _, value = last.partition(":")
    element.set(attribute, value)


def step_into(element: ET.Element, step: str) -> ET.Element:
    return item(element, keys(step)) if step.startswith("[") else the(element, step)


def keys(text: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)='([^']*)'", text))


def item(element: ET.Element, wanted: dict[str, str]) -> ET.Element:
    for child in element:
        if all(child.get(name) == value for name, value in wanted.items()):
            return child
    raise Refused(NOT_FOUND, "Cannot find requested collection element.")


def entry(parent: ET.Element, tag: str, key: str, name: str, kind: str) -> ET.Element:
    for child in parent.findall(tag):
        if (child.get(key) or "").lower() == name.lower():
            return child
    raise Refused(NOT_FOUND, f'Cannot find {kind} object with identifier "{name}".')


def the(element: ET.Element, path: str) -> ET.Element:
    """The element at a path below, made where it is missing."""
    for name in path.split("/") if path else ():
        found = element.find(name)
        element = found if found is not None else ET.SubElement(element, name)
    return element


def location(root: ET.Element, where: str) -> ET.Element:
    for one in root.findall("location"):
        if one.get("path", "").lower() == where.lower():
            return one
    return ET.SubElement(root, "location", {"path": where})


@functools.cache
def sections_of(folder: str) -> Sections:
    return read_schemas(Path(folder))


def examine(root: ET.Element, state: Path) -> None:
    """Refuse what IIS would refuse."""
    schemas = state / "schemas.txt"
    if not schemas.exists():
        return
    sections = sections_of(schemas.read_text(encoding="utf-8"))
    for finding in schema_findings(parse_xml(ET.tostring(root)), sections, "applicationHost.config"):
        raise Refused(REFUSED, finding.sentence)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
