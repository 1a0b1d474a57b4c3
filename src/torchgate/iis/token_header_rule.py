"""Whether a web.config keeps clients from naming a Windows token themselves (DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

_MATCH_ALL = frozenset({".*", "(.*)", "^.*$", "^(.*)$", ""})
_HEX_DIGITS = frozenset("0123456789abcdef")
_STOPPING = "true"


def blocks_client_tokens(web_config: str, header: str) -> bool:
    """Whether every request loses its own copy of a header, or is refused for it, before IIS's module sees it.

    Two forms count: a rewrite rule that sets the server variable to nothing, for every URL, without conditions, before
    any rule that ends the rules; and a request filtering rule that refuses each value that a handle could have.
    What stands below `<location>` with a path is of one path alone and does not count. Where in doubt: no.

    Args:
        web_config: the text of the file.
        header: its name, e.g. `X-IIS-WindowsAuthToken`.
    """
    if "<!DOCTYPE" in web_config or "<!ENTITY" in web_config:
        return False
    try:
        root = ElementTree.fromstring(web_config.removeprefix("\ufeff"))  # noqa: S314 - see above
    except ElementTree.ParseError:
        return False
    if root.tag != "configuration" or not _is_whole(root):
        return False
    return any(_rewrites(server, header) or _filters(server, header) for server in _servers(root))


def _servers(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    yield from root.findall("system.webServer")
    for location in root.findall("location"):
        if location.get("path", "") in {"", "."}:
            yield from location.findall("system.webServer")


def _is_whole(root: ElementTree.Element) -> bool:
    """Whether no path of the file takes the rules off again."""
    for location in root.findall("location"):
        if location.get("path", "") in {"", "."}:
            continue
        for section in ("rewrite", "security/requestFiltering"):
            if location.find(f"system.webServer/{section}") is not None:
                return False
    return True


def _rewrites(server: ElementTree.Element, header: str) -> bool:
    variable = f"HTTP_{header.replace('-', '_')}".upper()
    for rule in server.findall("rewrite/rules/rule"):
        if rule.get("enabled", "true").lower() != "true":
            continue
        is_unconditional = _matches_all(rule) and not rule.findall("conditions/*")
        for setting in rule.findall("serverVariables/set"):
            is_it = setting.get("name", "").upper() == variable and setting.get("value") == ""
            if is_it and setting.get("replace", "true").lower() == "true":
                return is_unconditional
        action = rule.find("action")
        if rule.get("stopProcessing", "false").lower() == _STOPPING or _ends(action):
            return False
    return False


def _matches_all(rule: ElementTree.Element) -> bool:
    match = rule.find("match")
    if match is None or rule.get("patternSyntax", "ECMAScript") != "ECMAScript":
        return False
    return match.get("url", "") in _MATCH_ALL and match.get("negate", "false").lower() == "false"


def _ends(action: ElementTree.Element | None) -> bool:
    return action is not None and action.get("type", "None").lower() in {"redirect", "customresponse", "abortrequest"}


def _filters(server: ElementTree.Element, header: str) -> bool:
    for rule in server.findall("security/requestFiltering/filteringRules/filteringRule"):
        names = {scan.get("requestHeader", "").lower() for scan in rule.findall("scanHeaders/add")}
        denied = {deny.get("string", "").lower() for deny in rule.findall("denyStrings/add")}
        if header.lower() in names and denied >= _HEX_DIGITS and not rule.findall("appliesTo/*"):
            return True
    return False
