"""Windows' data protection seals for this account or machine, and opens nothing that was altered."""

import sys

import pytest

pytestmark = pytest.mark.windows("its data protection")

if sys.platform == "win32":
    from torchgate.windows.protected_data import WindowsProtectedData


@pytest.mark.parametrize("for_machine", [False, True])
@pytest.mark.parametrize("value", [b"hunter2", b"\x00\xff" * 30_000])
def test_what_is_sealed_is_opened_again(value, for_machine):
    sealed = WindowsProtectedData().protect(value, for_machine=for_machine)
    assert value not in sealed
    assert WindowsProtectedData().unprotect(sealed) == value


@pytest.mark.parametrize("garbage", [b"", b"x", b"hunter2" * 100])
def test_what_was_never_sealed_is_not_opened(garbage):
    with pytest.raises(OSError, match=r".") as caught:
        WindowsProtectedData().unprotect(garbage)
    assert "hunter" not in str(caught.value)


def test_what_was_altered_is_not_opened():
    sealed = bytearray(WindowsProtectedData().protect(b"hunter2"))
    sealed[-5] ^= 1
    with pytest.raises(OSError, match=r"."):
        WindowsProtectedData().unprotect(bytes(sealed))
