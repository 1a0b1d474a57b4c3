"""`torchgate predict` and `torchgate models`: asking a running server, or the project's folder where none is needed."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torchgate.config import FILE_NAME, read_configuration
from torchgate.gate.client import Client, ClientError
from torchgate.project import ProjectError, development_token, running_server
from torchgate.terminal import fail, note, say


class InputError(Exception):
    """An input as given can't be sent; the text says what is wrong with it."""


def predict(parsed: argparse.Namespace) -> int:
    """Ask a model and print its outputs as one JSON object, name to rows."""
    name, _, version = parsed.model.partition(":")
    path = f"/v2/models/{quote(name, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
    try:
        given = _given_inputs(parsed.inputs + parsed.input)
        with _client(parsed) as client:
            request = given if isinstance(given.get("inputs"), list) else _request(client.get(path), given)
            answer = client.post(f"{path}/infer", request)
    except (ProjectError, ClientError, InputError) as error:
        return fail(str(error))
    if parsed.raw:
        say(json.dumps(answer, ensure_ascii=False))
    else:
        outputs = {output["name"]: nested(output["data"], output["shape"]) for output in answer["outputs"]}
        say(json.dumps(outputs, ensure_ascii=False))
    return 0


def models_status(parsed: argparse.Namespace) -> int:
    """Print the models that the caller may read, with their states."""
    try:
        with _client(parsed) as client:
            models = client.post("/v2/repository/index", {})
    except (ProjectError, ClientError) as error:
        return fail(str(error))
    if parsed.json:
        say(json.dumps(models, ensure_ascii=False))
        return 0
    for model in models:
        place = f"{model.get('name', '?')}:{model.get('version', '?')}"
        say(f"{place:32} {str(model.get('state', '?')).lower():12} {model.get('reason', '')}".rstrip())
    if not models:
        note("The server shows this caller no models: there are none, or it may read none.")
    return 0


def list_models(parsed: argparse.Namespace) -> int:
    """Print the models in the project's folder, as a server would find them; mistakes go to stderr."""
    from torchgate.engine.catalog import read_catalog

    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is None:
        for finding in configuration.findings:
            note(str(finding))
        return 1
    raise NotImplementedError(read_catalog)


def nested(data: Sequence[Any], shape: Sequence[int]) -> Any:
    """Flat elements in the shape that they have."""
    if len(shape) <= 1:
        return list(data)
    step = len(data) // shape[0] if shape[0] else 0
    return [nested(data[index * step : (index + 1) * step], shape[1:]) for index in range(shape[0])]


def tensor(name: str, rows: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    """One input of a request, from rows as a person writes them.

    The shape is that of the nested lists where it fits the model's; flat data is cut into the model's rows.

    Args:
        metadata: of the input, as the server gives it: name, datatype, shape with -1 for any length.

    Raises:
        InputError: the rows fit no shape of the model.
    """
    wanted = metadata["shape"]
    shape, flat = _shape_and_elements(name, rows)
    if not _fits(shape, wanted):
        fixed = 1
        for length in wanted[1:]:
            fixed *= length
        if wanted[:1] == [-1] and fixed > 0 and flat and len(flat) % fixed == 0 and len(shape) <= 1:
            shape = [len(flat) // fixed, *wanted[1:]]
        else:
            raise InputError(f"input {name!r} has shape {shape}; the model takes {wanted}, where -1 is any length.")
    return {"name": name, "datatype": metadata["datatype"], "shape": shape, "data": flat}


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, have) for have, want in zip(shape, wanted, strict=True))


def _shape_and_elements(name: str, rows: Any) -> tuple[list[int], list[Any]]:
    if not isinstance(rows, list):
        return [], [rows]
    parts = [_shape_and_elements(name, row) for row in rows]
    if any(shape != parts[0][0] for shape, _ in parts):
        raise InputError(f"input {name!r} has rows of different lengths; all must be alike.")
    return [len(rows), *(parts[0][0] if parts else [])], list(itertools.chain.from_iterable(flat for _, flat in parts))


def _request(metadata: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    known = {one["name"]: one for one in metadata["inputs"]}
    for name in given:
        if name not in known:
            raise InputError(f"the model has no input {name!r}. It takes: {', '.join(known)}.")
    if missing := [name for name in known if name not in given]:
        raise InputError(f"the model's input {missing[0]!r} is missing. Add {missing[0]}=VALUE.")
    return {"inputs": [tensor(name, rows, known[name]) for name, rows in given.items()]}


def _given_inputs(arguments: Sequence[str]) -> dict[str, Any]:
    """Input name → rows, from the command line or else from stdin."""
    if not arguments:
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("no input is given. Write NAME=VALUE, or send a JSON object to stdin.")
        found = _json(sys.stdin.buffer.read().decode("utf-8-sig", "replace"), "stdin")
        if not isinstance(found, dict):
            raise InputError("stdin holds no JSON object; it must map input names to rows.")
        return found
    given: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise InputError(f"{argument!r} is not NAME=VALUE.")
        if name in given:
            raise InputError(f"input {name!r} is given twice.")
        given[name] = _json(_file(Path(text[1:])), text[1:]) if text.startswith("@") else _value(text)
    return given


def _value(text: str) -> Any:
    """JSON where it is JSON, and else one text, so that nobody has to quote twice."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} holds no JSON: {error}.") from None


def _file(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}.") from None


def _client(parsed: argparse.Namespace) -> Client:
    """A client for the server and credential that the command line names.

    Raises:
        ProjectError: the project names no running server, or has no such token.
        InputError: a file with a credential can't be read.
    """
    headers = {}
    if token := _token(parsed):
        headers["Authorization"] = f"Bearer {token}"
    elif key := parsed.key or (_file(parsed.key_file).strip() if parsed.key_file is not None else ""):
        headers["X-API-Key"] = key
    url = parsed.url or running_server(_state_folder(parsed)).url
    return Client(url, headers=headers, timeout_s=parsed.timeout_s)


def _token(parsed: argparse.Namespace) -> str:
    if parsed.identity is not None:
        return development_token(_state_folder(parsed), parsed.identity)
    if parsed.token_file is not None:
        return _file(parsed.token_file).strip()
    return str(parsed.token or "")


def _state_folder(parsed: argparse.Namespace) -> Path:
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is not None:
        return configuration.settings.state.folder
    if not configuration.file.exists():
        raise ProjectError(
            f"there is no {FILE_NAME} in {configuration.file.parent}. Name the project by --config, or the server by --url."
        )
    raise ProjectError("\n".join(map(str, configuration.findings)))
