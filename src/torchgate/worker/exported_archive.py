"""What a `.pt2` of torch.export may hold, examined without torch, and copied so that torch sees nothing else.

torch.export.load runs code that a file brings: it unpickles weights, constants and sample inputs that say so, hands
size expressions to sympify (which evaluates them), looks operators up by dotted path from the torch module (whence
`torch.os.system` is reachable), and compiles names and guards into Python. So the archive is read here against a
list of what torch.export.save writes for plain programs, and anything else is refused. The copy holds what was
examined, byte for byte; two readers of one zip can't be made to see two things, and sample inputs are left empty.

Source: torch 2.13, torch/export/pt2_archive/_package.py and torch/_export/serde/serialize.py.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from torchgate.worker.exported_program_text import examine_program

_ROOT = r"[^/\\:]+"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_PROGRAM = "models/model.json"
_ADMITTED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id|\.format_version"
    r"|\.storage_alignment|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|extra/[^\\:]+"
)
_CONFIGS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_\d+"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_\d+"),
}
_REMEDY = 'Export it again with torch.export.save from plain tensors, or use format "class" with safetensors'


class ArchiveRefused(Exception):
    """The archive holds what we don't load; the text names it."""


def examined_copy(file: Path) -> io.BytesIO:
    """The archive as torch may read it.

    Raises:
        ArchiveRefused: it is no such archive, or holds something else than plain tensors and a plain program.
    """
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as out:
            _copy_examined(archive, out, file.stat().st_size)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ArchiveRefused(f"is no .pt2 archive ({error}). {_REMEDY}") from None
    copy.seek(0)
    return copy


def _copy_examined(archive: zipfile.ZipFile, out: zipfile.ZipFile, file_bytes: int) -> None:
    for entry, name in _examined_entries(archive, file_bytes):
        data = b"" if name == _SAMPLE_INPUTS else archive.read(entry)
        _examine_content(name, data)
        out.writestr(entry.filename, data)


def _examined_entries(archive: zipfile.ZipFile, file_bytes: int) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Each entry with its name under the archive's one folder."""
    entries = archive.infolist()
    # torch stores without compression, so that the whole can't be longer than the file, unless entries overlap.
    if sum(entry.file_size for entry in entries) > file_bytes:
        raise ArchiveRefused(f"holds more than its own {file_bytes} bytes. {_REMEDY}")
    seen: set[str] = set()
    roots = set()
    for entry in entries:
        root, _, name = entry.filename.partition("/")
        roots.add(root)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise ArchiveRefused(
                f"entry '{entry.filename}' is compressed or encrypted, as torch writes none. {_REMEDY}"
            )
        _examine_name(entry.filename, root, name)
        if name in seen:
            raise ArchiveRefused(f"entry '{entry.filename}' is there twice. {_REMEDY}")
        seen.add(name)
        yield entry, name
    if len(roots) != 1 or _PROGRAM not in seen:
        raise ArchiveRefused(f"is no archive of torch.export ('{_PROGRAM}' is missing). {_REMEDY}")


def _examine_name(filename: str, root: str, name: str) -> None:
    parts = PurePosixPath(filename).parts
    if filename.startswith("/") or ".." in parts or not re.fullmatch(_ROOT, root) or "\0" in filename:
        raise ArchiveRefused(f"entry '{filename}' points outside of the archive. {_REMEDY}")
    if name.startswith("data/aotinductor/"):
        raise ArchiveRefused('is an AOTInductor package: native code, which format "export" does not load')
    if not _ADMITTED.fullmatch(name):
        raise ArchiveRefused(f"entry '{filename}' is pickled, custom or unknown content. {_REMEDY}")


def _examine_content(name: str, data: bytes) -> None:
    if name == "byteorder" and data != b"little":
        raise ArchiveRefused(f"was written on a big-endian machine. {_REMEDY}")
    if name == _PROGRAM:
        refusal = examine_program(_json(name, data))
        if refusal:
            raise ArchiveRefused(f"{refusal}. {_REMEDY}")
    if name in _CONFIGS:
        _examine_config(name, _json(name, data), _CONFIGS[name])


def _examine_config(name: str, config: object, path: re.Pattern[str]) -> None:
    payloads = config.get("config") if isinstance(config, dict) else None
    if not isinstance(payloads, dict):
        raise ArchiveRefused(f"entry '{name}' is not as torch writes it. {_REMEDY}")
    for tensor, payload in payloads.items():
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise ArchiveRefused(f"'{tensor}' is pickled, and loading it would run code. {_REMEDY}")
        if not path.fullmatch(str(payload.get("path_name"))) or not isinstance(payload.get("tensor_meta"), dict):
            raise ArchiveRefused(f"'{tensor}' is a custom object and no plain tensor. {_REMEDY}")


def _json(name: str, data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ArchiveRefused(f"entry '{name}' is no JSON. {_REMEDY}") from None
