"""Where a client's certificate is a credential: elsewhere it only binds a token, or says nothing."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from torchgate.access.identity.presented import Presented
from torchgate.gate.request_path import decode_path


class CertificatePaths:
    """Path prefixes, compared segment by segment and without regard to case, as IIS compares its locations.

    Args:
        prefixes: `/v2/models` holds itself and all below it, and not `/v2/modelsother`; `/` holds everything.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = tuple({prefix.casefold().rstrip("/") for prefix in prefixes})

    def hold(self, raw_path: bytes) -> bool:
        """Whether a path, as sent, is one of them or below one.

        Raises:
            InvalidRequest: it could be read in two ways.
        """
        if not self._prefixes:
            return False
        path = decode_path(raw_path).casefold()
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self._prefixes)


def with_certificate(presented: Presented, der: bytes, paths: CertificatePaths, raw_path: bytes) -> Presented:
    """What a request presents, with the certificate that TLS proved: a credential on configured paths alone.

    Where another credential came too, on such a path, both are there and authentication refuses the request.
    """
    return msgspec.structs.replace(presented, tls_certificate=der, certificate=der if paths.hold(raw_path) else None)
