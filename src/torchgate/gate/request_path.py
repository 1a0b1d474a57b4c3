"""The path of a request, read in one way or not at all."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from torchgate.contract.errors import InvalidRequest

_PLAIN_PATH = re.compile(rb"[!$&'()*+,\-./0-9:;=@A-Z_a-z~]*")
_ENCODED_SEPARATOR = re.compile(rb"%(?:2f|5c|00)", re.IGNORECASE)


def decode_path(raw_path: bytes) -> str:
    """A path, percent-decoded once.

    Raises:
        InvalidRequest: what is left could be read in two ways: a `%`, a separator that was hidden, no UTF-8.
    """
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path.decode("ascii")
    if _ENCODED_SEPARATOR.search(raw_path):
        raise InvalidRequest("The path hides a separator behind a percent sign.")
    decoded = unquote_to_bytes(raw_path)
    if b"%" in decoded or any(byte < 0x20 or byte == 0x7F for byte in decoded):
        raise InvalidRequest("The path still holds a percent sign or a control character after decoding.")
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not UTF-8.") from None
