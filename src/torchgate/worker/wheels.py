"""The distributions that a worker would import from, each with one number for what its wheel held.

The number is of RECORD, the list that every wheel brings of its files and their hashes, less what an installer writes
into it on each machine anew: the same wheel has the same number everywhere, and whoever has the wheel can find it out
offline. It tells another build under the same version. It does not tell a file that was altered afterwards: that is
`altered_files`, which reads all of them.

Source: PyPA, "Recording installed projects" and "Binary distribution format", The .dist-info directory.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import PurePosixPath

from torchgate.contract.survey import Wheel

_WRITTEN_BY_INSTALLERS = frozenset({"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "RECORD"})
_SCRIPT_FOLDERS = ("bin", "Scripts")
_NAME_BREAKS = re.compile(r"[-_.]+")


def installed_wheels(found: Iterable[Distribution] | None = None) -> dict[str, Wheel]:
    """By normalised name, sorted; of two with one name, the one that is imported.

    Args:
        found: in the order of the import path; None: of this process.
    """
    return {name: Wheel(_version(one), record_digest(_record(one))) for name, one in _by_name(found)}


def record_digest(record: str | None) -> str:
    """One number for what a wheel's RECORD says, or empty where there is none."""
    if record is None:
        return ""
    lines = "".join(f"{path},{digest}\n" for path, digest in _wheel_files(record))
    return f"sha256:{hashlib.sha256(lines.encode('utf-8', 'surrogatepass')).hexdigest()}"


def altered_files(found: Iterable[Distribution] | None = None) -> Iterator[str]:
    """Files that are not what their wheel's RECORD says, `name: path (why)` each. Reads every file.

    Args:
        found: as installed_wheels.
    """
    for name, one in _by_name(found):
        for path, digest in _wheel_files(_record(one) or ""):
            why = _difference(one, path, digest)
            if why:
                yield f"{name}: {path} ({why})"


def _difference(distribution: Distribution, path: str, wanted: str) -> str:
    kind, _, digest = wanted.partition("=")
    if kind not in hashlib.algorithms_guaranteed:
        return f"its hash {kind!r} is none that we know"
    try:
        with open(str(distribution.locate_file(path)), "rb") as file:  # noqa: PTH123 - may be no pathlib.Path
            seen = hashlib.file_digest(file, kind).digest()
    except OSError as error:
        return error.strerror or str(error)
    text = base64.urlsafe_b64encode(seen).rstrip(b"=").decode("ascii")
    return "" if text == digest.rstrip("=") else "altered"


def _by_name(found: Iterable[Distribution] | None) -> list[tuple[str, Distribution]]:
    named: dict[str, Distribution] = {}
    for one in distributions() if found is None else found:
        name = one.metadata["Name"]
        if name:  # what is left of an installation that broke off has none
            named.setdefault(_NAME_BREAKS.sub("-", name).lower(), one)
    return sorted(named.items())


def _record(distribution: Distribution) -> str | None:
    read = distribution.read_text  # of importlib.metadata: always UTF-8
    return read("RECORD")


def _version(distribution: Distribution) -> str:
    return str(distribution.metadata["Version"] or "")


def _wheel_files(record: str) -> list[tuple[str, str]]:
    """Path and hash of each file of the wheel that lies where every installer puts it."""
    files = []
    for row in csv.reader(record.splitlines()):
        if len(row) < 2 or not row[1]:
            continue  # bytecode, and RECORD itself: no wheel brings a hash of them
        path = PurePosixPath(row[0].replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            continue  # scripts and data: their place and first line are the machine's
        if len(path.parts) == 2 and path.parts[0] in _SCRIPT_FOLDERS:
            continue  # the same, of an installation into a folder of its own
        if path.parent.suffix == ".dist-info" and path.name in _WRITTEN_BY_INSTALLERS:
            continue
        files.append((str(path), row[1]))
    return sorted(files)
