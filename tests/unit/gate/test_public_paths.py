"""Which paths need no credential, and which names of them are refused."""

from __future__ import annotations

import pytest

from torchgate.gate.public_paths import PublicPaths


@pytest.mark.parametrize(
    ("path", "is_public"),
    [
        ("/", True), ("/about", True), ("/static/a", True), ("/static/", True), ("/static/a/b", True),
        ("", False), ("/abou", False), ("/about/", False), ("/about/x", False), ("/static", False), ("/statics", False),
        ("/static/../x", False), ("/static/a/..", False), ("/static/.", False), ("/static/a\\b", False), ("//", False),
    ],
)  # fmt: skip
def test_a_path_is_public_by_its_name_or_its_folder(path: str, is_public: bool):
    """Byte for byte, and never where dots or backslashes could mean another one."""
    assert (path in PublicPaths(["/", "/about", "/static/*"])) is is_public


@pytest.mark.parametrize(
    "paths",
    [
        "/about", ["about"], ["/*"], ["*"], [""], ["/a*"], ["/a/*/b"], ["/a%20b"], ["/{x}"], ["/a?b"], ["/../a"],
        ["/a//b"], ["/a/"],
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused(paths: list[str] | str):
    """Before anything starts; a pattern that frameworks know would name nothing here."""
    with pytest.raises(ValueError, match="public"):
        PublicPaths(paths)


def test_nothing_is_public_by_itself():
    """Not even the root."""
    assert "/" not in PublicPaths()
