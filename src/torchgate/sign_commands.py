"""`torchgate models keygen`, `sign` and `verify`: who vouches for which model; offline, without torch."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from torchgate.config import Configuration, TorchgateSettings, read_configuration
from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.contract.counted import counted
from torchgate.contract.decision import ModelRef
from torchgate.contract.settings_file import nearest
from torchgate.engine.catalog import Catalog, CatalogEntry, read_catalog
from torchgate.engine.digest import DigestRefused, FileDigest, digest_of, file_digests
from torchgate.engine.model_signature import (
    SIGNATURE_FILE,
    Envelope,
    Statement,
    bundle,
    difference,
    statement_payload,
)
from torchgate.engine.settings import ModelsSettings
from torchgate.engine.signer_keys import KeyRefused, PrivateKey, key_hint, public_reference, read_private_key, sign
from torchgate.engine.trust import Trust, signed_settings
from torchgate.secret_places import private_files
from torchgate.terminal import Unsaid, fail, note, say


class CannotSign(Exception):
    """Why nothing was signed or verified; the text is for the person at the terminal."""


class Verdict(msgspec.Struct, frozen=True):
    """What `verify` says of one version.

    Args:
        trust: `signed`, `allowed` (unsigned, by its name in models.allow_code), or `refused`.
        signer: who vouches for it, or empty.
        digest: of its folder, or empty where it can't be read.
        reason: why it is not signed as it should be, or empty.
    """

    name: str
    version: str
    trust: str
    signer: str = ""
    digest: str = ""
    reason: str = ""


def new_key(parsed: argparse.Namespace) -> int:
    """Make a key that signs models, and print what torchgate.toml must say to trust it."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        private_files().write_new(parsed.file, pem)
    except FileExistsError:
        return fail(f"{parsed.file} is there already, and a key is never overwritten. Name another file.")
    except OSError as error:
        return fail(f"{parsed.file} can't be written: {error.strerror or error}.")
    note(f"wrote {parsed.file}: the private key. Keep it away from the server; who has it can sign models.")
    note("Into the server's torchgate.toml, to trust what it signs:\n")
    try:
        say(_signer_lines(key))
    except Unsaid as unsaid:
        parsed.file.unlink(missing_ok=True)
        raise Unsaid(unsaid.error, f"Nobody knows what trusts the key, so that {parsed.file} was taken back.") from None
    return 0


def sign_model(parsed: argparse.Namespace) -> int:
    """Sign one version of a model with the key in a file."""
    try:
        configuration, settings = project_settings(parsed)
        key = _private_key(parsed.key)
        entry = wanted_entry(parsed.model, _catalog_of(settings.models))
        files = _sign(entry, key)
        trust = Trust(settings.models, configuration.file.parent)
    except (CannotSign, DigestRefused) as why:
        return fail(str(why))
    except OSError as error:
        return fail(f"{error.filename or parsed.model} can't be read or written: {error.strerror or error}.")
    ref = entry.artifact.ref
    say(f"signed {ref}: {counted(len(files), 'file')}, key {key_hint(key.public_key())[:16]}")
    try:
        trust.signer(entry, file_digests(Path(entry.artifact.folder)))
    except DigestRefused:
        note("\nThis project does not trust that key yet; into torchgate.toml:\n")
        note(_signer_lines(key))
    return 0


def verify_models(parsed: argparse.Namespace) -> int:
    """Say who vouches for each version; 1 where a server would refuse one, or --strict finds one unsigned."""
    try:
        configuration, settings = project_settings(parsed)
        catalog, _ = read_catalog(settings.models, no_tokens="")
        entries = list(_chosen(catalog, parsed.models))
    except CannotSign as why:
        return fail(str(why))
    trust = Trust(settings.models, configuration.file.parent)
    for index, mistake in trust.mistakes:
        note(f"models.signers.{index}.public_key: {mistake}.")
    verdicts = [_verdict(entry, trust) for entry in entries]
    if parsed.json:
        say(json.dumps(msgspec.to_builtins(verdicts), ensure_ascii=False))
    for verdict in () if parsed.json else verdicts:
        by = f" by {verdict.signer}" if verdict.signer else ""
        place = f"{verdict.name}:{verdict.version}"
        say(f"{place:32} {(verdict.trust + by):24} {verdict.reason}".rstrip())
    wanted = {"signed"} if parsed.strict else {"signed", "allowed"}
    is_whole = bool(verdicts) and not trust.mistakes
    if not verdicts:
        note("There are no models.")
    return 0 if is_whole and all(verdict.trust in wanted for verdict in verdicts) else 1


def project_settings(parsed: argparse.Namespace) -> tuple[Configuration, TorchgateSettings]:
    """The configuration, and the settings in it.

    Raises:
        CannotSign: there are mistakes in it; they were printed.
    """
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is None:
        for finding in configuration.findings:
            note(str(finding))
        raise CannotSign(f"{configuration.file} has these mistakes, and nothing was done.")
    return configuration, configuration.settings


def _catalog_of(models: ModelsSettings) -> Catalog:
    """The catalog with every model's code allowed: what is to be signed is not signed yet."""
    catalog, _ = read_catalog(models, no_tokens="")
    names = tuple({ref.name for ref in catalog.entries})
    catalog, _ = read_catalog(models.model_copy(update={"allow_code": names}), no_tokens="")
    return catalog


def wanted_entry(text: str, catalog: Catalog) -> CatalogEntry:
    """The version that NAME or NAME:VERSION means.

    Raises:
        CannotSign: there is none, or it could not be served anyway.
    """
    name, _, version = text.partition(":")
    names = sorted({ref.name for ref in catalog.entries})
    if name not in names:
        raise CannotSign(f"there is no model {name!r}. {nearest(name, names) if names else 'There are none.'}")
    entry = catalog.entries.get(ModelRef(name, version or catalog.defaults[name]))
    if entry is None:
        there = ", ".join(ref.version for ref in catalog.entries if ref.name == name)
        raise CannotSign(f"model {name!r} has no version {version!r}. There is: {there}.")
    if entry.mistake:
        raise CannotSign(f"{entry.artifact.ref} can't be served, and so nothing is done: {entry.mistake}")
    return entry


def _chosen(catalog: Catalog, texts: Sequence[str]) -> Iterator[CatalogEntry]:
    names = sorted({ref.name for ref in catalog.entries})
    for text in texts:
        name, colon, version = text.partition(":")
        if name not in names or (colon and ModelRef(name, version) not in catalog.entries):
            hint = nearest(name, names) if names and name not in names else ""
            raise CannotSign(f"there is no model {text!r}. {hint}".strip())
    for ref, entry in sorted(catalog.entries.items()):
        if not texts or ref.name in texts or str(ref) in texts:
            yield entry


def _private_key(file: Path) -> PrivateKey:
    try:
        others = private_files().readers(file)
        if others:
            raise CannotSign(f"{file} is a private key that others may read: {others}. Close it to others first.")
        return read_private_key(read_bounded(file, MAX_KEY_BYTES))
    except OSError as error:
        raise CannotSign(f"{file} can't be read: {error.strerror or error}.") from None
    except KeyRefused as refused:
        raise CannotSign(f"{file} {refused}. `torchgate models keygen` makes one.") from None


def _sign(entry: CatalogEntry, key: PrivateKey) -> tuple[FileDigest, ...]:
    folder = Path(entry.artifact.folder)
    files = tuple(file for file in file_digests(folder) if file.path != SIGNATURE_FILE)
    if any((folder / file.path).is_symlink() for file in files):
        raise CannotSign(f"{folder} holds links; a signed version holds files alone. Copy what they lead to.")
    twins = difference(files, files)
    if twins:
        raise CannotSign(f"{folder}: {twins}. Rename one.")
    payload = statement_payload(Statement(entry.artifact.ref, files, signed_settings(entry)))
    signature = sign(key, Envelope(payload, b"").signed_bytes)
    draft = folder.parent / f".{SIGNATURE_FILE}.{secrets.token_hex(8)}"
    try:
        draft.write_bytes(bundle(Envelope(payload, signature), key_hint(key.public_key())))
        draft.replace(folder / SIGNATURE_FILE)
    finally:
        draft.unlink(missing_ok=True)
    return files


def _verdict(entry: CatalogEntry, trust: Trust) -> Verdict:
    ref, digest = entry.artifact.ref, ""
    try:
        files = file_digests(Path(entry.artifact.folder))
        digest = digest_of(files)
        signer = trust.signer(entry, files)
    except (DigestRefused, OSError) as error:
        reason = str(error)
    else:
        if not entry.mistake:
            return Verdict(ref.name, ref.version, "signed", signer, digest)
        reason = entry.mistake
    trusted = "allowed" if entry.is_code_allowed and digest and not entry.mistake else "refused"
    return Verdict(ref.name, ref.version, trusted, "", digest, reason)


def _signer_lines(key: PrivateKey) -> str:
    public = key.public_key()
    reference = public_reference(public) or "file:PATH of its public key as PEM"
    return f'[[models.signers]]\nid = "{key_hint(public)[:8]}"\npublic_key = "{reference}"'
