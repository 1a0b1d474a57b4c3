"""What `check` says about `[[shares]]`."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from torchgate.contract.findings import Finding
from torchgate.engine.settings import ShareSettings


def share_checks(shares: Sequence[ShareSettings], roles: Container[str]) -> Iterator[Finding]:
    """Examine `[[shares]]`.

    Args:
        roles: that there are.
    """
    seen: set[str] = set()
    for index, share in enumerate(shares):
        setting = f"shares.{index}.role"
        if share.role in seen:
            yield Finding("error", f"the role {share.role!r} has two shares; it can have one.", setting=setting)
        seen.add(share.role)
        if share.role not in roles:
            yield Finding("error", f"there is no role {share.role!r}, so that this share is nobody's.", setting=setting)
