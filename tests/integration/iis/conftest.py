"""One warm pool for all gates that IIS starts here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rigs.iis_project import running_pool, write_project
from tests.rigs.sleeping_model import LET_GO, sleeping

QUOTAS = """
[[quotas]]
principal = "key:counted"
requests_per_minute = 1
burst_s = 240

[[quotas]]
principal = "key:single"
concurrent_requests = 1
"""


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The models' process, in a folder of its own: gates name it in `[pool] folder`. Two of its callers have quotas."""
    folder = tmp_path_factory.mktemp("iis") / "pöol"
    write_project(
        folder, sleeping(let_go=folder / LET_GO), "direct", key_ids=("ann", "counted", "single"), extra=QUOTAS
    )
    with running_pool(folder):
        yield folder
