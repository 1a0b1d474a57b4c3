"""Windows' own proof of a user (SSPI), as far as a machine without a domain and Wine can show it."""

from __future__ import annotations

import pytest

from torchgate.contract.kerberos import NegotiationFailed

pytestmark = pytest.mark.windows("SSPI")


def test_what_windows_refuses_becomes_a_sentence_with_its_code() -> None:
    """A first message that no server sends, or no credentials at all: nothing goes out."""
    from torchgate.windows.negotiation import SspiNegotiation

    negotiation = SspiNegotiation("models.corp.example")
    assert not negotiation.is_complete
    with pytest.raises(NegotiationFailed, match=r"for HTTP/models.corp.example: .* \(0x8009[0-9A-F]{4}\)"):
        negotiation.step(b"no token")


def test_nobody_gets_the_users_rights_to_go_on_with() -> None:
    """No delegation is asked for, and a proof of the server is."""
    import sspicon

    from torchgate.windows import negotiation

    assert not negotiation._FLAGS & sspicon.ISC_REQ_DELEGATE
    assert negotiation._FLAGS & sspicon.ISC_REQ_MUTUAL_AUTH
