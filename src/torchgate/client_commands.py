"""`torchgate predict` and `torchgate models`: asking a running server, or the project's folder where none is needed."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from torchgate.config import FILE_NAME, StateSettings, read_configuration
from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.contract.credential_files import read_credential
from torchgate.contract.kerberos import NegotiationFailed
from torchgate.contract.quota_use import SHARED
from torchgate.contract.settings_file import read_toml
from torchgate.engine.catalog import read_catalog
from torchgate.gate.checks import is_loopback
from torchgate.gate.client import ClientAnswer, GateClient
from torchgate.kerberos_places import negotiation
from torchgate.project import SERVER_FILE, ProjectError, development_token, running_server
from torchgate.terminal import WrongUse, fail, note, say
from torchgate.windows_here import no_impersonation_here

_MAX_INPUT_BYTES = 256 << 20
"""Beyond what any server takes of one request, however it is set."""


class InputError(Exception):
    """An input as given can't be sent; the text says what is wrong with it."""


class Refused(Exception):
    """The server did not answer, or not as hoped; the text says what it said."""


def predict(parsed: argparse.Namespace) -> int:
    """Ask a model and print its outputs as one JSON object, name to rows."""
    name, colon, version_text = parsed.model.partition(":")
    version = version_text if colon else None
    try:
        given = _given_inputs(parsed.inputs + parsed.input)
        client, url = _client(parsed)
        if not _is_whole_request(given):
            given = _request(_accepted(lambda: client.metadata(name, version=version), url), given)
        answer = _accepted(lambda: client.predict(name, given, version=version), url)
        outputs = {output["name"]: nested(output["data"], output["shape"]) for output in answer["outputs"]}
    except (ProjectError, InputError, Refused) as error:
        return fail(str(error))
    except (KeyError, TypeError):
        return fail("the server's answer is none of the Open Inference Protocol. Is it Torchgate that listens there?")
    say(json.dumps(answer if parsed.raw else outputs, ensure_ascii=False))
    return 0


def models_status(parsed: argparse.Namespace) -> int:
    """Print the models that the caller may read, with their states, and what it has used of its own quotas."""
    try:
        client, url = _client(parsed)
        models, quotas = _accepted(client.index, url), _accepted(client.quotas, url)
    except (ProjectError, InputError, Refused) as error:
        return fail(str(error))
    uses = quotas.get("quotas") if isinstance(quotas, dict) else None
    if not isinstance(models, list) or not isinstance(uses, list):
        return fail("the server's answer is no list of models. Is it Torchgate that listens there?")
    if parsed.json:
        say(json.dumps({"models": models, "quotas": uses}, ensure_ascii=False))
        return 0
    for model in models:
        place = f"{model.get('name', '?')}:{model.get('version', '?')}"
        circuits = model.get("open_circuits", 0)
        notes = [str(model.get("reason", "")), f"open circuits: {circuits}" if circuits else ""]
        notes.insert(0, "default" if model.get("default") else "")
        say(f"{place:32} {str(model.get('state', '?')).lower():12} {'; '.join(filter(None, notes))}".rstrip())
        for limit in model.get("limits", ()):
            say(f"    {limit_line(limit)}")
    if not models:
        note("The server shows this caller no models: there are none, or it may read none.")
    for use in uses:
        say(_quota_line(use))
    return 0


def change_model(parsed: argparse.Namespace) -> int:
    """Load, reload or unload a model of a running server, and print what came of it."""
    name, colon, version_text = parsed.model.partition(":")
    version = version_text if colon else None
    try:
        client, url = _client(parsed)
        if parsed.verb == "unload":
            change = _accepted(lambda: client.unload(name, version=version), url)
        else:
            force = parsed.verb == "reload"
            change = _accepted(lambda: client.load(name, version=version, force=force), url)
    except (ProjectError, InputError, Refused) as error:
        return fail(str(error))
    if not isinstance(change, dict) or "unloaded" not in change:
        return fail("the server's answer says of no model. Is it Torchgate that listens there?")
    if parsed.json:
        say(json.dumps(change, ensure_ascii=False))
        return 0
    for verb in ("loaded", "unchanged", "unloaded"):
        for one in change.get(verb, ()):
            say(f"{f'{name}:{one}':32} {verb}")
    default = change.get("default")
    if default:
        say(f"{name} without a version means {name}:{default}.")
    elif not change.get("unloaded"):
        say(f"{name}: nothing to do.")
    else:
        say(f"{name} without a version is not served.")
    return 0


def limit_line(limit: Mapping[str, Any]) -> str:
    """One limit of a model's workers, for people."""
    value, by, note = limit.get("value"), limit.get("enforced_by"), limit.get("note")
    shown = ",".join(map(str, value)) if isinstance(value, list) else value
    return f"{limit.get('limit', '?')} {shown} {f'by {by}' if by else 'NOT ENFORCED'}{f' ({note})' if note else ''}"


def policy_in_force(parsed: argparse.Namespace) -> int:
    """Print which policy a running server goes by, or have it read its files again; 1 where something is wrong."""
    try:
        client, url = _client(parsed)
        if parsed.verb == "reload":
            found = _accepted(lambda: client.request("POST", "/v2/policy/reload"), url)
        else:
            found = _accepted(lambda: client.request("GET", "/v2/policy"), url)
    except (ProjectError, InputError, Refused) as error:
        return fail(str(error))
    if not isinstance(found, dict) or "version" not in found:
        return fail("the server's answer says of no policy. Is it Torchgate that listens there?")
    if parsed.json:
        say(json.dumps(found, ensure_ascii=False))
    else:
        say(f"policy {found['version']} is in force.")
        for name in found.get("waits_for_restart", ()):
            say(f"  {name}: its change counts after a restart.")
        for trouble in found.get("troubles", ()):
            note(f"  AMBER: {trouble}")
    return 1 if found.get("troubles") else 0


def _quota_line(use: Mapping[str, Any]) -> str:
    """One limit of one quota, for people."""
    shared = ", shared by all" if use.get("holder") == SHARED else ""
    model = f" of model {use['model']}" if use.get("model") else ""
    name, unit = str(use.get("quota", "?")), str(use.get("unit", "?"))
    return f"quota {name:26} {use.get('used', 0):g} of {use.get('at_once', 0):g} {unit}{model}{shared}"


def list_models(parsed: argparse.Namespace) -> int:
    """Print the models in the project's folder, as a server would find them; 1 where one of them can't be served."""
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is None:
        for finding in configuration.findings:
            note(str(finding))
        return 1
    settings = configuration.settings
    catalog, findings = read_catalog(settings.models, no_tokens=no_impersonation_here(settings.identity.windows))
    for finding in findings:
        note(str(configuration.locate(finding)))
    entries = sorted(catalog.entries.items())
    if parsed.json:
        listed = [
            {"name": ref.name, "version": ref.version, "format": entry.artifact.format, "mistake": entry.mistake,
             "is_default": catalog.defaults.get(ref.name) == ref.version}
            for ref, entry in entries
        ]  # fmt: skip
        say(json.dumps(listed, ensure_ascii=False))
    for ref, entry in () if parsed.json else entries:
        kind = f"CAN'T BE SERVED: {entry.mistake}" if entry.mistake else entry.artifact.format
        say(f"{ref!s:32} {kind}{'' if catalog.defaults.get(ref.name) != ref.version else '  (default)'}")
    return 1 if any(finding.severity == "error" for finding in findings) else 0


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
            raise WrongUse("no input is given. Write NAME=VALUE, or send a JSON object to stdin.")
        found = _json(_text(sys.stdin.buffer, "stdin"), "stdin")
        if not isinstance(found, dict):
            raise InputError("stdin holds no JSON object; it must map input names to rows.")
        return found
    given: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise WrongUse(f"{argument!r} is not NAME=VALUE.")
        if name in given:
            raise WrongUse(f"input {name!r} is given twice.")
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
        with path.open("rb") as file:  # a pipe too, as a shell makes it of `<(program)`
            return _text(file, str(path))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None


def _text(file: BinaryIO, place: str) -> str:
    """All that a file holds.

    Raises:
        InputError: it is no text, or more than any server takes.
        OSError: it can't be read.
    """
    content = file.read(_MAX_INPUT_BYTES + 1)
    if len(content) > _MAX_INPUT_BYTES:
        raise InputError(f"{place} holds more than {_MAX_INPUT_BYTES:,} bytes. Send fewer rows at a time.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8 text: byte {error.start} is none. Save it as UTF-8.") from None


def _is_whole_request(given: Mapping[str, Any]) -> bool:
    """Whether this is what V2 calls a request, and not rows of an input that is called `inputs`."""
    inputs = given.get("inputs")
    return isinstance(inputs, list) and all(isinstance(one, dict) and "datatype" in one for one in inputs)


def _accepted(ask: Callable[[], ClientAnswer], url: str) -> Any:
    """The body of a good answer.

    Raises:
        Refused: the server said no, or nothing.
    """
    try:
        answer = ask()
    except OSError as error:
        raise Refused(
            f"no server answers at {url}: {error.strerror or error}. Is it running? Start it: torchgate serve"
        ) from None
    except NegotiationFailed as error:
        raise Refused(f"Negotiate with {url} failed: {error}.") from None
    if answer.status != 200:
        sentence = answer.error or "the answer holds no reason."
        mark = f" (request id {answer.request_id})" if answer.request_id else ""
        raise Refused(f"the server at {url} answered {answer.status}: {sentence}{mark}")
    return answer.body


def _client(parsed: argparse.Namespace) -> tuple[GateClient, str]:
    """A client for the server and credential that the command line names, and the server's URL.

    Raises:
        ProjectError: the project names no running server, or has no such token.
        InputError: a file with a credential can't be read, or the project's server says no URL.
        WrongUse: --url is none, or --certificate-key stands alone.
    """
    if parsed.certificate_key is not None and parsed.certificate is None:
        raise WrongUse("--certificate-key is the key of a certificate: name that by --certificate.")
    needs_state = parsed.url is None or parsed.identity is not None
    state = _state_folder(parsed) if needs_state else None
    token = _token(parsed, state)
    key = parsed.key or (_credential(parsed.key_file) if parsed.key_file is not None else None)
    url = parsed.url or running_server(state or Path()).url
    try:
        negotiate = negotiation if parsed.negotiate else None
        client = GateClient(
            url, token=token, key=key, timeout_s=parsed.timeout_s, tls=_tls(parsed), negotiate=negotiate
        )
        parts = urlsplit(url)
    except ValueError as error:
        raise (WrongUse if parsed.url else InputError)(f"{error}.") from None
    if (token or key) and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        note(f"torchgate: warning: the credential travels unencrypted to {parts.hostname}; use https.")
    return client, url


def _tls(parsed: argparse.Namespace) -> ssl.SSLContext:
    """For https: whom to believe that it is the server, and the certificate that we show it."""
    for path in (parsed.ca_file, parsed.certificate, parsed.certificate_key):
        if path is not None:  # before OpenSSL does, which waits for whoever writes into a pipe
            try:
                read_bounded(path, MAX_KEY_BYTES)
            except OSError as error:
                raise InputError(
                    f"{path} can't be read: {error.strerror or error}. It must be a file in PEM."
                ) from None
    try:
        context = ssl.create_default_context(cafile=parsed.ca_file)
    except OSError as error:
        raise InputError(f"{parsed.ca_file} holds no certificates in PEM: {error.strerror or error}.") from None
    if parsed.certificate is not None:
        try:
            context.load_cert_chain(parsed.certificate, parsed.certificate_key)
        except OSError as error:
            raise InputError(
                f"{parsed.certificate} and its private key can't be used: {error.strerror or error}. Both are PEM; the "
                "key stands in the same file, or in --certificate-key."
            ) from None
    return context


def _token(parsed: argparse.Namespace, state: Path | None) -> str | None:
    if parsed.identity is not None and state is not None:
        return development_token(state, parsed.identity)
    if parsed.token_file is not None:
        return _credential(parsed.token_file)
    return parsed.token or None


def _credential(path: Path) -> str:
    """What a file holds.

    Raises:
        InputError: it can't be read, or holds none.
    """
    try:
        return read_credential(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path} can't be read: {why}. Name the file where the credential is.") from None


def _state_folder(parsed: argparse.Namespace) -> Path:
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is not None:
        return configuration.settings.state.folder
    if not configuration.file.exists():
        raise ProjectError(
            f"there is no {FILE_NAME} in {configuration.file.parent}. "
            "Name the project by --config, or the server by --url."
        )
    # A server that runs goes by what it has read, and its operator may have come because of these very mistakes.
    state = _written_state_folder(configuration.file)
    if not (state / SERVER_FILE).is_file():
        raise ProjectError("\n".join(map(str, configuration.findings)))
    for finding in configuration.findings:
        note(str(finding))
    note("torchgate: the server that runs does not go by these mistakes; it is asked all the same.")
    return state


def _written_state_folder(file: Path) -> Path:
    """Where a file with mistakes says that its state is, or where state is usually."""
    section = read_toml(file)[0].get("state")
    folder = section.get("folder") if isinstance(section, dict) else None
    return file.parent / (folder if isinstance(folder, str) else StateSettings().folder)
