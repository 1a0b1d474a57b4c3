"""A project folder: made by `init`, found by every command, and what a running server leaves there for them.

In the state folder: `server.json` (process id and address of the server started last; gone when it stops) and
`development/NAME.token` (its development tokens).
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import re
import time
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from torchgate.contract.os_services import PrivateFolders

SERVER_FILE = "server.json"
_TOKENS = "development"
_TEMPLATE_SUFFIX = ".txt"  # what the template's Python and git files carry in the package, so that no tool reads them
_REPLACE_ATTEMPTS = 40
_REPLACE_PAUSE_S = 0.05  # on Windows a file can't be replaced while somebody reads it, which takes milliseconds


class ProjectError(Exception):
    """Something about a project folder can't be done; the text is for the person at the terminal."""


class RunningServer(msgspec.Struct, frozen=True):
    """What `server.json` says.

    Args:
        pid: of the server process.
        url: where it listens, with the real port.
        version: of Torchgate.
    """

    pid: int
    url: str
    version: str


def create_project(folder: Path) -> list[Path]:
    """Write a project that `serve` runs as it is; the files written.

    Raises:
        ProjectError: there is something in the folder already, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if next(folder.iterdir(), None) is not None:
            raise ProjectError(f"{folder} is not empty, and `init` overwrites nothing. Name a new or empty folder.")
        template = importlib.resources.files("torchgate") / "project_template"
        return sorted(_copy(template, folder))
    except OSError as error:
        raise ProjectError(f"{folder} can't be written: {error.strerror or error}. Name another folder.") from None


def _copy(source: Traversable, target: Path) -> Iterator[Path]:
    for entry in source.iterdir():
        if entry.is_dir():
            (target / entry.name).mkdir()
            yield from _copy(entry, target / entry.name)
            continue
        name = entry.name.removesuffix(_TEMPLATE_SUFFIX)
        path = target / (".gitignore" if name == "gitignore" else name)
        path.write_bytes(entry.read_bytes().replace(b"\r\n", b"\n"))
        yield path


def announce_server(state: Path, server: RunningServer) -> None:
    """Write server.json, whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    _replace(state / SERVER_FILE, msgspec.json.encode(server) + b"\n")


def withdraw_server(state: Path, pid: int) -> None:
    """Remove server.json, unless a server that was started later has written its own."""
    with contextlib.suppress(OSError, ProjectError):
        if running_server(state).pid == pid:
            (state / SERVER_FILE).unlink()


def running_server(state: Path) -> RunningServer:
    """The server started last; whether it still answers is for the caller to find out.

    Raises:
        ProjectError: none was, or what it wrote can't be read.
    """
    path = state / SERVER_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunningServer)
    except FileNotFoundError:
        raise ProjectError(f"no server of this project runs: there is no {path}. Start one: torchgate serve") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ProjectError(f"{path} can't be read: {error}. Name the server by --url.") from None


def write_tokens(state: Path, tokens: Mapping[str, str], private_folders: PrivateFolders) -> Path:
    """Write each development token into a file of its own, in a folder for our account alone; the folder.

    Raises:
        OSError: it can't be written.
    """
    folder = state / _TOKENS
    private_folders.make_private(folder)
    for path in folder.glob("*.token"):
        if path.stem not in tokens:
            path.unlink()
    for name, token in tokens.items():
        _replace(folder / f"{name}.token", f"{token}\n".encode("ascii"))
    return folder


def withdraw_tokens(state: Path, tokens: Mapping[str, str]) -> None:
    """Remove the tokens of this server, and leave those of one that was started later."""
    for name, token in tokens.items():
        path = state / _TOKENS / f"{name}.token"
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii").strip() == token:
                path.unlink()


def development_token(state: Path, name: str) -> str:
    """The token of a development identity of the running server.

    Raises:
        ProjectError: there is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ProjectError(f"{name!r} can't be the name of a development identity.")
    folder = state / _TOKENS
    try:
        return (folder / f"{name}.token").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        names = sorted(path.stem for path in folder.glob("*.token"))
        known = f"There are: {', '.join(names)}." if names else "Is the server running, with [development] enabled?"
        raise ProjectError(f"there is no token of a development identity {name!r} in {folder}. {known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"the token of {name!r} can't be read: {error}.") from None


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            draft.replace(path)
        except PermissionError:
            if attempt == _REPLACE_ATTEMPTS - 1:
                draft.unlink()
                raise
            time.sleep(_REPLACE_PAUSE_S)
        else:
            return
