"""The last hop of a forwarded chain: the one address in it that our own front door wrote."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

_BRACKETED = re.compile(rb"\[([0-9A-Fa-f:.]{2,45})(?:%[0-9A-Za-z]{1,16})?\](?::[0-9]{1,5})?")
_WITH_PORT = re.compile(rb"([0-9.]{7,15}):[0-9]{1,5}")


def last_hop(values: Sequence[bytes]) -> str | None:
    """The address at the end of `X-Forwarded-For`; None where it is none.

    Front doors append the address of their client to whatever the client sent, so that everything before the last
    comma is the client's own invention.

    Args:
        values: of each line of the header, in order.

    Source: IIS's modules write `address:port`, IPv6 in brackets (iis.md 1.4); nginx and Apache the address alone.
    """
    if not values:
        return None
    element = values[-1].rpartition(b",")[2].strip(b" \t")
    found = _BRACKETED.fullmatch(element) or _WITH_PORT.fullmatch(element)
    text = element if found is None else found[1]
    if len(text) > 45:  # the longest IPv6 address in text
        return None
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def is_of_this_machine(address: str) -> bool:
    """Whether it is an address of this machine alone."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
