"""A version's signature: who vouches for which bytes, under which name, run in which way.

The file is a bundle as OpenSSF Model Signing writes it: a DSSE envelope around an in-toto statement that lists every
file of the version's folder with its SHA-256. What that format has no place for stands in the statement's `torchgate`:
name and version, so that a signed model can't be served as another one, and what model.toml says of how the code is
loaded and what it is given. What else model.toml says is the operator's: replicas, threads, delays, default version.

Source: in-toto Statement v1; DSSE protocol v1 (pre-authentication encoding); sigstore bundle v0.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.contract.bounded_files import FileRefused, read_bounded
from torchgate.contract.decision import ModelRef
from torchgate.engine.digest import FileDigest

SIGNATURE_FILE = "model.sig"
LONGEST_SIGNATURE_BYTES = 8 << 20
"""Of the file: enough for 50,000 files, and nobody can fill our memory by it."""

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_FORM = f"is no signature as `torchgate models sign` writes it. Sign the version again, or take {SIGNATURE_FILE} away"


class NoSignature(Exception):
    """The file holds no signature that could be examined; the text says why."""


class Statement(msgspec.Struct, frozen=True):
    """What was signed.

    Args:
        ref: the only model and version that it holds for.
        files: all of them but the signature, sorted by path.
        settings: what model.toml said of how the code is run.
    """

    ref: ModelRef
    files: tuple[FileDigest, ...]
    settings: Mapping[str, object]


class Envelope(msgspec.Struct, frozen=True):
    """A signature, and the bytes that it is over. Nothing in `payload` may be believed before it was verified."""

    payload: bytes
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """Type and payload, with their lengths: DSSE's pre-authentication encoding."""
        kind = _PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


def statement_payload(statement: Statement) -> bytes:
    """The bytes to sign."""
    resources = [{"name": file.path, "algorithm": "sha256", "digest": file.sha256} for file in statement.files]
    root = hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for file in statement.files)).hexdigest()
    value = {
        "_type": _STATEMENT,
        "subject": [{"name": f"{statement.ref.name}:{statement.ref.version}", "digest": {"sha256": root}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": resources,
            "torchgate": {
                "model": statement.ref.name,
                "version": statement.ref.version,
                "settings": statement.settings,
            },
        },
    }
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def bundle(envelope: Envelope, key_hint: str) -> bytes:
    """The signature's file."""
    value = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key_hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(value, indent=1).encode() + b"\n"


def read_envelope(folder: Path) -> Envelope:
    """The envelope in a version's folder.

    Raises:
        NoSignature: there is none, or the file is none.
        OSError: it can't be read.
    """
    path = folder / SIGNATURE_FILE
    try:
        data = read_bounded(path, LONGEST_SIGNATURE_BYTES)
    except FileNotFoundError:
        raise NoSignature(f"is not signed: it has no {SIGNATURE_FILE}") from None
    except FileRefused as refused:
        raise NoSignature(f"has a {SIGNATURE_FILE} that can't be read ({refused}), which {_FORM}") from None
    return _envelope(data)


def _envelope(data: bytes) -> Envelope:
    try:
        outer = msgspec.json.decode(data, type=_Bundle).dsse_envelope
        if outer.payload_type != _PAYLOAD_TYPE:
            raise NoSignature(f"has a {SIGNATURE_FILE} over {outer.payload_type!r}, which {_FORM}")
        if len(outer.signatures) != 1:
            raise NoSignature(f"has a {SIGNATURE_FILE} with {len(outer.signatures)} signatures; there must be one")
        payload = base64.b64decode(outer.payload, validate=True)
        return Envelope(payload, base64.b64decode(outer.signatures[0].sig, validate=True))
    except (msgspec.MsgspecError, binascii.Error, RecursionError, UnicodeError) as error:
        raise NoSignature(f"has a {SIGNATURE_FILE} that {_FORM} ({error})") from None


def read_statement(payload: bytes) -> Statement:
    """What was signed, from bytes whose signature is good.

    Raises:
        NoSignature: who signed it meant something else by it.
    """
    try:
        value = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NoSignature(f"is signed with a statement that names no model of ours ({error})") from None
    if value.kind != _STATEMENT or value.predicate_type != _PREDICATE:
        raise NoSignature(f"is signed with a statement of another kind ({value.predicate_type!r})")
    ours = value.predicate.torchgate
    foreign = next((one.algorithm for one in value.predicate.resources if one.algorithm != "sha256"), None)
    if foreign is not None:
        raise NoSignature(f"is signed over digests by {foreign!r}; only sha256 is believed")
    files = tuple(FileDigest(one.name, one.digest) for one in value.predicate.resources)
    return Statement(ModelRef(ours.model, ours.version), files, ours.settings)


def difference(signed: Sequence[FileDigest], there: Sequence[FileDigest]) -> str:
    """The first thing in which the files differ from what was signed, or empty."""
    then, now = {file.path: file.sha256 for file in signed}, {file.path: file.sha256 for file in there}
    if len(then) != len(signed) or len({path.casefold() for path in now}) != len(now):
        return "names of files are there twice, or differ in case alone"
    for path in sorted(now.keys() | then.keys()):
        if path not in then:
            return f"file '{path}' was added"
        if path not in now:
            return f"file '{path}' is missing"
        if now[path] != then[path]:
            return f"file '{path}' was altered"
    return ""


class _Signature(msgspec.Struct):
    sig: str


class _Dsse(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, rename="camel"):
    dsse_envelope: _Dsse


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: str


class _Ours(msgspec.Struct):
    model: str
    version: str
    settings: dict[str, object]


class _Predicate(msgspec.Struct):
    resources: list[_Resource]
    torchgate: _Ours


class _Statement(msgspec.Struct, rename={"kind": "_type", "predicate_type": "predicateType"}):
    kind: str
    predicate_type: str
    predicate: _Predicate
