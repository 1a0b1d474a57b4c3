"""Units of systemd that start a project, as their files say them. Nothing is asked of systemd itself.

Source: systemd.unit(5), systemd.service(5), systemd.syntax(7), systemd.time(7).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.config import FILE_NAME
from torchgate.contract.bounded_files import read_bounded

UNIT_FOLDERS = tuple(
    map(
        Path,
        ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"),
    )
)
"""In the order in which one of a name counts before the others."""

_MAX_BYTES = 1 << 20
_COMMANDS = frozenset({"serve", "pool", "gate"})
_PREFIXES = "@-:+!|"
"""Of a command line: how systemd is to run it."""
_SPANS_S = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60,
    "min": 60, "minute": 60, "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600, "d": 86400,
    "day": 86400, "days": 86400, "w": 604800, "week": 604800, "weeks": 604800, "M": 2629800, "month": 2629800,
    "months": 2629800, "y": 31557600, "year": 31557600, "years": 31557600,
}  # fmt: skip
_SIZES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Given(msgspec.Struct, frozen=True):
    """One assignment.

    Args:
        place: file and line of it.
    """

    value: str
    place: str


class Unit(msgspec.Struct, frozen=True):
    """A service that starts Torchgate.

    Args:
        name: e.g. `torchgate-pool.service`.
        file: the first of its files; what stands beside it in a folder of that name counts, too.
        given: setting of [Service] → what is assigned, in order; an empty assignment has taken away what was before.
        command: `serve`, `pool` or `gate`.
        flags: that it sets by `--set`.
    """

    name: str
    file: Path
    given: Mapping[str, tuple[Given, ...]]
    command: str
    flags: tuple[str, ...]

    def last(self, setting: str) -> Given | None:
        """The assignment that counts, of a setting with one value."""
        return self.given[setting][-1] if self.given.get(setting) else None

    def is_on(self, setting: str) -> bool:
        """Of a setting that is yes or no; absent is no."""
        found = self.last(setting)
        return found is not None and found.value.lower() in {"yes", "true", "on", "1"}

    def words(self, setting: str) -> tuple[str, ...]:
        """Of a setting that is a list, whatever assignment they stand in."""
        return tuple(word for one in self.given.get(setting, ()) for word in _words(one.value))

    def place(self, setting: str) -> str:
        """Where a setting is said, or the file where it could be."""
        found = self.last(setting)
        return str(self.file) if found is None else found.place


def units_of(project: Path, folders: Sequence[Path] = UNIT_FOLDERS) -> Iterator[Unit]:
    """The services that start `torchgate serve`, `pool` or `gate` of a project.

    Args:
        project: its settings file.
        folders: where units lie, the first before the others.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.service")):
            files.setdefault(file.name, file)
    for name, file in sorted(files.items()):
        extra = {one.name: one for folder in reversed(folders) for one in (folder / f"{name}.d").glob("*.conf")}
        given: dict[str, tuple[Given, ...]] = {}
        for part in (file, *(extra[each] for each in sorted(extra))):
            _take(_service_lines(part), given)
        if unit := _ours(name, file, given, project):
            yield unit


def span_s(text: str) -> float | None:
    """Seconds of a span such as `1min 30s`; infinite for `infinity` and 0; None where it is none."""
    if text.strip() in {"infinity", "0"}:
        return float("inf")
    parts = re.findall(r"([0-9.]*)\s*([^0-9.\s]*)\s*", text.strip())
    try:
        found = sum(float(number) * _SPANS_S[unit] for number, unit in parts if number or unit)
    except (KeyError, ValueError):
        return None
    return found or None


def size_bytes(text: str) -> int | None:
    """Bytes of a size such as `8G`; None where it is `infinity`, a share of the memory, or no size."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([BKMGT]?)", text.strip())
    return None if found is None else int(float(found[1]) * _SIZES[found[2]])


def _service_lines(file: Path) -> Iterator[tuple[str, Given]]:
    """Setting and assignment of each line of [Service]; a file that can't be read has none."""
    try:
        text = read_bounded(file, _MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return
    section, begun, began_at = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith(("#", ";")) or not (bare or begun):
            continue
        began_at = began_at if begun else number
        begun += bare.removesuffix("\\")
        if bare.endswith("\\"):
            begun += " "
            continue
        whole, begun = begun.strip(), ""
        if whole.startswith("["):
            section = whole
        elif section == "[Service]" and "=" in whole:
            name, _, value = whole.partition("=")
            yield name.strip(), Given(value.strip(), f"{file}:{began_at}")


def _take(lines: Iterator[tuple[str, Given]], given: dict[str, tuple[Given, ...]]) -> None:
    for name, one in lines:
        given[name] = (*given.get(name, ()), one) if one.value else ()


def _ours(name: str, file: Path, given: Mapping[str, tuple[Given, ...]], project: Path) -> Unit | None:
    folder = Path(given["WorkingDirectory"][-1].value.lstrip("-")) if given.get("WorkingDirectory") else Path("/")
    for start in given.get("ExecStart", ()):
        command, flags, named = _command(start.value)
        if command and _settings_file(folder / named) == os.path.realpath(project):
            return Unit(name, file, given, command, flags)
    return None


def _settings_file(named: Path) -> str:
    return os.path.realpath(named / FILE_NAME if named.is_dir() else named)


def _command(line: str) -> tuple[str, tuple[str, ...], str]:
    """Command, flags and project of a command line; no command where it does not start Torchgate."""
    words = [word.replace("%%", "%").replace("$$", "$") for word in _words(line.lstrip(_PREFIXES))]
    begin = next((at for at, word in enumerate(words) if Path(word).name in {"torchgate", "torchgate.exe"}), None)
    if begin is None or begin + 1 >= len(words) or words[begin + 1] not in _COMMANDS:
        return "", (), ""
    flags: list[str] = []
    project, rest = "", iter(words[begin + 2 :])
    for word in rest:
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if option in {"--set", "--config"}:
            value = value if equals else next(rest, "")
            if option == "--set":
                flags.append(value)
            else:
                project = value
        elif not word.startswith("-"):
            project = word
    return words[begin + 1], tuple(flags), project


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation without an end: systemd takes no such line either
        return text.split()
