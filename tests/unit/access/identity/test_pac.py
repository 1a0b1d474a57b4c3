"""The logon information of a PAC: what a domain controller writes, and what somebody might instead."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.access.identity.pac import MAX_SIDS, LogonInfo, PacMalformed, read_logon_info

OF_SAMBA = bytes.fromhex(
    "01100800ccccccccb001000000000000000002000000000000000000ffffffffffffff7fffffffffffffff7f7c899e3c"
    "b279dd017c4908677b7add017c09f831b39add010a000a00040002000000000008000200000000000c00020000000000"
    "1000020000000000140002000000000018000200000000004e04000001020000030000001c0002002000000000000000"
    "000000000000000000000000060008002000020008000a00240002002800020000000000000000001000000000000000"
    "000000000000000000000000000000000000000000000000010000002c00020000000000000000000000000005000000"
    "000000000500000061006c00690063006500000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000003000000010200000700000053040000"
    "070000005404000007000000040000000000000003000000440043003100000005000000000000000400000043004f00"
    "5200500004000000010400000000000515000000932efab4430d03650ac27ec701000000300002000700000001000000"
    "01010000000000120100000000000000"
)
"""Of Samba 4.17, for alice of CORP, who is in a group that is in another."""

DOMAIN = (21, 1, 2, 3)
DOMAIN_SID = "S-1-5-21-1-2-3"


def text(value: str) -> tuple[int, bytes]:
    """A string: its bytes, and what stands behind its pointer."""
    raw = value.encode("utf-16-le")
    count = len(raw) // 2
    return len(raw), struct.pack("<III", count, 0, count) + raw + b"\0" * (-len(raw) % 4)


def sid(authority: int, parts: Sequence[int]) -> bytes:
    """A SID behind its pointer."""
    return (
        struct.pack("<IBB", len(parts), 1, len(parts))
        + authority.to_bytes(6, "big")
        + struct.pack(f"<{len(parts)}I", *parts)
    )


def encoded(
    account: str = "alice",
    *,
    user: int = 1102,
    groups: Sequence[tuple[int, int]] = ((513, 7),),
    extras: Sequence[tuple[Sequence[int], int]] = (),
    resources: Sequence[tuple[int, int]] = (),
    flags: int = 0x220,
    announced_groups: int | None = None,
    domain: Sequence[int] = DOMAIN,
) -> bytes:
    """Logon information as a domain controller writes it, and as none would."""
    size, behind = text(account)
    domain_size, domain_behind = text("CORP")
    fixed = b"\0" * 48
    fixed += struct.pack("<HHI", size, size, 1) + struct.pack("<HHI", 0, 0, 0) * 5
    fixed += struct.pack("<HHII", 0, 0, user, 513)
    fixed += struct.pack("<III", len(groups) if announced_groups is None else announced_groups, 1, flags)
    fixed += b"\0" * 16 + struct.pack("<HHI", 0, 0, 0) + struct.pack("<HHI", domain_size, domain_size, 1)
    fixed += struct.pack("<I", 1) + b"\0" * 40
    fixed += struct.pack("<II", len(extras), 1 if extras else 0)
    fixed += struct.pack("<III", 1 if resources else 0, len(resources), 1 if resources else 0)
    body = struct.pack("<I", 1) + fixed + behind
    body += struct.pack("<I", len(groups)) + b"".join(struct.pack("<II", *group) for group in groups)
    body += domain_behind + sid(5, domain)
    if extras:
        body += struct.pack("<I", len(extras)) + b"".join(struct.pack("<II", 1, attributes) for _, attributes in extras)
        body += b"".join(sid(parts[0], parts[1:]) for parts, _ in extras)
    if resources:
        body += sid(5, (21, 9, 9, 9)) + struct.pack("<I", len(resources))
        body += b"".join(struct.pack("<II", *resource) for resource in resources)
    return bytes.fromhex("01100800cccccccc") + struct.pack("<II", len(body), 0) + body


def test_what_a_domain_controller_wrote_is_read() -> None:
    found = read_logon_info(OF_SAMBA)
    domain = found.user.rpartition("-")[0]
    assert (found.account, found.domain) == ("alice", "CORP")
    assert found.user.startswith("S-1-5-21-")
    assert found.user.endswith("-1102")
    assert set(found.groups) == {f"{domain}-513", f"{domain}-1107", f"{domain}-1108", "S-1-18-1"}
    assert found.denial_groups == ()


def test_groups_of_every_kind_are_read_with_what_they_count_for() -> None:
    found = read_logon_info(
        encoded(
            "bjørn",
            groups=((513, 7), (600, 0x10), (601, 0x14), (602, 0)),
            extras=(((5, 32, 544), 7), ((18, 1), 7)),
            resources=((77, 0x20000007),),
        )
    )
    assert found == LogonInfo(
        f"{DOMAIN_SID}-1102",
        "bjørn",
        "CORP",
        tuple(sorted((f"{DOMAIN_SID}-513", "S-1-5-32-544", "S-1-18-1", "S-1-5-21-9-9-9-77"))),
        (f"{DOMAIN_SID}-600", f"{DOMAIN_SID}-601"),
    )


@pytest.mark.identity_case("Kerberos", "a ticket whose group is for denials alone, or disabled", "it grants nothing")
def test_a_group_for_denials_alone_or_disabled_grants_nothing() -> None:
    found = read_logon_info(encoded(groups=((600, 0x10), (601, 0x14), (602, 0))))
    assert found.groups == ()


def test_lists_that_the_flags_do_not_announce_count_for_nothing() -> None:
    found = read_logon_info(encoded(extras=(((5, 32, 544), 7),), resources=((77, 7),), flags=0))
    assert found.groups == (f"{DOMAIN_SID}-513",)


MALFORMED = {
    "nothing": b"",
    "a header alone": OF_SAMBA[:16],
    "big endian": b"\x01\x00" + OF_SAMBA[2:],
    "a length beyond its end": OF_SAMBA[:8] + b"\xff\xff\xff\x7f" + OF_SAMBA[12:],
    "a pointer to nothing": OF_SAMBA[:16] + b"\0\0\0\0" + OF_SAMBA[20:],
    "more groups than are believed": encoded(announced_groups=MAX_SIDS + 1),
    "4 billion groups": encoded(announced_groups=0xFFFFFFFF),
    "another number of groups than announced": encoded(announced_groups=2),
    "a user without a number": encoded(user=0),
    "a SID without parts": encoded(domain=()),
    "a SID of 16 parts": encoded(domain=tuple(range(16))),
}


@pytest.mark.identity_case("Kerberos", "a PAC that is cut, contradicts itself or announces 4 billion groups", "401")
@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_none_is_refused(case: str) -> None:
    with pytest.raises(PacMalformed):
        read_logon_info(MALFORMED[case])


def test_cut_off_anywhere_it_is_refused() -> None:
    for size in range(len(OF_SAMBA)):
        with pytest.raises(PacMalformed):
            read_logon_info(OF_SAMBA[:size])


@given(st.binary(max_size=600))
def test_any_bytes_are_refused_without_surprise(data: bytes) -> None:
    with pytest.raises(PacMalformed):
        read_logon_info(OF_SAMBA[:8] + data)


@given(st.integers(8, len(OF_SAMBA) - 1), st.binary(min_size=1, max_size=8))
def test_any_change_is_read_within_bounds_or_refused(place: int, change: bytes) -> None:
    changed = OF_SAMBA[:place] + change + OF_SAMBA[place + len(change) :]
    try:
        found = read_logon_info(changed)
    except PacMalformed:
        return
    assert len(found.groups) + len(found.denial_groups) <= len(OF_SAMBA)
    assert found.user.startswith("S-1-")


@given(
    st.text(st.characters(codec="utf-16-le"), max_size=40),
    st.lists(st.tuples(st.integers(1, 2**32 - 1), st.sampled_from([0, 4, 7, 0x10, 0x17])), max_size=20),
)
def test_what_was_written_is_read(account: str, groups: list[tuple[int, int]]) -> None:
    found = read_logon_info(encoded(account, groups=groups))
    assert found.account == account
    denied = {number for number, attributes in groups if attributes & 0x10}
    enabled = {number for number, attributes in groups if attributes & 4} - denied
    assert set(found.groups) == {f"{DOMAIN_SID}-{number}" for number in enabled}
    assert set(found.denial_groups) == {f"{DOMAIN_SID}-{number}" for number in denied}
