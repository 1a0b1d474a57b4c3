"""A model repository with a signer, and what an attacker with write access to the repository can do to it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from torchgate.contract.decision import ModelRef
from torchgate.engine.catalog import CatalogEntry, read_catalog
from torchgate.engine.digest import file_digests
from torchgate.engine.model_signature import SIGNATURE_FILE, Envelope, Statement, bundle, statement_payload
from torchgate.engine.settings import ModelsSettings, SignerSettings
from torchgate.engine.signer_keys import PrivateKey, key_hint, public_reference, sign
from torchgate.engine.trust import Trust, signed_settings

MODEL_TOML = """
[[inputs]]
name = "x"
datatype = "FP32"
shape = [2]

[[outputs]]
name = "y"
datatype = "FP32"
shape = [2]
"""

CODE = "import torchgate\n\n\nclass Some(torchgate.Model):\n    pass\n"


class SignedModels:
    """A repository, and the keys of its signer and of somebody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = Ed25519PrivateKey.generate()
        self.foreign_key = ec.generate_private_key(ec.SECP256R1())
        self.today = date(2030, 1, 15)
        self.write("some")

    def write(self, name: str, version: str = "1") -> Path:
        """An unsigned version."""
        version_folder = self.folder / name / version
        version_folder.mkdir(parents=True)
        (version_folder / "model.py").write_text(CODE, encoding="utf-8")
        (version_folder / "weights.bin").write_bytes(b"weights of " + name.encode())
        (self.folder / name / "model.toml").write_text(MODEL_TOML, encoding="utf-8")
        return version_folder

    def entry(self, name: str = "some", version: str = "1") -> CatalogEntry:
        """As the catalog has it now, its code not allowed by name."""
        catalog, _ = read_catalog(ModelsSettings(folder=self.folder.absolute()))
        return catalog.entries[ModelRef(name, version)]

    def sign(
        self, name: str = "some", version: str = "1", *, key: PrivateKey | None = None, ref: ModelRef | None = None
    ) -> None:
        """Sign what is there now."""
        used = key or self.key
        folder = self.folder / name / version
        (folder / SIGNATURE_FILE).touch()  # the catalog looks no further at versions that have none
        files = tuple(file for file in file_digests(folder) if file.path != SIGNATURE_FILE)
        entry = self.entry(name, version)
        payload = statement_payload(Statement(ref or ModelRef(name, version), files, signed_settings(entry)))
        signature = sign(used, Envelope(payload, b"").signed_bytes)
        (folder / SIGNATURE_FILE).write_bytes(bundle(Envelope(payload, signature), key_hint(used.public_key())))

    def trust(self, **signer: object) -> Trust:
        """Of a server that knows our signer."""
        known = SignerSettings(id="release", public_key=public_reference(self.key.public_key()), **signer)
        settings = ModelsSettings(folder=self.folder, signers=(known,))
        return Trust(settings, self.folder, today=lambda: self.today)

    def signer(self, name: str = "some", **signer: object) -> str:
        """Who vouches for it; raises DigestRefused."""
        entry = self.entry(name)
        return self.trust(**signer).signer(entry, file_digests(Path(entry.artifact.folder)))

    def edit_bundle(self, edit: Callable[[dict], None], name: str = "some") -> None:
        """Change the signature's file outside of its signed part."""
        file = self.folder / name / "1" / SIGNATURE_FILE
        value = json.loads(file.read_bytes())
        edit(value)
        file.write_bytes(json.dumps(value).encode())

    def edit_statement(self, edit: Callable[[dict], None], *, key: PrivateKey | None = None) -> None:
        """Change the signed statement; with a key, sign it anew."""

        def change(value: dict) -> None:
            envelope = value["dsseEnvelope"]
            statement = json.loads(b64decode(envelope["payload"]))
            edit(statement)
            payload = json.dumps(statement).encode()
            envelope["payload"] = b64encode(payload).decode()
            if key is not None:
                signature = sign(key, Envelope(payload, b"").signed_bytes)
                envelope["signatures"][0]["sig"] = b64encode(signature).decode()

        self.edit_bundle(change)
