"""Whether a web.config keeps clients from naming a Windows token themselves (DESIGN 4.3)."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.iis.located import below
from torchgate.iis.xml_document import Element, XmlMistake, parse_xml

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
    try:
        root = parse_xml(web_config.removeprefix("\ufeff"))
    except XmlMistake:
        return False
    return blocks_in(root, header)


def blocks_in(root: Element, header: str) -> bool:
    """The same of a file that is read already."""
    if root.tag != "configuration" or not _is_whole(root):
        return False
    return any(_rewrites(server, header) or _filters(server, header) for server in _servers(root))


def _servers(root: Element) -> Iterator[Element]:
    yield from root.named("system.webServer")
    for location in root.named("location"):
        if location.get("path", "") in {"", "."}:
            yield from location.named("system.webServer")


def _is_whole(root: Element) -> bool:
    """Whether no path of the file takes the rules off again."""
    for location in root.named("location"):
        if location.get("path", "") in {"", "."}:
            continue
        for section in ("rewrite", "security/requestFiltering"):
            if any(True for _ in below(location, f"system.webServer/{section}")):
                return False
    return True


def _rewrites(server: Element, header: str) -> bool:
    variable = f"HTTP_{header.replace('-', '_')}".upper()
    for rule in below(server, "rewrite/rules/rule"):
        if rule.get("enabled", "true").lower() != "true":
            continue
        is_unconditional = _matches_all(rule) and not any(one.children for one in rule.named("conditions"))
        for setting in below(rule, "serverVariables/set"):
            is_it = setting.get("name", "").upper() == variable and setting.attributes.get("value") == ""
            if is_it and setting.get("replace", "true").lower() == "true":
                return is_unconditional
        action = rule.first("action")
        if rule.get("stopProcessing", "false").lower() == _STOPPING or _ends(action):
            return False
    return False


def _matches_all(rule: Element) -> bool:
    match = rule.first("match")
    if match is None or rule.get("patternSyntax", "ECMAScript") != "ECMAScript":
        return False
    return match.get("url", "") in _MATCH_ALL and match.get("negate", "false").lower() == "false"


def _ends(action: Element | None) -> bool:
    return action is not None and action.get("type", "None").lower() in {"redirect", "customresponse", "abortrequest"}


def _filters(server: Element, header: str) -> bool:
    for rule in below(server, "security/requestFiltering/filteringRules/filteringRule"):
        names = {scan.get("requestHeader", "").lower() for scan in below(rule, "scanHeaders/add")}
        denied = {deny.get("string", "").lower() for deny in below(rule, "denyStrings/add")}
        if (
            header.lower() in names
            and denied >= _HEX_DIGITS
            and not any(one.children for one in rule.named("appliesTo"))
        ):
            return True
    return False
