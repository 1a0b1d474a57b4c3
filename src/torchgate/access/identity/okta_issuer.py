"""Which issuers of Okta can vouch for a token to somebody else than Okta."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_PATH = re.compile(r"/oauth2/[A-Za-z0-9_-]+")


def okta_issuer_mistake(issuer: str) -> str:
    """Why an issuer is not a custom authorisation server of Okta, or empty.

    The access tokens of the organisation's own server are for Okta's own APIs; their form may change at any time and
    nobody else may validate them.

    Source: Okta, "Validate access tokens"; identity.md section 1.4.
    """
    path = urlsplit(issuer).path
    if path in {"", "/", "/oauth2", "/oauth2/"}:
        return (
            f"issuer {issuer!r} is Okta's organisation server, whose access tokens only Okta itself may validate; "
            "use a custom authorisation server, for example https://DOMAIN/oauth2/default"
        )
    if not _PATH.fullmatch(path):
        return f"issuer {issuer!r} is not a custom authorisation server of Okta: https://DOMAIN/oauth2/ID"
    return ""
