"""The logon information of a PAC: the SIDs of a Windows user and its groups.

The bytes are signed by the domain, and yet nothing is believed of their form: every length is compared with what is
there and with a limit before it is used.

Source: MS-PAC 2.5 KERB_VALIDATION_INFO; MS-RPCE 2.2.6 (type serialization, version 1); C706 chapter 14 (NDR).
"""

from __future__ import annotations

import struct

import msgspec

MAX_SIDS = 4096
"""Source: Windows itself puts 1,024 groups into a token at most (MS KB 328889); with resource groups some more."""

_HEADER_BYTES = 16  # common and private header of type serialization
_LITTLE_ENDIAN = b"\x01\x10\x08\x00\xcc\xcc\xcc\xcc"  # version 1, little endian, 8 bytes, filler
_EXTRA_SIDS, _RESOURCE_GROUPS = 0x20, 0x200  # of UserFlags
_ENABLED, _DENY_ONLY = 0x4, 0x10  # of a group's attributes
_MAX_TEXT = 4096


class PacMalformed(ValueError):
    """The bytes are no logon information; the text says where they stop being it."""


class LogonInfo(msgspec.Struct, frozen=True):
    """Who logged on.

    Args:
        user: SID.
        account, domain: for people.
        groups: SIDs of enabled groups, nested ones too.
        denial_groups: SIDs of groups that count for denials alone.
    """

    user: str
    account: str
    domain: str
    groups: tuple[str, ...]
    denial_groups: tuple[str, ...]


class _Reader:
    """Takes values off some bytes, each aligned to its size."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, size: int = 4) -> int:
        """An unsigned number of 1, 2, 4 or 8 bytes."""
        self._at += -self._at % min(size, 4)
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            PacMalformed: there are fewer.
        """
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise PacMalformed(f"it ends at byte {len(self._data)}, and something goes on to {self._at + size}")
        self._at += size
        return taken

    def count(self, limit: int, what: str) -> int:
        """A number of things to come.

        Raises:
            PacMalformed: there are more than are believed.
        """
        found = self.number()
        if found > limit:
            raise PacMalformed(f"{found} {what}, and {limit} are believed")
        return found

    def text(self, pointer: int, length: int) -> str:
        """A string that a pointer has announced, of so many bytes."""
        if not pointer:
            return ""
        room, offset, actual = self.number(), self.number(), self.count(_MAX_TEXT, "characters")
        if offset or actual > room or actual * 2 != length:
            raise PacMalformed("a string's lengths contradict each other")
        return self.take(actual * 2).decode("utf-16-le", "replace")

    def sid(self) -> str:
        """A SID behind its pointer."""
        announced = self.number()
        revision, count = self.number(1), self.number(1)
        authority = int.from_bytes(self.take(6), "big")
        if revision != 1 or not 1 <= count <= 15 or count != announced:
            raise PacMalformed("a SID that is none")
        parts = struct.unpack(f"<{count}I", self.take(4 * count))
        return "-".join(map(str, ("S-1", authority, *parts)))

    def pairs(self, expected: int) -> list[tuple[int, int]]:
        """As many pairs of numbers as were announced, twice."""
        if self.number() != expected:
            raise PacMalformed("two counts of one list differ")
        numbers = struct.unpack(f"<{2 * expected}I", self.take(8 * expected))
        return list(zip(numbers[::2], numbers[1::2], strict=True))


class _Fixed(msgspec.Struct):
    """The part of fixed size, up to the first pointer's target."""

    strings: list[tuple[int, int]]
    user: int
    primary_group: int
    groups: tuple[int, int]
    flags: int
    late_strings: list[tuple[int, int]]
    domain: int
    extras: tuple[int, int]
    resource_domain: int
    resources: tuple[int, int]


def read_logon_info(data: bytes) -> LogonInfo:
    """What the logon information of a PAC says.

    Raises:
        PacMalformed: it is none, or one with more than is believed.
    """
    if data[:8] != _LITTLE_ENDIAN:
        raise PacMalformed("it does not begin as NDR does")
    length = int.from_bytes(data[8:12], "little")
    if length > len(data) - _HEADER_BYTES:
        raise PacMalformed("its length is more than there is")
    reader = _Reader(data[_HEADER_BYTES : _HEADER_BYTES + length])
    if not reader.number():
        raise PacMalformed("it points to nothing")
    fixed = _read_fixed(reader)
    account, *_ = [reader.text(pointer, size) for size, pointer in fixed.strings]
    count, pointer = fixed.groups
    groups = reader.pairs(count) if pointer else []
    _, domain_name = [reader.text(pointer, size) for size, pointer in fixed.late_strings]
    if not fixed.domain:
        raise PacMalformed("it has no domain")
    domain = reader.sid()
    if not fixed.user:
        raise PacMalformed("its user has no number")
    found = [(f"{domain}-{number}", attributes) for number, attributes in groups]
    found += _extras(reader, fixed)
    found += _resources(reader, fixed)
    denials = {sid for sid, attributes in found if attributes & _DENY_ONLY}
    enabled = {sid for sid, attributes in found if attributes & _ENABLED} - denials
    return LogonInfo(f"{domain}-{fixed.user}", account, domain_name, tuple(sorted(enabled)), tuple(sorted(denials)))


def _read_fixed(reader: _Reader) -> _Fixed:
    reader.take(48)  # six times
    strings = [_string(reader) for _ in range(6)]
    reader.take(4)  # counts of logons
    user, primary_group = reader.number(), reader.number()
    groups = reader.count(MAX_SIDS, "groups"), reader.number()
    flags = reader.number()
    reader.take(16)  # a session key that is none for Kerberos
    late_strings = [_string(reader) for _ in range(2)]
    domain = reader.number()
    reader.take(8 + 4 + 4 + 8 + 8 + 4 + 4)  # reserved, account control, status, times and counts of logons
    extras = reader.count(MAX_SIDS, "extra SIDs"), reader.number()
    resource_domain = reader.number()
    resources = reader.count(MAX_SIDS, "resource groups"), reader.number()
    return _Fixed(strings, user, primary_group, groups, flags, late_strings, domain, extras, resource_domain, resources)


def _string(reader: _Reader) -> tuple[int, int]:
    """Bytes and pointer of a string to come."""
    size, _, pointer = reader.number(2), reader.number(2), reader.number()
    return size, pointer


def _extras(reader: _Reader, fixed: _Fixed) -> list[tuple[str, int]]:
    count, pointer = fixed.extras
    if not pointer:
        return []
    announced = reader.pairs(count)
    found = [(reader.sid(), attributes) for target, attributes in announced if target]
    return found if fixed.flags & _EXTRA_SIDS else []


def _resources(reader: _Reader, fixed: _Fixed) -> list[tuple[str, int]]:
    domain = reader.sid() if fixed.resource_domain else ""
    count, pointer = fixed.resources
    if not pointer:
        return []
    if not domain:
        raise PacMalformed("resource groups without their domain")
    found = [(f"{domain}-{number}", attributes) for number, attributes in reader.pairs(count)]
    return found if fixed.flags & _RESOURCE_GROUPS else []
