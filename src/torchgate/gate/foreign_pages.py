"""Pages of other origins, which may use a browser's own credentials but not ours."""

from __future__ import annotations

from torchgate.gate.errors import ForeignPage
from torchgate.gate.http_message import RequestHeaders

_OWN_SITES = frozenset({b"same-origin", b"none"})


def refuse_foreign_page(headers: RequestHeaders) -> None:
    """Go on only if no page of another origin made this request, as far as its browser tells.

    Browsers add `Sec-Fetch-Site` and `Origin` by themselves and no page can take them off. Over plain http to another
    machine they send no `Sec-Fetch-Site`, and a picture has no `Origin`: there `Referer` is all there is, and a page
    can leave it out. Hence https for people.

    Raises:
        ForeignPage: one did. A page on another port of this machine is `same-site`, so foreign.

    Source: Fetch Metadata Request Headers; DESIGN 4.4.
    """
    site = headers.single(b"sec-fetch-site")
    origin = headers.single(b"origin")
    host = (headers.first(b"host") or b"").lower()
    is_foreign = site is not None and site.lower() not in _OWN_SITES
    if origin is not None:
        is_foreign |= origin.lower() not in (b"http://" + host, b"https://" + host)
    elif site is None:
        referer = headers.first(b"referer")
        if referer is not None:
            scheme, separator, rest = referer.partition(b"://")
            is_foreign = not separator or scheme.lower() not in (b"http", b"https") or _authority(rest) != host
    if is_foreign:
        raise ForeignPage("A page of another origin made this request; this server answers only its own pages.")


def _authority(rest: bytes) -> bytes:
    for end in (b"/", b"?", b"#"):
        rest = rest.partition(end)[0]
    return rest.lower()
