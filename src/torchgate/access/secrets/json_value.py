"""One text in a secret that is a JSON object: what `#key` in a reference names."""

from __future__ import annotations

import msgspec

from torchgate.access.secrets.secret import UNUSABLE, SecretUnreadable


def json_value(value: bytes, key: str) -> bytes:
    """The text under a key.

    Args:
        value: the whole secret.
        key: empty: the whole secret is the value.

    Raises:
        SecretUnreadable: it has no such text; nothing of it is repeated, because it is all secret.
    """
    if not value:
        raise SecretUnreadable("Its value is empty. Put a value there.", UNUSABLE)
    if not key:
        return value
    try:
        found = msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise SecretUnreadable(
            f"Its value is no JSON object, so that there is no key {key!r} in it. Correct either.", UNUSABLE
        )
    text = found.get(key)
    if not isinstance(text, str) or not text:
        raise SecretUnreadable(
            f"Its JSON object has no text under the key {key!r}. Correct the key or the value.", UNUSABLE
        )
    return text.encode("utf-8", "surrogatepass")
