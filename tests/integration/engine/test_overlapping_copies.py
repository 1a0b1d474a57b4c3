"""Two servers on one state folder, as IIS has them at each recycling: the new one leaves the old one its copies."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rigs.signed_models import SignedModels

from torchgate.contract.decision import ModelRef
from torchgate.engine.catalog import read_catalog
from torchgate.engine.settings import ModelsSettings
from torchgate.engine.trust import Trust
from torchgate.engine.trusted_code import SignedCode
from torchgate.telemetry.instance_lock import InstanceLock

_SERVER = """
import sys
from pathlib import Path
from tests.integration.engine.test_overlapping_copies import copied

print(ascii(copied(Path(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


def copied(place: Path) -> str:
    """As a server that starts copies the only version."""
    settings = ModelsSettings(folder=place / "models", allow_code=("some",))
    code = SignedCode(
        Trust(settings, place),
        place / "state ü",
        lambda folder: folder.mkdir(parents=True, exist_ok=True),
        take_lock=InstanceLock,
    )
    return code.copied(read_catalog(settings)[0].entries[ModelRef("some", "1")]).folder


@contextmanager
def server(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that lives, and where its copy is."""
    root = Path(__file__).parents[3]
    line = [sys.executable, "-c", _SERVER, str(place)]
    process = subprocess.Popen(line, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, Path(ast.literal_eval(process.stdout.readline().decode("ascii")))
    finally:
        process.kill()
        process.communicate(timeout=120)


def test_the_copies_of_a_living_server_stay_and_those_of_a_dead_one_go(tmp_path: Path):
    SignedModels(tmp_path / "models")
    with server(tmp_path) as (old, copy_of_old):
        assert (copy_of_old / "model.py").is_file()
        with server(tmp_path) as (_, copy_of_new):
            assert (copy_of_old / "model.py").is_file(), "the old one still drains, and may start a worker"
            assert (copy_of_new / "model.py").is_file()
            old.kill()
            old.wait(120)
            with server(tmp_path) as (_, copy_of_third):
                assert not copy_of_old.exists(), "nobody needs it, however its owner ended"
                assert (copy_of_new / "model.py").is_file()
                assert (copy_of_third / "model.py").is_file()
                assert len(list((tmp_path / "state ü" / ".owners").iterdir())) == 2, "no sign of the dead one"


def test_copies_of_a_version_that_took_no_locks_go(tmp_path: Path):
    SignedModels(tmp_path / "models")
    left = tmp_path / "state ü" / "some" / "1" / "0123abcd-4567ef01"
    left.mkdir(parents=True)
    with server(tmp_path):
        assert not left.exists()


def test_a_second_copy_of_the_same_server_leaves_the_first(tmp_path: Path):
    SignedModels(tmp_path / "models")
    settings = ModelsSettings(folder=tmp_path / "models", allow_code=("some",))
    entry = read_catalog(settings)[0].entries[ModelRef("some", "1")]
    code = SignedCode(
        Trust(settings, tmp_path),
        tmp_path / "state",
        lambda folder: folder.mkdir(exist_ok=True),
        take_lock=InstanceLock,
    )
    first, second = code.copied(entry), code.copied(entry)
    assert Path(first.folder).is_dir()
    assert Path(second.folder).is_dir()
