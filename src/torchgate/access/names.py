"""Names that settings of several kinds share."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

IssuerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
RoleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
