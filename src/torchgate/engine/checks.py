"""What `check` says about the engine's settings and the model repository."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torchgate.contract.back_end import Artifact
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest
from torchgate.engine.catalog import NOBODY_ASKED, SETTINGS_FILE, Catalog, CatalogEntry, read_catalog
from torchgate.engine.digest import DigestRefused, file_digests
from torchgate.engine.golden import GOLDEN_FILE, GoldenMistake, file_mistake, read_golden
from torchgate.engine.limit_checks import engine_limit_checks, limit_checks
from torchgate.engine.memory_budget import shown_bytes
from torchgate.engine.model_settings import LimitsSettings
from torchgate.engine.quota_checks import quota_checks, quota_model_checks
from torchgate.engine.quota_settings import QuotaSettings
from torchgate.engine.settings import EngineSettings, ModelsSettings
from torchgate.engine.trust import Trust

_DEFAULTS = LimitsSettings()


class Machine(NamedTuple):
    """What workers would have here.

    Args:
        controllers: of their control groups.
        no_tokens: why no model can act with its caller's rights; empty: one can.
    """

    controllers: Collection[str] = ()
    no_tokens: str = NOBODY_ASKED


_UNKNOWN_MACHINE = Machine()


def checks(
    engine: EngineSettings,
    models: ModelsSettings,
    folder: Path = Path(),
    *,
    quotas: Sequence[QuotaSettings] = (),
    roles: Collection[str] = (),
    machine: Machine = _UNKNOWN_MACHINE,
) -> Iterator[Finding]:
    """Examine `[engine]`, `[[quotas]]`, `[models]`, every model.toml and every signature; nothing is loaded.

    Args:
        models: its folder must be absolute.
        folder: of torchgate.toml, which paths of keys are relative to.
        roles: that exist, for the quotas.
        machine: this one.
    """
    yield from quota_checks(quotas, roles)
    catalog, findings = read_catalog(models, no_tokens=machine.no_tokens)
    yield from findings
    yield from quota_model_checks(quotas, catalog.entries)
    names = {ref.name for ref in catalog.entries}
    for index, name in enumerate(models.allow_code):
        if name not in names:
            hint = nearest(name, sorted(names)) if names else "There are no models."
            yield Finding("warning", f"there is no model {name!r}. {hint}", setting=f"models.allow_code.{index}")
    trust = Trust(models, folder)
    yield from _signer_checks(models, trust, names)
    for entry in catalog.entries.values():
        if not entry.mistake:
            yield from _version_checks(entry, trust)
            yield from limit_checks(entry.artifact, machine.controllers)
    yield from engine_limit_checks(engine, machine.controllers)
    yield from _memory_checks(engine, catalog)
    if engine.standbys == 0:
        yield Finding(
            "warning",
            "no worker stands by: while a dead one is replaced, its requests wait as long as importing torch takes.",
            setting="engine.standbys",
            remedy="Leave one, unless memory is scarcer than time.",
        )


def _signer_checks(models: ModelsSettings, trust: Trust, names: set[str]) -> Iterator[Finding]:
    for index, why in trust.mistakes:
        yield Finding("error", f"{why}.", setting=f"models.signers.{index}.public_key")
    ids = [signer.id for signer in models.signers]
    for index, signer in enumerate(models.signers):
        if ids.index(signer.id) != index:
            yield Finding("error", f"there are two signers {signer.id!r}.", setting=f"models.signers.{index}.id")
        for place, name in enumerate(signer.models or ()):
            if name not in names:
                hint = nearest(name, sorted(names)) if names else "There are no models."
                setting = f"models.signers.{index}.models.{place}"
                yield Finding("warning", f"there is no model {name!r}. {hint}", setting=setting)


def _version_checks(entry: CatalogEntry, trust: Trust) -> Iterator[Finding]:
    artifact = entry.artifact
    file = str(Path(artifact.folder).parent / SETTINGS_FILE)
    try:
        files = file_digests(Path(artifact.folder))
        if not entry.is_code_allowed:
            trust.signer(entry, files)
    except (DigestRefused, OSError) as error:
        yield Finding("error", str(error), file=artifact.folder)
    mistake = _golden_mistake(artifact)
    if mistake:
        yield Finding("error", f"{mistake}.", file=str(Path(artifact.folder) / GOLDEN_FILE))
    needed_s = (2 + max(1, artifact.max_batch_size)) * artifact.max_run_s
    is_chosen = (artifact.max_run_s, entry.max_timeout_s) != (_DEFAULTS.max_run_s, _DEFAULTS.max_timeout_s)
    if artifact.idempotent and is_chosen and entry.max_timeout_s < needed_s:  # what nobody chose is nobody's mistake
        yield Finding(
            "warning",
            f"it is {entry.max_timeout_s:g}, less than (2 + rows of a batch) * max_run_s = "
            f"{needed_s:g}: companions of a row that hangs may not get their answers in time.",
            file=file,
            setting="limits.max_timeout_s",
            remedy="Lower max_run_s to what the model really needs, or raise max_timeout_s.",
        )


def _golden_mistake(artifact: Artifact) -> str:
    try:
        golden = read_golden(Path(artifact.folder))
    except GoldenMistake as error:
        return str(error)
    return "" if golden is None else file_mistake(golden, artifact)


def _memory_checks(engine: EngineSettings, catalog: Catalog) -> Iterator[Finding]:
    """Whether what is loaded at the start fits."""
    needed = sum(
        entry.memory_bytes
        for ref, entry in catalog.entries.items()
        if not entry.mistake and (not entry.hands_over or catalog.defaults[ref.name] == ref.version)
    )
    if engine.memory_bytes and needed > engine.memory_bytes:
        yield Finding(
            "warning",
            f"all models together take {shown_bytes(needed)}, more than {shown_bytes(engine.memory_bytes)}: not all of "
            "them will be loaded, default versions first.",
            setting="engine.memory_bytes",
            remedy="Raise it, say memory_bytes in the model.toml where the estimate is wrong, or take some away.",
        )
