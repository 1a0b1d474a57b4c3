"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.rigs.server_process import ServerProcess

from torchgate.project import create_project


@pytest.fixture(scope="session")
def torchgate_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The project of `init`, served by a real process, ready: identities `analyst` and `guest`, model `doubler`.

    One for all tests, because each start of torch takes seconds: leave it as you found it, and count no events but
    those with a request id of your own.
    """
    folder = tmp_path_factory.mktemp("served") / "project with späces"
    create_project(folder)
    with ServerProcess.start(folder) as server:
        server.wait_ready()
        yield server
