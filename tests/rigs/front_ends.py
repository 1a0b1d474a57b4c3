"""Real nginx and Apache in front of a gate, each with the configuration of a documentation page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.docs.markdown import REPOSITORY, Block, blocks

_START_S = 120.0
_APACHE_MODULES = (
    "mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "headers", "proxy", "proxy_http",
    "socache_shmcb", "ssl",
)  # fmt: skip


def documented(page: str, title: str) -> str:
    """A file of a page."""
    found: list[Block] = [block for block in blocks(REPOSITORY / "docs" / "how-to" / page) if block.title == title]
    assert len(found) == 1, f"{page} has {len(found)} blocks {title}"
    return found[0].text


def with_places(text: str, places: Mapping[str, object]) -> str:
    """The text with this machine's places; each must be there."""
    for documented_place, place in places.items():
        assert documented_place in text, documented_place
        text = text.replace(documented_place, str(place))
    return text


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def nginx(folder: Path, port: int, servers: str) -> Iterator[None]:
    """nginx with these server blocks, listening."""
    program = _program("nginx")
    folder.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = (
        f"{user} daemon off; pid {folder / 'pid'}; error_log {folder / 'error.log'}; worker_processes 1;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ access_log off; {temporary}\n{servers}\n}}\n"
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    line = [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configuration)]
    with _running(line, port, folder):
        yield


@contextmanager
def apache(folder: Path, port: int, host: str) -> Iterator[None]:
    """Apache with this virtual host, listening."""
    program = _program("apache2")
    modules = Path("/usr/lib/apache2/modules")
    folder.mkdir()
    lines = [f"LoadModule {name}_module {modules / f'mod_{name}.so'}" for name in _APACHE_MODULES]
    lines += [
        f"ServerRoot {folder}", "ServerName localhost", f"PidFile {folder / 'pid'}", f"ErrorLog {folder / 'error.log'}",
        f"DefaultRuntimeDir {folder}", f"Mutex file:{folder}", f"Listen 127.0.0.1:{port}", "StartServers 1",
        "ThreadsPerChild 8", "MinSpareThreads 1", "MaxSpareThreads 8", "MaxRequestWorkers 8", "ServerLimit 1",
    ]  # fmt: skip
    configuration = folder / "apache.conf"
    configuration.write_text("\n".join([*lines, host]) + "\n", encoding="utf-8")
    with _running([program, "-f", str(configuration), "-D", "FOREGROUND"], port, folder):
        yield


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {name}")
    return found


@contextmanager
def _running(line: list[str], port: int, folder: Path) -> Iterator[None]:
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        give_up_at = time.perf_counter() + _START_S
        while not _listens(port):
            if process.poll() is not None or time.perf_counter() > give_up_at:
                said = [path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("*.log")]
                raise AssertionError(f"{line[0]} does not listen:\n{''.join(said)}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
