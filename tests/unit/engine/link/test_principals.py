"""Who asks is written and read once, and nobody is ever taken for somebody else for it."""

from __future__ import annotations

import msgspec
import pytest

from torchgate.contract.principal import Principal
from torchgate.engine.link.principals import ReadPrincipals, WrittenPrincipals
from torchgate.engine.link.wire import LinkBroken


def somebody(number: int, **more: object) -> Principal:
    return msgspec.structs.replace(Principal(f"key:{number}", "same name", "api_key", "key"), **more)


def test_a_principal_is_the_same_object_to_the_pool_as_often_as_it_asks():
    written, read = WrittenPrincipals(), ReadPrincipals()
    ada = somebody(1, roles=frozenset({"asker"}), marks=frozenset({"a", "b"}))
    first = read.read(written.write(ada))
    assert first == ada
    assert read.read(written.write(ada)) is first


def test_one_field_more_or_less_is_somebody_else():
    written, read = WrittenPrincipals(), ReadPrincipals()
    all_of_them = [
        somebody(1), somebody(2), somebody(1, roles=frozenset({"admin"})),
        somebody(1, denied_roles=frozenset({"admin"})), somebody(1, expires_at=5.0),
        somebody(1, groups_known=False), somebody(1, credential_id="other"),
    ]  # fmt: skip
    for one in all_of_them * 2:
        assert read.read(written.write(one)) == one


def test_claims_do_not_leave_the_gate():
    ada = somebody(1, claims={"secret": "of the token"})
    raw = WrittenPrincipals().write(ada)
    assert b"secret" not in bytes(raw)
    assert ReadPrincipals().read(raw) == somebody(1)


def test_more_callers_than_either_side_remembers_stay_themselves():
    """Objects end and their numbers are used again: what is remembered must go with the object that it is of."""
    written, read = WrittenPrincipals(), ReadPrincipals()
    for number in range(5000):
        principal = somebody(number, marks=frozenset({"m" * 1000}))
        assert read.read(written.write(principal)) == principal
    assert len(written._written) <= 1024
    assert sum(map(len, read._read)) <= 4 << 20


@pytest.mark.parametrize("lie", [b"\x01", b"\x80", b"\xc0", msgspec.msgpack.encode({"key": 5}), b"\xa1\xff", b""])
def test_what_is_no_principal_breaks_the_link(lie: bytes):
    with pytest.raises(LinkBroken, match="principal"):
        ReadPrincipals().read(msgspec.Raw(lie))
