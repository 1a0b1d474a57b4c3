"""What is taken for a credential in a file, and what is told of any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.contract.bounded_files import FileRefused
from torchgate.contract.credential_files import MAX_CREDENTIAL_BYTES, read_credential


def test_a_line_end_is_none_of_it(tmp_path: Path):
    (tmp_path / "token").write_bytes(b"abc.def\r\n")
    assert read_credential(tmp_path / "token") == "abc.def"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty, or has several lines"),
        (b" \n", "it is empty, or has several lines"),
        (b"one\ntwo", "it is empty, or has several lines"),
        (b"\xff\xfea\x00", "it is not ASCII text"),
        (b"x" * (MAX_CREDENTIAL_BYTES + 1), "it has more than 1,048,576 bytes"),
    ],
)
def test_what_holds_none_is_told_without_its_content(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(FileRefused) as refused:
        read_credential(tmp_path / "token")
    assert refused.value.strerror == said
