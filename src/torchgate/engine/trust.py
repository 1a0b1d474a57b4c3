"""Whether a version's code may run: because torchgate.toml allows it by name, or because a signer vouches for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from torchgate.contract.decision import ModelRef
from torchgate.engine.catalog import CatalogEntry
from torchgate.engine.digest import DigestRefused, FileDigest
from torchgate.engine.model_signature import (
    SIGNATURE_FILE,
    Envelope,
    NoSignature,
    Statement,
    difference,
    read_envelope,
    read_statement,
)
from torchgate.engine.settings import ModelsSettings, SignerSettings
from torchgate.engine.signer_keys import KeyRefused, PublicKey, is_signed_by, key_hint, read_public_key


class Trust:
    """Knows the signers.

    Args:
        settings: `[models]`.
        folder: of torchgate.toml, which paths of keys are relative to.
        today: in UTC.
    """

    def __init__(
        self, settings: ModelsSettings, folder: Path, today: Callable[[], date] = lambda: datetime.now(UTC).date()
    ) -> None:
        self._today = today
        self._signers: list[tuple[SignerSettings, PublicKey]] = []
        self.mistakes: list[tuple[int, str]] = []
        """Index of a signer whose key can't be used, and why; such a signer vouches for nothing."""
        for index, signer in enumerate(settings.signers):
            try:
                self._signers.append((signer, read_public_key(signer.public_key, folder)))
            except KeyRefused as refused:
                self.mistakes.append((index, str(refused)))

    def signer(self, entry: CatalogEntry, files: Sequence[FileDigest]) -> str:
        """Who vouches for exactly these files, under this name, run as model.toml says now.

        Args:
            entry: of the catalog; its folder holds the signature.
            files: all of the version's folder, the signature too, sorted.

        Raises:
            DigestRefused: nobody does; the text is for `models status`.
            OSError: the signature can't be read.
        """
        ref = entry.artifact.ref
        try:
            envelope = read_envelope(Path(entry.artifact.folder))
            signer = self._signer_of(envelope, ref)
            statement = read_statement(envelope.payload)
        except NoSignature as why:
            raise DigestRefused(f"{ref} {why}.") from None
        mistake = _mistake(statement, entry, [file for file in files if file.path != SIGNATURE_FILE])
        if mistake:
            raise DigestRefused(
                f"{ref} is not what {signer.id!r} signed: {mistake}. Restore it, or have it signed again."
            )
        return signer.id

    def hint(self, signer_id: str) -> str:
        """What tells that signer's key from others."""
        return next(key_hint(key) for signer, key in self._signers if signer.id == signer_id)

    def _signer_of(self, envelope: Envelope, ref: ModelRef) -> SignerSettings:
        fitting = [
            signer for signer, key in self._signers if is_signed_by(key, envelope.signature, envelope.signed_bytes)
        ]
        if not fitting:
            known = ", ".join(repr(signer.id) for signer, _ in self._signers)
            there_are = f"models.signers in torchgate.toml has {known}" if known else "models.signers names nobody"
            raise DigestRefused(
                f"{ref} has a {SIGNATURE_FILE} that no known signer made, or that was altered ({there_are}). Have it "
                "signed by one, or add its signer there."
            )
        refusals = [(signer, self._refusal(signer, ref)) for signer in fitting]
        for signer, refusal in refusals:
            if not refusal:
                return signer
        raise DigestRefused(f"{ref} is signed by {refusals[0][0].id!r}, {refusals[0][1]}.")

    def _refusal(self, signer: SignerSettings, ref: ModelRef) -> str:
        if signer.models is not None and ref.name not in signer.models:
            return (
                f"which may sign {', '.join(signer.models) or 'nothing'} alone. Its `models` in torchgate.toml say so"
            )
        if signer.valid_until is not None and self._today() > signer.valid_until:
            return f"whose key was valid until {signer.valid_until}. Have it signed by one that is"
        return ""


def signed_settings(entry: CatalogEntry) -> dict[str, object]:
    """What of model.toml decides which code runs, and on what."""
    artifact = entry.artifact
    settings: dict[str, object] = {
        "format": artifact.format,
        "entry": artifact.entry,
        "inputs": [(spec.name, spec.datatype, spec.shape) for spec in artifact.signature.inputs],
        "outputs": [(spec.name, spec.datatype, spec.shape) for spec in artifact.signature.outputs],
        "max_batch_size": artifact.max_batch_size,
        "idempotent": artifact.idempotent,
        "parameters": artifact.parameters,
        "request_parameters": entry.request_parameters,
    }
    if artifact.tuned is not None and artifact.tuned.choice != "eager":
        settings["tuned"] = (artifact.tuned.choice, artifact.tuned.package_sha256)
    plain: dict[str, object] = json.loads(json.dumps(msgspec.to_builtins(settings)))
    return plain


def _mistake(statement: Statement, entry: CatalogEntry, files: Sequence[FileDigest]) -> str:
    """How what is there differs from what was signed, or empty."""
    if statement.ref != entry.artifact.ref:
        return f"the signature is of {statement.ref}"
    return difference(statement.files, files) or _changed_setting(statement.settings, signed_settings(entry))


def _changed_setting(signed: Mapping[str, object], now: Mapping[str, object]) -> str:
    for name in sorted(signed.keys() | now.keys()):
        if name not in signed or name not in now or signed[name] != now[name]:
            return f"model.toml says {name} = {_shown(now.get(name))}, signed was {_shown(signed.get(name))}"
    return ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."
