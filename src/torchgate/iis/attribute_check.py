"""Whether a value is one that IIS takes for an attribute; source: the description at the head of IIS_schema.xml."""

from __future__ import annotations

import re

from torchgate.iis.config_schema import AttributeRule

_TIME = re.compile(r"(?:(\d{1,7})\.)?(\d{1,7}):(\d{1,2}):(\d{1,2})(?:\.\d{1,7})?")
_POOL_NAME = re.compile(r'[^|<>&"/\[\]+=;:,?*@]+')
_SITE_NAME = re.compile(r"[^/?]+")
_BOUNDS = {"uint": (0, 2**32 - 1), "int": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def value_mistake(rule: AttributeRule, value: str) -> str:
    """What is wrong with a value, seen against allowed, without repeating it; empty if nothing is."""
    if rule.kind == "bool":
        return "" if value.lower() in {"true", "false"} else "it must be true or false"
    if rule.kind == "enum":
        known = {name.lower() for name in rule.names}
        return "" if value.lower() in known else f"it must be one of {', '.join(rule.names)}"
    if rule.kind == "flags":
        return _flags_mistake(rule, value)
    if rule.kind == "timeSpan":
        return _time_mistake(rule, value)
    if rule.kind in _BOUNDS:
        return _number_mistake(rule, value)
    return _text_mistake(rule, value)


def seconds_of(value: str) -> float | None:
    """The seconds of an `hh:mm:ss` or `d.hh:mm:ss`, or None if it is neither."""
    found = _TIME.fullmatch(value.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    is_time = minutes < 60 and seconds < 60 and (hours < 24 or not found[1])
    return days * 86_400.0 + hours * 3600 + minutes * 60 + seconds if is_time else None


def _flags_mistake(rule: AttributeRule, value: str) -> str:
    known = {name.lower() for name in rule.names}
    unknown = [part for part in value.split(",") if part.strip() and part.strip().lower() not in known]
    return f"its parts must be of {', '.join(rule.names)}" if unknown else ""


def _number_mistake(rule: AttributeRule, value: str) -> str:
    if rule.is_infinite_allowed and value.lower() == "infinite":
        return ""
    if not re.fullmatch(r"-?\d+|0x[0-9A-Fa-f]+", value):
        return "it must be a whole number"
    number = int(value, 0) if value.lower().startswith("0x") else int(value)
    low, high = _BOUNDS[rule.kind]
    if not low <= number <= high:
        return f"it must be between {low} and {high}"
    return _range_mistake(rule, number) if rule.validation == "integerRange" else ""


def _time_mistake(rule: AttributeRule, value: str) -> str:
    if rule.is_infinite_allowed and value.lower() == "infinite":
        return ""
    if rule.time_format == "string":
        seconds = seconds_of(value)
        if seconds is None:
            return "it must be a time as hh:mm:ss, with minutes and seconds below 60"
    else:
        if not value.isdecimal():
            return f"it must be a whole number of {rule.time_format}"
        seconds = float(value) * (60 if rule.time_format == "minutes" else 1)
    return _range_mistake(rule, seconds) if rule.validation == "timeSpanRange" else ""


def _range_mistake(rule: AttributeRule, number: float) -> str:
    parts = [part.strip() for part in rule.parameter.split(",")]
    excludes = parts[-1] == "exclude"
    low, high, *step = (int(part) for part in (parts[:-1] if excludes else parts))
    unit = " s" if rule.kind == "timeSpan" else ""
    if (low <= number <= high) is excludes:
        return f"it must {'not ' if excludes else ''}be between {low} and {high}{unit}"
    if step and number % step[0]:
        return f"it must be a multiple of {step[0]}{unit}"
    return ""


def _text_mistake(rule: AttributeRule, value: str) -> str:
    mistakes = {
        "nonEmptyString": (bool(value), "it must not be empty"),
        "requireTrimmedString": (value == value.strip(), "it must not begin or end with a space"),
        "applicationPoolName": (bool(_POOL_NAME.fullmatch(value)), 'it must not be empty or hold |<>&"/[]+=;:,?*@'),
        "siteName": (bool(_SITE_NAME.fullmatch(value)), "it must not be empty or hold / or ?"),
        "applicationPath": (_is_path(value), "it must begin with /, and not end with it"),
        "virtualDirectoryPath": (_is_path(value), "it must begin with /, and not end with it"),
    }
    is_right, sentence = mistakes.get(rule.validation, (True, ""))
    return "" if is_right else sentence


def _is_path(value: str) -> bool:
    segments = value[1:].split("/")
    return value.startswith("/") and (value == "/" or not value.endswith("/")) and not {".", ".."} & set(segments)
