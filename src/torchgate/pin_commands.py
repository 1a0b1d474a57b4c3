"""`torchgate pin`: write down what this project was proven with, or compare it with what was written down."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.counted import counted
from torchgate.contract.whole_files import write_whole
from torchgate.engine.catalog import Catalog, read_catalog
from torchgate.engine.digest import DigestRefused, folder_digest
from torchgate.engine.pin.compare import Mismatch, mismatches, model_mismatch, release_numbers
from torchgate.engine.pin.lock import LOCK_FILE, DriverFloor, Lock, LockRefused, lock_of, lock_text, read_lock
from torchgate.engine.pin.surveyor import Seen, SurveyEnded
from torchgate.engine.pin.verification import unknown
from torchgate.engine_composition import surveyor
from torchgate.sign_commands import CannotSign, project_settings
from torchgate.terminal import WrongUse, fail, note, say


class CannotPin(Exception):
    """Why nothing was written; the text is for the person at the terminal."""


def pin(parsed: argparse.Namespace) -> int:
    """Write the lock, or with --verify say what differs from it; the exit code.

    Raises:
        WrongUse: --files without --verify.
    """
    if parsed.files and not parsed.verify:
        raise WrongUse("--files reads what is installed, and a lock holds no files: say --verify with it.")
    try:
        configuration, settings = project_settings(parsed)
        if parsed.timeout_s is not None:
            settings = settings.model_copy(
                update={"pin": settings.pin.model_copy(update={"timeout_s": parsed.timeout_s})}
            )
        file = configuration.file.parent / LOCK_FILE
        if parsed.verify:
            return _verify(file, configuration, settings, is_json=parsed.json, with_files=parsed.files)
        return _write(file, configuration, settings, is_json=parsed.json)
    except (CannotPin, CannotSign, LockRefused) as why:
        return fail(str(why))
    except OSError as error:
        return fail(f"{error.filename or 'the project'} can't be read or written: {error.strerror or error}.")


def _verify(
    file: Path, configuration: Configuration, settings: TorchgateSettings, *, is_json: bool, with_files: bool
) -> int:
    lock = read_lock(file)
    if lock is None:
        raise CannotPin(f"{file} is not there, so that nothing is locked. Write it: torchgate pin")
    catalog, is_sound = _catalog(configuration, settings)
    found = [*_of_installation(lock, settings, with_files=with_files), *_of_models(lock, catalog)]
    is_verified = is_sound and not found
    if is_json:
        answer = {"lock": str(file), "verified": is_verified, "mismatches": msgspec.to_builtins(found)}
        say(json.dumps(answer, ensure_ascii=False))
    else:
        for mismatch in found:
            for line in _lines(mismatch):
                say(line)
        if is_verified:
            say(f"{file}: what is locked is what is here.")
        else:
            differing = counted(len(found), "fact") if found else "there are mistakes in the models"
            say(f"{file}: NOT what is here: {differing}.")
    return 0 if is_verified else 1


def _of_installation(lock: Lock, settings: TorchgateSettings, *, with_files: bool) -> Iterator[Mismatch]:
    try:
        seen = _survey(settings, sorted(lock.canary.devices), with_files=with_files)
    except SurveyEnded as ended:
        yield unknown(ended)
        return
    yield from mismatches(lock, lock_of(seen.facts, seen.canaries, {}), seen.troubles)
    for file in seen.altered:
        yield Mismatch("wheels", "its wheel's files", file, "Install the distribution again, from the same wheel")


def _of_models(lock: Lock, catalog: Catalog) -> Iterator[Mismatch]:
    here = _digests(catalog)
    for ref in sorted({*lock.models, *here}):
        mismatch = model_mismatch(lock, ref, here.get(ref, ""))
        if mismatch is not None:
            yield mismatch


def _write(file: Path, configuration: Configuration, settings: TorchgateSettings, *, is_json: bool) -> int:
    catalog, is_sound = _catalog(configuration, settings)
    if not is_sound:
        # A lock without the broken model would have it unlocked for good, once it is mended.
        raise CannotPin(
            f"the models of {configuration.file} have these mistakes; nothing was written. `torchgate check` examines "
            "the rest."
        )
    before = _lock_before(file)
    try:
        seen = _survey(settings, None)
    except SurveyEnded as ended:
        raise CannotPin(f"{ended}. Nothing was written; `torchgate doctor` examines the installation.") from None
    if seen.failures:
        failed = "; ".join(f"{device}: {why}" for device, why in sorted(seen.failures.items()))
        raise CannotPin(f"not every device computes, and nothing was written: {failed}.")
    lock = lock_of(seen.facts, seen.canaries, _digests(catalog))
    if before is not None:
        lock = _with_floors_of(before, lock)
    _replace(file, lock_text(lock))
    changes = list(_changes(before, lock)) if before is not None else []
    if is_json:
        say(json.dumps({"lock": str(file), "changes": msgspec.to_builtins(changes)}, ensure_ascii=False))
        return 0
    for change in changes:
        say(f"{change.fact}: {change.locked} -> {change.seen}")
    say(f"wrote {file}: {_summary(lock)}")
    if seen.facts.trouble and seen.facts.torch.cuda:
        note(f"Not all could be found out: {seen.facts.trouble}.")
    if settings.pin.mode != "enforce":
        note(f'pin.mode is "{settings.pin.mode}" in {configuration.file}: servers are not held to it.')
    return 0


def _replace(file: Path, text: str) -> None:
    """Put a text in a file's place, whole or not at all."""
    try:
        write_whole(file, text.encode("utf-8"))
    except OSError as error:
        raise CannotPin(f"{file} can't be written: {error.strerror or error}. Nothing was written.") from None


def _survey(settings: TorchgateSettings, canaries: Sequence[str] | None, *, with_files: bool = False) -> Seen:
    note("surveying this installation in a process of its own")
    try:
        return asyncio.run(surveyor(settings).survey(canaries, with_files=with_files))
    except SurveyEnded as ended:
        for line in ended.printed:
            note(f"  | {line}")
        raise


def _catalog(configuration: Configuration, settings: TorchgateSettings) -> tuple[Catalog, bool]:
    """The models, and whether there is no error in them; what was found is printed.

    Whether callers' rights can be had is the server's matter: a model that asks for them is the same files anywhere.
    """
    catalog, findings = read_catalog(settings.models, no_tokens="")
    for finding in findings:
        note(str(configuration.locate(finding)))
    return catalog, not any(finding.severity == "error" for finding in findings)


def _digests(catalog: Catalog) -> dict[str, str]:
    """`name:version` → digest of its folder, for every version that could be loaded."""
    digests = {}
    for ref, entry in sorted(catalog.entries.items()):
        if entry.mistake:
            continue
        try:
            digests[str(ref)] = folder_digest(Path(entry.artifact.folder))
        except DigestRefused as refused:
            raise CannotPin(f"{ref} can't be locked: {refused}") from None
    return digests


def _lock_before(file: Path) -> Lock | None:
    try:
        return read_lock(file)
    except LockRefused as refused:
        note(f"{refused} It is replaced.")
        return None


def _with_floors_of(before: Lock, lock: Lock) -> Lock:
    """Floors that somebody has set lower stay, while the torch is the same that they were set for."""
    if before.torch != lock.torch:
        return lock
    release, cuda = before.driver.release_floor, before.driver.cuda_floor
    if release and release_numbers(release) > release_numbers(lock.driver.release_floor):
        release = lock.driver.release_floor
    floor = DriverFloor(
        release or lock.driver.release_floor, min(cuda, lock.driver.cuda_floor) or lock.driver.cuda_floor
    )
    return msgspec.structs.replace(lock, driver=floor)


def _changes(before: Lock, lock: Lock) -> Iterator[Mismatch]:
    yield from mismatches(before, lock)
    for ref in sorted({*before.models, *lock.models}):
        mismatch = model_mismatch(before, ref, lock.models.get(ref, ""))
        if mismatch is not None:
            yield mismatch


def _lines(mismatch: Mismatch) -> tuple[str, ...]:
    return (
        mismatch.fact,
        f"  locked  {mismatch.locked}",
        f"  seen    {mismatch.seen}",
        f"  remedy  {mismatch.remedy}.",
    )


def _summary(lock: Lock) -> str:
    devices = _counted({one.name: sum(other.name == one.name for other in lock.devices) for one in lock.devices})
    return (
        f"torch {lock.torch.version}, Python {lock.python.version}, {devices or 'no CUDA device'}, "
        f"{counted(len(lock.models), 'model version')}, {counted(len(lock.wheels), 'distribution')}."
    )


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in names.items())
