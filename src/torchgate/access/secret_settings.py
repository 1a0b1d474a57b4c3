"""What can be set about how secrets are kept fresh."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from torchgate.contract.settings_file import Settings


class SecretRefreshSettings(Settings):
    """How often secrets are read again (`[secret_refresh]`), always beside the requests and never on their way."""

    interval_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """Seconds between reads of a secret in AWS Secrets Manager or Azure Key Vault; sooner after a failure."""
    file_interval_s: Annotated[float, Field(ge=1, le=86_400)] = 10.0
    """Seconds between reads of a secret in a file."""
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 10.0
    """Seconds that one read may take; the server does not start where a first one takes longer."""
