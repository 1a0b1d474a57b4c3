"""Certificates in headers, in each front door's own form, and what is none."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from torchgate.gate.certificate_headers import CertificateFormat, certificate_der
from torchgate.gate.errors import MalformedCredential

DER = b"\x30\x82\x01\x02" + bytes(range(256)) + b"\x01\x02"
BASE64 = base64.b64encode(DER)
LINES = b"\n".join(BASE64[place : place + 64] for place in range(0, len(BASE64), 64))
PEM = b"-----BEGIN CERTIFICATE-----\n" + LINES + b"\n-----END CERTIFICATE-----\n"

FORMS: dict[CertificateFormat, bytes] = {
    "der": BASE64,
    "nginx": quote(PEM).encode("ascii"),
    "apache": PEM.replace(b"\n", b" ").strip(),
    "rfc9440": b":" + BASE64 + b":",
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_bytes(form: CertificateFormat) -> None:
    assert certificate_der(FORMS[form], form) == DER


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", FORMS)
def test_no_form_is_read_as_another(form: CertificateFormat, other: CertificateFormat) -> None:
    """What can be read in two ways is what an attacker needs. Plain PEM is the one overlap."""
    if form == other or (form, other) == ("apache", "nginx"):
        return
    with pytest.raises(MalformedCredential):
        certificate_der(FORMS[form], other)


@pytest.mark.identity_case("certificate", "garbage, two certificates or half of one in a front door's header", "400")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: b"",
        lambda value: b"x",
        lambda value: value[: len(value) // 2],
        lambda value: value + value,
        lambda value: value + b"," + value,
        lambda value: b" " + value,
        lambda value: value + b"\x00",
        lambda value: b"A" * 100_000,
        lambda value: b"\xff" * 64,
        lambda value: base64.b64encode(b"not a sequence!!"),
    ],
)
def test_what_is_no_certificate_is_refused(form: CertificateFormat, spoil) -> None:
    """The attacker sends half of one, two, or none, and hopes that another one is taken."""
    with pytest.raises(MalformedCredential):
        certificate_der(spoil(FORMS[form]), form)
