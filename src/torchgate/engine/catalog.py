"""The model repository as it lies on disk: which versions there are, and what is wrong with those that can't serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from torchgate.contract.back_end import Artifact
from torchgate.contract.decision import ModelRef
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import examine_settings, read_toml
from torchgate.contract.tensors import Signature
from torchgate.contract.toml_lines import Place, line_of
from torchgate.engine.digest import folder_bytes
from torchgate.engine.model_names import is_version, name_mistake
from torchgate.engine.model_settings import ModelSettings
from torchgate.engine.model_signature import SIGNATURE_FILE
from torchgate.engine.settings import ModelsSettings
from torchgate.engine.version_format import FormatUnknown, format_and_entry

NO_VERSION = "none"
"""Stands for the version of a model that has no version folder, so that `models status` can show it as failed."""

SETTINGS_FILE = "model.toml"


NOBODY_ASKED = "nobody has looked whether it can here"


def no_impersonation(why: str) -> str:
    """What keeps a model from being served that relies on its caller's rights: it must not run with more.

    Args:
        why: it can't have them.
    """
    return (
        f"it asks to act with its caller's rights (impersonate = true), and can't have them: {why}. With the server's "
        "rights it is not served. Or take it out, and let the model decide by `batch.principals`, which it is given."
    )


class CatalogEntry(msgspec.Struct, frozen=True):
    """One version of one model.

    Args:
        artifact: what a back end is given; its digest is empty until the version is loaded, because reading all
            weights takes long.
        max_batch_delay_s, max_timeout_s: seconds.
        request_parameters: those that reach the model.
        is_code_allowed: torchgate.toml says that its code may run unsigned; else it must be signed.
        memory_bytes: of all replicas, as model.toml says or as estimated.
        hands_over: only one version of this model is loaded at a time.
        mistake: why it can't be served, or empty; then the artifact is as good as could be known.
    """

    artifact: Artifact
    max_batch_delay_s: float = 0.0
    max_timeout_s: float = 60.0
    request_parameters: tuple[str, ...] = ()
    is_code_allowed: bool = False
    memory_bytes: int = 0
    hands_over: bool = False
    mistake: str = ""


class Catalog(msgspec.Struct, frozen=True):
    """All versions, and which one a bare name means.

    Args:
        entries: by reference.
        defaults: name → version.
        pinned: names whose model.toml says which version it is; else it is the highest.
    """

    entries: Mapping[ModelRef, CatalogEntry]
    defaults: Mapping[str, str]
    pinned: frozenset[str] = frozenset()


def read_catalog(settings: ModelsSettings, *, no_tokens: str = NOBODY_ASKED) -> tuple[Catalog, list[Finding]]:
    """The repository, and every mistake in it. A broken model stays in the catalog, with its mistake.

    Args:
        settings: its folder must be absolute.
        no_tokens: why no model can act with its caller's rights here; empty: one can.
    """
    reading = _Reading(settings, no_tokens)
    try:
        folders = model_folders(settings.folder)
    except OSError as error:
        finding = Finding(
            "error",
            f"{settings.folder} can't be read: {error.strerror or error}.",
            setting="models.folder",
            remedy="Make the folder, or name another one.",
        )
        return Catalog({}, {}), [finding]
    for folder in folders:
        reading.model(folder)
    return reading.catalog(), reading.findings


def read_model(settings: ModelsSettings, name: str, *, no_tokens: str = NOBODY_ASKED) -> Catalog | None:
    """What the repository has of one model now; None when it has no folder of exactly this name.

    Args:
        no_tokens: as of `read_catalog`.

    Raises:
        OSError: the repository can't be read.
    """
    reading = _Reading(settings, no_tokens)
    for folder in model_folders(settings.folder):
        if folder.name == name and not name_mistake(name):
            reading.model(folder)
            return reading.catalog()
        reading.pass_by(folder)
    return None


def model_folders(repository: Path) -> list[Path]:
    """Those that may hold a model, sorted; names that begin with `.` or `_` are somebody's work in progress.

    Raises:
        OSError: it can't be read.
    """
    return sorted(path for path in repository.iterdir() if path.is_dir() and path.name[:1] not in "._")


class _Reading:
    """Goes through the repository once."""

    def __init__(self, settings: ModelsSettings, no_tokens: str) -> None:
        self._no_tokens = no_tokens
        self._allowed = frozenset(settings.allow_code)
        self.entries: dict[ModelRef, CatalogEntry] = {}
        self.defaults: dict[str, str] = {}
        self.findings: list[Finding] = []
        self._pinned: set[str] = set()
        self._names: dict[str, str] = {}

    def catalog(self) -> Catalog:
        """What was found."""
        return Catalog(self.entries, self.defaults, frozenset(self._pinned))

    def pass_by(self, folder: Path) -> None:
        """Know of a model without looking into its folder."""
        self._names.setdefault(folder.name.lower(), folder.name)

    def model(self, folder: Path) -> None:
        """One model's folder."""
        mistake = name_mistake(folder.name)
        if mistake:
            # Such a name could not be asked for, so that it has no place in the catalog either.
            self._error(folder, f"a model can't be named {folder.name!r}: it {mistake}. Rename the folder.")
            return
        file = folder / SETTINGS_FILE
        settings, lines, mistake = self._settings(file)
        twin = self._names.setdefault(folder.name.lower(), folder.name)
        if twin != folder.name:
            mistake = f"there is also a model {twin!r}, and names must differ in more than case. Rename one."
            self._error(folder, mistake)
        versions = self._versions(folder)
        if not versions:
            mistake = mistake or f"{folder} holds no version: a folder named 1, 2, … with the model in it. Make one."
            self._error(folder, mistake)
            self._fail(ModelRef(folder.name, NO_VERSION), folder, settings, mistake)
            self.defaults[folder.name] = NO_VERSION
            return
        for version in versions:
            line = line_of(("entry",), lines) or line_of(("format",), lines)
            self._version(ModelRef(folder.name, version), folder / version, (settings, line), mistake)
        self.defaults[folder.name] = self._default(settings, versions, file, lines)

    def _settings(self, file: Path) -> tuple[ModelSettings | None, Mapping[Place, int], str]:
        values, lines, findings = read_toml(file)
        settings = None
        if not findings:
            settings, findings = examine_settings(values, ModelSettings, str(file), lines)
        self.findings += findings
        if settings is not None and settings.impersonate and self._no_tokens and not findings:
            line, mistake = line_of(("impersonate",), lines), no_impersonation(self._no_tokens)
            self.findings.append(Finding("error", mistake, str(file), line, "impersonate"))
            return settings, lines, mistake
        if not findings:
            return settings, lines, ""
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        return None, lines, f"{findings[0]}{more} `torchgate check` shows all."

    def _versions(self, folder: Path) -> list[str]:
        versions = []
        try:
            inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[:1] not in "._")
        except OSError as error:
            self._error(folder, f"can't be read: {error.strerror or error}.")
            return []
        for path in inside:
            if is_version(path.name):
                versions.append(path.name)
            else:
                sentence = f"{path.name!r} is no version, and is not served: versions are folders named 1, 2, …"
                self.findings.append(Finding("warning", sentence, file=str(path)))
        return sorted(versions, key=int)

    def _default(
        self, settings: ModelSettings | None, versions: list[str], file: Path, lines: Mapping[Place, int]
    ) -> str:
        wanted = settings.default_version if settings is not None else None
        if wanted is None:
            return versions[-1]
        self._pinned.add(file.parent.name)
        if wanted not in versions:
            sentence = f"there is no version {wanted!r}. There is: {', '.join(versions)}."
            line = line_of(("default_version",), lines)
            self.findings.append(Finding("error", sentence, file=str(file), line=line, setting="default_version"))
        return wanted

    def _version(
        self, ref: ModelRef, folder: Path, settings_and_line: tuple[ModelSettings | None, int], mistake: str
    ) -> None:
        settings, line = settings_and_line
        if settings is None or mistake:
            self._fail(ref, folder, settings, mistake)
            return
        try:
            kind, entry = format_and_entry(settings, folder)
        except (FormatUnknown, OSError) as error:
            self.findings.append(Finding("error", str(error), file=str(folder.parent / SETTINGS_FILE), line=line))
            self._fail(ref, folder, settings, str(error))
            return
        if settings.impersonate and kind != "class":
            mistake = (
                f"impersonate = true is for code that asks for its caller's rights (format 'class'); format {kind!r} "
                "has none that could. Take it out."
            )
            self.findings.append(Finding("error", mistake, str(folder.parent / SETTINGS_FILE), line, "impersonate"))
            self._fail(ref, folder, settings, mistake)
            return
        is_allowed = ref.name in self._allowed
        if not is_allowed and not (folder / SIGNATURE_FILE).is_file():
            mistake = (
                f"{ref.name!r} holds code (format {kind!r}) that nobody signed or allowed. Have it signed (`torchgate "
                f'models sign`), or where you trust it, add "{ref.name}" to models.allow_code in torchgate.toml.'
            )
            self.findings.append(Finding("error", mistake, setting="models.allow_code"))
        artifact = _artifact(ref, folder, settings, (kind, entry))
        found = _entry(artifact, settings, mistake)
        self.entries[ref] = msgspec.structs.replace(found, is_code_allowed=is_allowed)

    def _fail(self, ref: ModelRef, folder: Path, settings: ModelSettings | None, mistake: str) -> None:
        if settings is None:
            empty = Artifact(ref, "class", str(folder), "", "", Signature((), ()), 0)
            self.entries[ref] = CatalogEntry(empty, mistake=mistake)
        else:
            artifact = _artifact(ref, folder, settings, (settings.format or "class", settings.entry or ""))
            self.entries[ref] = _entry(artifact, settings, mistake)

    def _error(self, path: Path, sentence: str) -> None:
        self.findings.append(Finding("error", sentence, file=str(path)))


def _artifact(ref: ModelRef, folder: Path, settings: ModelSettings, kind_and_entry: tuple[str, str]) -> Artifact:
    return Artifact(
        ref=ref,
        format=kind_and_entry[0],
        folder=str(folder.absolute()),
        entry=kind_and_entry[1],
        digest="",
        signature=settings.signature(),
        max_batch_size=settings.batching.max_batch_size,
        replicas=settings.replicas,
        threads=settings.threads,
        device=settings.device,
        device_weight=settings.device_weight,
        limits=settings.resources.limits(),
        parameters=settings.parameters,
        load_timeout_s=settings.limits.load_timeout_s,
        max_run_s=settings.limits.max_run_s,
        idempotent=settings.idempotent,
        warm_up=settings.warm_up.runs,
        tuned=settings.tuned[ref.version].tuned() if ref.version in settings.tuned else None,
        impersonates=settings.impersonate,
    )


def _entry(artifact: Artifact, settings: ModelSettings, mistake: str) -> CatalogEntry:
    return CatalogEntry(
        artifact,
        memory_bytes=settings.replicas * (settings.memory_bytes or 2 * folder_bytes(Path(artifact.folder))),
        hands_over=settings.reload == "hand_over",
        max_batch_delay_s=settings.batching.max_batch_delay_s,
        max_timeout_s=settings.limits.max_timeout_s,
        request_parameters=settings.request_parameters,
        mistake=mistake,
    )
