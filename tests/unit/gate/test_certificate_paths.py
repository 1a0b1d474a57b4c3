"""Where a client's certificate is a credential, compared as IIS compares its locations."""

from __future__ import annotations

import pytest

from torchgate.access.identity.presented import Presented
from torchgate.contract.errors import InvalidRequest
from torchgate.gate.certificate_paths import CertificatePaths, with_certificate

DER = b"\x30\x03\x02\x01\x00"


@pytest.mark.parametrize("path", [b"/plant", b"/plant/", b"/PLANT/x", b"/plant/x/y", b"/pl%61nt/x"])
def test_a_prefix_holds_itself_and_all_below_it(path: bytes) -> None:
    assert CertificatePaths(["/plant"]).hold(path)


@pytest.mark.parametrize("path", [b"/plants", b"/", b"/x/plant", b"plant"])
def test_a_prefix_ends_at_a_segment(path: bytes) -> None:
    assert not CertificatePaths(["/plant"]).hold(path)


def test_the_root_holds_everything_and_nothing_holds_nothing() -> None:
    assert CertificatePaths(["/"]).hold(b"/v2/models/m")
    assert not CertificatePaths([]).hold(b"/v2/models/m")


@pytest.mark.parametrize("path", [b"/plant%252fx", b"/plant%2fx", b"/plant%5cx", b"/plant/%ff"])
def test_a_path_that_could_be_read_in_two_ways_is_neither(path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        CertificatePaths(["/plant"]).hold(path)


def test_elsewhere_a_certificate_binds_a_token_and_is_no_credential() -> None:
    there = with_certificate(Presented(), DER, CertificatePaths(["/plant"]), b"/plant/x")
    elsewhere = with_certificate(Presented(bearer="t"), DER, CertificatePaths(["/plant"]), b"/v2/x")
    assert (there.certificate, there.tls_certificate, there.kinds()) == (DER, DER, ("certificate",))
    assert (elsewhere.certificate, elsewhere.tls_certificate, elsewhere.kinds()) == (None, DER, ("bearer",))
