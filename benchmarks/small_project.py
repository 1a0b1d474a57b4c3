"""A project folder with one small model and one caller, for measurements that start servers themselves."""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from processes import free_port

GIVE_UP_S = 90.0
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [1]}]})

_PROJECT = """\
[gate]
bind = "127.0.0.1:{port}"

[models]
allow_code = ["{model}"]

[roles]
caller = ["key:benchmark"]

[[policy.grants]]
roles = ["caller"]
models = ["*"]
actions = ["infer"]

[[identity.api_keys]]
id = "benchmark"
sha256 = "{sha256}"
"""

_MODEL_TOML = """\
format = "class"
entry = "model.py:{entry}"
threads = 1

[[inputs]]
name = "x"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "y"
datatype = "INT64"
shape = [1]
"""


class SmallProject:
    """Where it is, and what its caller asks.

    Args:
        folder: of it.
        port, key: where and as whom its server is asked.
        model: its name.
    """

    def __init__(self, folder: Path, port: int, key: str, model: str) -> None:
        self.folder, self.port, self._key, self._model = folder, port, key, model

    def infer(self, headers: Mapping[str, str] | None = None) -> int:
        """The status of one row's answer; 0 where there was none."""
        return self.ask("POST", f"/v2/models/{self._model}/infer", BODY, headers)

    def ask(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> int:
        """The status of an answer; 0 where there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=GIVE_UP_S)
        ours = {"X-API-Key": self._key, "Content-Type": "application/json", **(headers or {})}
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request(method, path, body, ours)
            return connection.getresponse().status
        return 0


@contextlib.contextmanager
def small_project(entry: str, code: str, settings: str = "") -> Iterator[SmallProject]:
    """A project for the block.

    Args:
        entry: the model's class, which names the model, too.
        code: of its model.py.
        settings: further sections of torchgate.toml.
    """
    from torchgate.access.identity.api_key import new_api_key  # late: `--help` needs no Torchgate

    key, port, model = new_api_key("benchmark"), free_port(), entry.lower()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        version = Path(place) / "models" / model / "1"
        version.mkdir(parents=True)
        text = _PROJECT.format(port=port, model=model, sha256=key.sha256) + settings
        (Path(place) / "torchgate.toml").write_text(text, encoding="utf-8")
        (version.parent / "model.toml").write_text(_MODEL_TOML.format(entry=entry), encoding="utf-8")
        (version / "model.py").write_text(code, encoding="utf-8")
        yield SmallProject(Path(place), port, key.key, model)


def summary(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, least and most."""
    figures = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(one, digits) for name, one in figures.items()}
