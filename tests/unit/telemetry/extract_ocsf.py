"""Makes ocsf-1.8.0.json from a checkout of the OCSF schema: the part that our events use.

    python tests/unit/telemetry/extract_ocsf.py CHECKOUT > tests/unit/telemetry/ocsf-1.8.0.json

Only needed when our events use a further class, object or version.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLASSES = {
    "3004": "iam/entity_management",
    "6002": "application/application_lifecycle",
    "6003": "application/api_activity",
}
PROFILES = ("security_control", "trace", "ai_operation", "host")
OBJECTS = (
    "actor", "ai_model", "api", "authorization", "device", "feature", "group", "http_request", "http_response",
    "managed_entity", "metadata", "network_endpoint", "policy", "product", "request", "resource_details", "response",
    "service", "session", "span", "trace", "url", "user",
)  # fmt: skip


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _find(root: Path, name: str) -> Path:
    return next(path for path in (root / "events").rglob("*.json") if path.stem == name)


def _attributes(root: Path, found: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Of a class or object: inherited, included from profiles, its own."""
    result: dict[str, Any] = {}
    if parent := found.get("extends"):
        path = _find(root, parent) if folder == "events" else root / "objects" / f"{parent}.json"
        result = _attributes(root, _load(path), folder)
    own = dict(found.get("attributes", {}))
    for include in own.pop("$include", []):
        profile = _load(root / include)
        if profile["name"] in PROFILES:
            for name, attribute in profile["attributes"].items():
                result[name] = {**result.get(name, {}), **attribute}
    for name, attribute in own.items():
        merged = {**result.get(name, {}), **attribute}
        if "enum" in result.get(name, {}) and "enum" in attribute:
            merged["enum"] = {**result[name]["enum"], **attribute["enum"]}
        result[name] = merged
    return result


def _constraints(root: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    own = found.get("constraints")
    if own is None and found.get("extends"):
        return _constraints(root, _load(root / "objects" / f"{found['extends']}.json"))
    return own or {}


def _shape(attributes: Mapping[str, Any], dictionary: Mapping[str, Any]) -> dict[str, Any]:
    shape = {}
    for name, attribute in sorted(attributes.items()):
        known = {**dictionary["attributes"].get(name, {}), **attribute}
        kind = dictionary["attributes"][name]["type"]
        entry: dict[str, Any] = {"type": kind}
        if known.get("requirement") == "required" and attribute.get("profile", None) is None:
            entry["required"] = True
        if known.get("is_array"):
            entry["array"] = True
        enum = {**dictionary["attributes"].get(name, {}).get("enum", {}), **attribute.get("enum", {})}
        if enum and name not in {"class_uid", "category_uid"}:  # each class has its own, not in its attributes
            entry["enum"] = sorted(enum)
        shape[name] = entry
    return shape


def extract(root: Path) -> dict[str, Any]:
    """The classes, objects and base types."""
    dictionary = _load(root / "dictionary.json")
    types = {name: entry.get("type", name) for name, entry in dictionary["types"]["attributes"].items()}
    classes = {}
    for uid, path in CLASSES.items():
        found = _load(root / "events" / f"{path}.json")
        classes[uid] = {"attributes": _shape(_attributes(root, found, "events"), dictionary)}
    objects = {}
    for name in OBJECTS:
        found = _load(root / "objects" / f"{name}.json")
        objects[name] = {
            "attributes": _shape(_attributes(root, found, "objects"), dictionary),
            "constraints": _constraints(root, found),
        }
    return {"version": _load(root / "version.json")["version"], "types": types, "classes": classes, "objects": objects}


if __name__ == "__main__":
    json.dump(extract(Path(sys.argv[1])), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
