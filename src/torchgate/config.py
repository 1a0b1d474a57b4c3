"""The configuration of a server: file, then environment, then flags; the rooms' settings in one type.

A setting `gate.bind` of the file is `TORCHGATE_GATE_BIND` in the environment and `--set gate.bind=…` on the command
line, where it is a single value; lists and tables stand in the file alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pydantic

from torchgate.access.policy_settings import PolicySettings
from torchgate.access.secret_settings import SecretRefreshSettings
from torchgate.access.settings import (
    AccessSettings,
    DevelopmentSettings,
    IdentitySettings,
    RolesSettings,
    SecretsSettings,
)
from torchgate.contract.bounded_files import FileRefused, read_bounded
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import MAX_BYTES, Settings, examine_settings, nearest, read_toml
from torchgate.contract.toml_lines import Place, line_of
from torchgate.contract.virtual_accounts import ACCOUNT_PATTERN, as_peer
from torchgate.engine.pin.settings import PinSettings
from torchgate.engine.quota_settings import QuotaSettings
from torchgate.engine.settings import EngineSettings, ModelsSettings, ShareSettings
from torchgate.gate.settings import GateSettings
from torchgate.telemetry.settings import AuditSettings, TelemetrySettings

FILE_NAME = "torchgate.toml"
_PREFIX = "TORCHGATE_"
_SECRET_TABLES = ("secrets",)
_SECRET_LOOKS = (
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")),
    ("an API key of Torchgate", re.compile(r"\btg_[A-Za-z0-9-]{1,64}_[A-Za-z0-9]{32}_[A-Za-z0-9]{6}\b")),
    ("a development token", re.compile(r"\btgdev_[A-Za-z0-9_-]{16}")),
    ("a signed token", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.")),
    ("a cloud access key", re.compile(r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}")),
    ("a password in an address", re.compile(r"://[^/\s:@]+:[^/\s@]+@")),
)


class StateSettings(Settings):
    """Where the server keeps what it writes (`[state]`)."""

    folder: Path = Path(".torchgate")
    """Folder of the audit trail, keys and development tokens."""


class PoolSettings(Settings):
    """The pool apart from its gates (`torchgate pool`, `torchgate gate`); `serve` needs none of it."""

    gates: tuple[Annotated[str, pydantic.Field(pattern=ACCOUNT_PATTERN)], ...] = ()
    """Accounts whose gates the pool lets in: `uid:1000`, `IIS AppPool\\NAME`, `NT SERVICE\\NAME` or a SID `S-1-5-…`;
    empty: the pool's own account alone."""

    owner: Annotated[str, pydantic.Field(pattern=rf"^$|{ACCOUNT_PATTERN}")] = ""
    """Account that a gate's pool must run as, said in the same way; empty: the gate's own."""

    folder: Path | None = None
    """Where pool and gates meet, where their state folders differ; absent: state.folder."""

    @property
    def gate_accounts(self) -> tuple[str, ...]:
        """`gates` as a pipe says its peers: names that Windows makes by rule are SIDs."""
        return tuple(as_peer(account) for account in self.gates)

    @property
    def owner_account(self) -> str:
        """`owner` in the same way."""
        return as_peer(self.owner)


class TorchgateSettings(Settings):
    """All of torchgate.toml."""

    gate: GateSettings = GateSettings()
    identity: IdentitySettings = IdentitySettings()
    roles: Annotated[RolesSettings, pydantic.Field(default_factory=dict)]
    """Role → its members, e.g. `analyst = ["entra:role:Analyst", "key:ops"]`."""
    policy: PolicySettings = PolicySettings()
    development: DevelopmentSettings = DevelopmentSettings()
    secrets: Annotated[SecretsSettings, pydantic.Field(default_factory=dict)]
    """Name → where the secret is, e.g. `pepper = "file:secrets/pepper"`; never the secret itself."""
    secret_refresh: SecretRefreshSettings = SecretRefreshSettings()
    models: ModelsSettings = ModelsSettings()
    engine: EngineSettings = EngineSettings()
    quotas: tuple[QuotaSettings, ...] = ()
    """How much principals may use per minute, or at a time."""
    shares: tuple[ShareSettings, ...] = ()
    """What roles are worth where several principals want the same model; each role once."""
    audit: AuditSettings = AuditSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    state: StateSettings = StateSettings()
    pool: PoolSettings = PoolSettings()
    pin: PinSettings = PinSettings()

    @property
    def role_names(self) -> frozenset[str]:
        """Every role that somebody can have."""
        identities = self.development.identities if self.development.enabled else ()
        return frozenset(self.roles).union(*(identity.roles for identity in identities))

    @property
    def audit_folder(self) -> Path:
        """Where the trail lies."""
        return self.audit.folder or self.state.folder / "audit"


class Configuration(msgspec.Struct, frozen=True):
    """What was read, and where each value came from.

    Args:
        file: absolute path of the settings file.
        settings: None where there are mistakes; all its paths are absolute.
        findings: the mistakes, all of them.
        lines: of the file.
        origins: place → `environment variable …` or `--set`, for what does not come from the file.
        flags: that it was read with.
        digest: SHA-256 of the file, taken before it was read: a file that has it has not changed since.
    """

    file: Path
    settings: TorchgateSettings | None
    findings: tuple[Finding, ...]
    lines: Mapping[Place, int]
    origins: Mapping[Place, str]
    flags: tuple[str, ...] = ()
    digest: bytes = b""

    def locate(self, finding: Finding) -> Finding:
        """A room's finding with file and line, where it names a setting and no file."""
        if finding.file or not finding.setting:
            return finding
        place = tuple(int(part) if part.isdecimal() else part for part in finding.setting.split("."))
        if place in self.origins:
            return msgspec.structs.replace(finding, file=self.origins[place])
        return msgspec.structs.replace(finding, file=str(self.file), line=line_of(place, self.lines))

    def access_settings(self) -> AccessSettings:
        """The part that access is told; only where there are no mistakes."""
        settings = self.settings
        if settings is None:
            raise ValueError("the configuration has mistakes")
        return AccessSettings(
            settings.identity,
            settings.roles,
            settings.policy,
            settings.development,
            settings.secrets,
            folder=self.file.parent,
            roles_used_elsewhere=frozenset(quota.role for quota in settings.quotas if quota.role is not None),
        )


class Explained(msgspec.Struct, frozen=True):
    """One setting as `check --explain` shows it."""

    setting: str
    value: str
    origin: str
    default: str


def read_configuration(
    path: Path, environment: Mapping[str, str] | None = None, flags: Sequence[str] = ()
) -> Configuration:
    """The configuration of a project.

    Args:
        path: of torchgate.toml, or of the folder where it is.
        environment: of the process; None: none of it counts.
        flags: `section.key=value`, each.
    """
    file = (path / FILE_NAME if path.is_dir() else path).absolute()
    digest = file_digest(file)
    values, lines, findings = read_toml(file)
    if findings:
        if not os.path.lexists(file):
            remedy = "Name the project's folder, or make a project: torchgate init DIR."
            findings = [msgspec.structs.replace(finding, remedy=remedy) for finding in findings]
        return Configuration(file, None, tuple(findings), {}, {})
    findings = list(_secrets_in(values, (), str(file), lines))
    secret_settings = {finding.setting for finding in findings}
    origins: dict[Place, str] = {}
    for origin, place, text in (*_from_environment(environment or {}, findings), *_from_flags(flags, findings)):
        _put(values, place, _plain_value(place, text))
        origins[place] = origin
    settings, mistakes = examine_settings(values, TorchgateSettings, str(file), lines, secret_tables=_SECRET_TABLES)
    findings += [_with_origin(mistake, origins) for mistake in mistakes if mistake.setting not in secret_settings]
    if findings or settings is None:
        return Configuration(file, None, tuple(findings), lines, origins)
    return Configuration(file, _absolute(settings, file.parent), (), lines, origins, tuple(flags), digest)


def flag_mistakes(flags: Sequence[str]) -> list[str]:
    """What is wrong with `section.key=value`s whatever a file says, each in a sentence."""
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    origins: dict[Place, str] = {}
    for origin, place, text in _from_flags(flags, findings):
        _put(values, place, _plain_value(place, text))
        origins[place] = origin
    _, mistakes = examine_settings(values, TorchgateSettings, FILE_NAME, {}, secret_tables=_SECRET_TABLES)
    # What is missing beside them, or does not go together with it, may well stand in the file.
    named = {".".join(map(str, place)) for place in origins}
    findings += [_with_origin(mistake, origins) for mistake in mistakes if mistake.setting in named]
    return [str(finding) for finding in findings]


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's content; of one that can't be read, the number of its error, or why it was refused."""
    try:
        return hashlib.sha256(read_bounded(path, MAX_BYTES)).digest()
    except FileRefused as refused:
        return str(refused).encode("ascii")
    except OSError as error:
        return str(error.errno).encode("ascii")


def without_secrets(text: str) -> str:
    """A text for people: from the first thing on that looks like a secret, nothing of it is left."""
    for name, look in _SECRET_LOOKS:
        if found := look.search(text):
            text = f"{text[: found.start()]}(here is {name}; the rest is not shown)"
    return text


def explain(configuration: Configuration) -> Iterator[Explained]:
    """Every setting with its value, where it came from, and its default."""
    if configuration.settings is not None:
        yield from _explain(configuration.settings, (), configuration)


def scalar_places(shape: type[Settings] = TorchgateSettings, around: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The place and type of every setting that is a single value, so that environment and flags can set it."""
    for name, field in shape.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Settings):
            yield from scalar_places(annotation, (*around, name))
        elif not _is_compound(annotation):
            yield (*around, name), annotation


def _is_compound(annotation: Any) -> bool:
    if get_origin(annotation) in (tuple, list, dict, frozenset) or annotation in (tuple, list, dict, frozenset):
        return True
    is_settings = isinstance(annotation, type) and issubclass(annotation, Settings)
    return is_settings or any(_is_compound(inner) for inner in get_args(annotation))


def _from_environment(environment: Mapping[str, str], findings: list[Finding]) -> Iterator[tuple[str, Place, str]]:
    known = {_PREFIX + "_".join(map(str, place)).upper(): place for place, _ in scalar_places()}
    sections = tuple(f"{_PREFIX}{name.upper()}_" for name in TorchgateSettings.model_fields)
    for name, text in sorted(environment.items()):
        if name in known:
            yield f"environment variable {name}", known[name], text
        elif name.startswith(sections):
            sentence = f"no single value has this name. {_hint(name, list(known))}"
            findings.append(Finding("error", sentence, file=f"environment variable {name}"))


def _from_flags(flags: Sequence[str], findings: list[Finding]) -> Iterator[tuple[str, Place, str]]:
    known = {".".join(map(str, place)): place for place, _ in scalar_places()}
    for flag in flags:
        name, equals, text = flag.partition("=")
        if equals and name in known:
            yield f"--set {name}", known[name], text
        else:
            sentence = f"no single value has this name. {_hint(name, list(known))}" if equals else "has no '='."
            # What has no '=' is not repeated: it may be a secret that was put into the wrong place.
            findings.append(Finding("error", sentence, file=f"--set {name}" if equals else "--set"))


def _hint(name: str, known: list[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("Did") else "`torchgate check --explain` lists them."


def _plain_value(place: Place, text: str) -> Any:
    """The value of a text, by its setting's type; text that does not fit stays as it is and is found wrong later."""
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(dict(scalar_places())[place])
    try:
        value = adapter.validate_strings(text)
    except pydantic.ValidationError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _put(values: dict[str, Any], place: Place, value: Any) -> None:
    table = values
    for part in place[:-1]:
        table = table.setdefault(str(part), {})
        if not isinstance(table, dict):
            return  # not a table: found wrong where it stands
    table[str(place[-1])] = value


def _secrets_in(value: Any, place: Place, file: str, lines: Mapping[Place, int]) -> Iterator[Finding]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _secrets_in(inner, (*place, name), file, lines)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secrets_in(inner, (*place, index), file, lines)
    elif isinstance(value, str) and (look := next((name for name, like in _SECRET_LOOKS if like.search(value)), "")):
        yield Finding(
            "error",
            f"this looks like {look}, and a settings file must not hold secrets.",
            file=file,
            line=line_of(place, lines),
            setting=".".join(map(str, place)),
            remedy="Take it out, treat it as known to others, and write a reference (file:PATH) where one is allowed.",
        )


def _with_origin(mistake: Finding, origins: Mapping[Place, str]) -> Finding:
    origin = origins.get(tuple(mistake.setting.split(".")))
    return mistake if origin is None else msgspec.structs.replace(mistake, file=origin, line=0)


def _absolute(settings: Any, folder: Path) -> Any:
    """The same settings with every path absolute, so that no later change of the working folder matters."""
    if isinstance(settings, Path):
        return folder / settings
    if isinstance(settings, tuple):
        return tuple(_absolute(inner, folder) for inner in settings)
    if isinstance(settings, Settings):
        changed = {name: _absolute(getattr(settings, name), folder) for name in type(settings).model_fields}
        return settings.model_copy(update=changed)
    return settings


def _explain(settings: Settings, around: Place, configuration: Configuration) -> Iterator[Explained]:
    for name, field in type(settings).model_fields.items():
        place, value = (*around, name), getattr(settings, name)
        if isinstance(value, Settings):
            yield from _explain(value, place, configuration)
            continue
        line = configuration.lines.get(place, 0)
        origin = configuration.origins.get(place) or (f"{configuration.file.name}:{line}" if line else "default")
        default = "(none)" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield Explained(".".join(map(str, place)), _shown(value), origin, default)


def _shown(value: Any) -> str:
    if isinstance(value, Settings):
        return "{" + ", ".join(f"{key} = {_shown(inner)}" for key, inner in value) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
