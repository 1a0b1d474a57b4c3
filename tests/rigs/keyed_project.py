"""A project folder with models of the test's own and one API key a principal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchgate.access.identity.api_key import new_api_key

SETTINGS = """
[gate]
bind = "127.0.0.1:0"
default_timeout_s = 300

[models]
allow_code = {models}

[roles]
asker = {members}

[[policy.grants]]
roles = ["asker"]
models = ["*"]
actions = ["infer", "read"]
"""


@dataclass(frozen=True)
class KeyedProject:
    """Where it is, and the key of each principal by its id."""

    folder: Path
    keys: dict[str, str]

    @classmethod
    def write(
        cls, folder: Path, models: Mapping[str, tuple[str, str]], key_ids: tuple[str, ...], extra: str = ""
    ) -> KeyedProject:
        """Write it: model name → (model.toml, model.py); everyone may infer and read everything."""
        keys = {key_id: new_api_key(key_id) for key_id in key_ids}
        text = SETTINGS.format(
            models=json.dumps(sorted(models)), members=json.dumps([f"key:{key_id}" for key_id in key_ids])
        )
        text += "".join(f'\n[[identity.api_keys]]\nid = "{key.id}"\nsha256 = "{key.sha256}"\n' for key in keys.values())
        (folder / "torchgate.toml").write_text(text + extra, encoding="utf-8")
        for name, (settings, code) in models.items():
            version = folder / "models" / name / "1"
            version.mkdir(parents=True)
            (version.parent / "model.toml").write_text(settings, encoding="utf-8")
            (version / "model.py").write_text(code, encoding="utf-8")
        return cls(folder, {key_id: key.key for key_id, key in keys.items()})

    def audit_events(self) -> list[dict[str, Any]]:
        """Every event of the trail, in the order of the files."""
        segments = sorted((self.folder / ".torchgate" / "audit").glob("*.jsonl"))
        return [json.loads(line) for path in segments for line in path.read_text(encoding="utf-8").splitlines()]
