"""`torchgate models tune`: measures ways to run a version in a throw-away process, and writes the fastest down."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import tempfile
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from torchgate.composition import private_folders
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.back_end import Artifact
from torchgate.contract.os_services import ChildSpec
from torchgate.contract.tuning import (
    PACKAGE,
    FromTuner,
    Tune,
    TuneDone,
    TuneFailed,
    TuneStep,
    decode_from_tuner,
    encode_tuning,
)
from torchgate.contract.whole_files import write_whole
from torchgate.contract.worker_wire import Frames, WireError
from torchgate.engine.catalog import SETTINGS_FILE, CatalogEntry, read_catalog
from torchgate.engine.digest import DigestRefused
from torchgate.engine.model_signature import SIGNATURE_FILE
from torchgate.engine.trust import Trust
from torchgate.engine.trusted_code import SignedCode
from torchgate.engine.tuned_table import CannotWrite, tuned_table, with_tuned
from torchgate.engine.worker_environment import fair_threads, worker_environment
from torchgate.engine_composition import operating_system
from torchgate.sign_commands import CannotSign, project_settings, wanted_entry
from torchgate.terminal import fail, note, say

MODULE = "torchgate.tune_app"
_COMPILER_VARIABLES = (
    "CXX", "CC", "INCLUDE", "LIB", "LIBPATH", "VCINSTALLDIR", "VCTOOLSINSTALLDIR", "WINDOWSSDKDIR",
    "VSCMD_ARG_TGT_ARCH",
)  # fmt: skip
"""What compilers find their headers and libraries by; a worker has no need of them."""

_SHOWN_LINES = 40


class CannotTune(Exception):
    """Why nothing was measured; the text is for the person at the terminal."""


def tune_model(parsed: argparse.Namespace) -> int:
    """Measure a version, say what came of it, and write it into model.toml."""
    try:
        configuration, settings = project_settings(parsed)
        catalog, _ = read_catalog(settings.models)
        entry = wanted_entry(parsed.model, catalog)
        with tempfile.TemporaryDirectory(prefix="torchgate-tune-", ignore_cleanup_errors=True) as scratch:
            artifact = _examined(entry, configuration, settings, Path(scratch) / "copies")
            others = [one.artifact for one in catalog.entries.values() if not one.mistake]
            threads = artifact.threads or _threads(settings, others)
            order = _order(artifact, Path(scratch), parsed.seconds)
            done = asyncio.run(_in_a_process(order, settings, threads, parsed.timeout_s))
            if not parsed.dry_run:
                _write(entry, done, Path(order.package))
    except (CannotSign, CannotTune, CannotWrite, DigestRefused) as why:
        return fail(str(why))
    except OSError as error:
        return fail(f"{error.filename or parsed.model} can't be read or written: {error.strerror or error}.")
    _say(entry, done, is_json=parsed.json, is_written=not parsed.dry_run)
    return 0


def _examined(entry: CatalogEntry, configuration: Configuration, settings: TorchgateSettings, copies: Path) -> Artifact:
    """The version as a server would load it: measuring runs its code."""
    if entry.is_code_allowed:
        return entry.artifact
    trust = Trust(settings.models, configuration.file.parent)
    signed = SignedCode(trust, copies, private_folders().make_private)
    return msgspec.structs.replace(entry.artifact, folder=signed.examine(entry).folder)


def _threads(settings: TorchgateSettings, artifacts: list[Artifact]) -> int:
    """The share that a worker of the running server would get."""
    cores = settings.engine.threads or os.cpu_count() or 1
    saying = sum(artifact.replicas * artifact.threads for artifact in artifacts)
    sharing = sum(artifact.replicas for artifact in artifacts if not artifact.threads)
    return fair_threads(cores - min(saying, cores - 1), sharing)


def _order(artifact: Artifact, scratch: Path, budget_s: float) -> Tune:
    return Tune(
        model=artifact.ref.name,
        version=artifact.ref.version,
        format=artifact.format,
        folder=artifact.folder,
        entry=artifact.entry,
        signature=artifact.signature,
        max_batch_size=artifact.max_batch_size,
        device=artifact.device,
        parameters=artifact.parameters,
        package=str(scratch / "aoti.pt2"),
        budget_s=budget_s,
    )


class _Tuner:
    """What the process says; implements os_services.ChannelReceiver."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[TuneDone] = asyncio.get_running_loop().create_future()
        self.printed: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._frames = Frames()
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        """Messages, cut anywhere."""
        try:
            for frame in self._frames.feed(data):
                self._received(decode_from_tuner(frame))
        except (WireError, msgspec.MsgspecError) as error:
            self._fail(f"the process sent what is no message of ours ({error})")

    def channel_closed(self) -> None:
        """It has ended."""
        self._fail("the process ended before it was done; maybe there was not enough memory")

    def output(self, data: bytes) -> None:
        """What it printed; shown only where it fails."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._pending = self._pending[-4096:]
        self.printed.extend(ascii(line.decode("utf-8", "replace").rstrip())[1:-1] for line in lines if line.strip())

    def _received(self, message: FromTuner) -> None:
        match message:
            case TuneStep():
                note(f"  {message.sentence}")
            case TuneDone() if not self.answer.done():
                self.answer.set_result(message)
            case TuneFailed():
                self.printed.extend(message.detail.splitlines())
                self._fail(message.reason.rstrip("."))

    def _fail(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(CannotTune(f"{why}."))


async def _in_a_process(order: Tune, settings: TorchgateSettings, threads: int, timeout_s: float) -> TuneDone:
    """What a process that ends afterwards measured."""
    more = (*settings.engine.worker_environment, *_COMPILER_VARIABLES)
    environment = worker_environment(os.environ, more, threads)
    scratch = Path(order.package).parent
    # One compiler at a time, its cache thrown away: nothing is left on this machine.
    environment |= {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "cache"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    tuner = _Tuner()
    spec = ChildSpec("tuning", MODULE, (), environment, Path(tempfile.gettempdir()))
    children = operating_system()[0]
    note(f"{order.model}:{order.version}: measuring in a process of its own, {threads} threads")
    child = await children.start(spec, tuner, tuner.output)
    try:
        child.write(encode_tuning(order))
        async with asyncio.timeout(timeout_s):
            return await tuner.answer
    except TimeoutError:
        raise CannotTune(f"it took longer than {timeout_s:g} s and was ended. Allow more by --timeout-s.") from None
    except CannotTune:
        for line in tuner.printed:
            note(f"  | {line}")
        raise
    finally:
        child.kill()
        await child.wait()


def _write(entry: CatalogEntry, done: TuneDone, package: Path) -> None:
    """The package and then the table, so that at no time the table names what is not there."""
    folder = Path(entry.artifact.folder)
    target, file = folder / PACKAGE, folder.parent / SETTINGS_FILE
    text = file.read_bytes().decode("utf-8")
    table = tuned_table(entry.artifact.ref.version, done, datetime.now(UTC).date())
    try:
        new = with_tuned(text, entry.artifact.ref.version, table)
    except CannotWrite as why:
        raise CannotWrite(f"{file} was left as it is: {why}:\n\n{table}") from None
    if done.tuned.choice == "aoti":
        target.parent.mkdir(exist_ok=True)
        draft = target.with_suffix(".draft")
        shutil.copyfile(package, draft)
        draft.replace(target)
    write_whole(file, new.encode("utf-8"))
    if done.tuned.choice != "aoti" and target.parent.is_dir():
        shutil.rmtree(target.parent)


def _say(entry: CatalogEntry, done: TuneDone, *, is_json: bool, is_written: bool) -> None:
    ref = entry.artifact.ref
    if is_json:
        say(json.dumps({"name": ref.name, "version": ref.version, **msgspec.to_builtins(done)}))
    else:
        for line in _lines(entry, done):
            say(line)
    if is_written:
        note(f"\nwrote [tuned.{ref.version}] into {Path(entry.artifact.folder).parent / SETTINGS_FILE}")
        before = entry.artifact.tuned
        is_changed = done.tuned.choice != "eager" or (before is not None and before.choice != "eager")
        if is_changed and (Path(entry.artifact.folder) / SIGNATURE_FILE).exists():
            note(f"What a signature of {ref} covers has changed with it; sign it again: torchgate models sign {ref}")


def _lines(entry: CatalogEntry, done: TuneDone) -> list[str]:
    eager = done.candidates[0]
    rows = [f"{count} rows" if count > 1 else "1 row" if count else "a run" for count in done.rows]
    lines = [
        f"{entry.artifact.ref}: median ms, {done.threads} threads",
        f"{'':16}" + "".join(f"{one:>20}" for one in rows),
    ]
    for one in done.candidates:
        if not one.median_ms:
            lines.append(f"{one.choice:16}not possible: {one.reason}")
            continue
        cells = [f"{ms:.3f} ({plain / ms:.2f}x)" for ms, plain in zip(one.median_ms, eager.median_ms, strict=True)]
        lines.append(
            f"{one.choice:16}" + "".join(f"{cell:>20}" for cell in cells) + f"   differs by {one.difference:.1e}"
        )
    allowed = ", ".join(f"{name} {value:g}" for name, value in done.tolerances.items())
    lines.append(f"answers may differ by, as a part of an output's largest value: {allowed}")
    lines.append(f"chosen: {done.tuned.choice}{f' ({done.reason})' if done.reason else ''}")
    return lines
