"""What is no configuration of IIS is told as a mistake, whatever it is, and never read without an end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchgate.iis.xml_document import MAX_BYTES, MAX_DEPTH, XmlMistake, parse_xml, read_xml


def nested(depth: int) -> str:
    """Elements inside elements."""
    return "<a>" * depth + "</a>" * depth


def test_elements_may_be_nested_as_deep_as_no_configuration_is_and_no_deeper():
    assert parse_xml(nested(MAX_DEPTH)).tag == "a"
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(XmlMistake, match="nested deeper than 200"):
            parse_xml(nested(depth))


@pytest.mark.parametrize("encoding", ["shift_jis", "idna", "none-such", "rot13"])
def test_an_encoding_that_can_not_be_read_is_a_mistake(encoding: str):
    with pytest.raises(XmlMistake, match="it can't be read"):
        parse_xml(f'<?xml version="1.0" encoding="{encoding}"?><configuration/>'.encode())


def test_a_file_that_is_too_large_is_told_with_what_it_may_have(tmp_path: Path):
    with (tmp_path / "web.config").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(XmlMistake, match="it has 8,388,609 bytes, and may have 8,388,608"):
        read_xml(tmp_path / "web.config")


@pytest.mark.linux("named pipes in the file system")
def test_a_pipe_is_no_configuration(tmp_path: Path):
    os.mkfifo(tmp_path / "web.config")
    with pytest.raises(XmlMistake, match="it is a pipe or a device"):
        read_xml(tmp_path / "web.config")
