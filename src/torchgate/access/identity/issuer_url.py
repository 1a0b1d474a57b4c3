"""Which URLs we ask an issuer for its keys at."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def url_mistake(url: str, allow_insecure_loopback: bool, allow_query: bool = False) -> str:
    """Why a URL can't be one of an issuer, or empty.

    Args:
        url: absolute.
        allow_insecure_loopback: whether http to this machine is good enough.
        allow_query: whether it may have one (a key set's may, an issuer's not).
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return f"{url!r} is not a URL: it has characters that a URL has not"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{url!r} is not a URL"
    if parts.scheme not in {"https", "http"} or not host:
        return f"{url!r} is not an https URL"
    if "@" in parts.netloc or "#" in url or ("?" in url and not allow_query):
        return f"{url!r} has a user, a fragment or a query, which an issuer's URL has not"
    if parts.scheme == "http" and not (allow_insecure_loopback and host in LOOPBACK_HOSTS):
        return f"{url!r} is not https; http is for this machine only, with allow_insecure_loopback = true"
    return ""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL that has no mistake."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
