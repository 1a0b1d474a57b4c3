"""Marked paths, compared as IIS compares them; and paths on which IIS and we could disagree."""

from __future__ import annotations

import pytest

from torchgate.contract.errors import InvalidRequest
from torchgate.gate.marked_paths import MarkedPaths, path_as_front_door_saw_it


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/V2/models", "/v2/models/m/infer", "/v2//x"])
def test_a_marked_path_covers_itself_and_everything_below_in_any_case(path: str) -> None:
    assert path in MarkedPaths(["/v2"])


@pytest.mark.parametrize("path", ["/", "/v20", "/v2x/models", "/x/v2", "//v2", "v2", "/v", "", "/v2\u0130"])
def test_nothing_else_is_marked(path: str) -> None:
    """The attacker looks for a path that begins with the same letters."""
    assert path not in MarkedPaths(["/v2"])


def test_letters_that_unicode_folds_to_ascii_are_not_that_ascii() -> None:
    """The attacker spells `k` as the Kelvin sign, which Python's lower case makes a `k` of, and IIS does not."""
    assert "/\u212aeys" not in MarkedPaths(["/keys"])


def test_the_root_marks_everything() -> None:
    marked = MarkedPaths(["/"])
    assert marked.has_root
    assert all(path in marked for path in ("/", "/v2", "//x"))


def test_none_marks_nothing() -> None:
    assert not MarkedPaths()
    assert "/" not in MarkedPaths()


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"/v2/models", "/v2/models"), (b"/v2/a%20b", "/v2/a b"), (b"/v2/%C3%A9", "/v2/\u00e9"), (b"/a%3Fb", "/a?b")],
)
def test_what_needs_an_escape_may_have_one(raw: bytes, path: str) -> None:
    """IIS's modules escape a question mark, and spaces may come so, too."""
    assert path_as_front_door_saw_it(raw) == path


@pytest.mark.identity_case("windows", "a path escaped twice, marked for us and anonymous for IIS", "400")
@pytest.mark.parametrize(
    "raw",
    [
        b"/%76%32/models",  # sent as %2576%2532: anonymous to IIS, /v2 to whoever decodes once more
        b"/public%2f..%2fv2",
        b"/v2%5cx",
        b"/v2/%252e",
        b"/v2/%2e%2e/public",
        b"/public/../v2",
        b"/v2/.",
        b"/v2/..",
        b"/v2\\x",
        b"/v2/%00",
        b"/v2/%ff",
        b"/v2/%25",
    ],
)
def test_a_path_that_two_readers_could_read_differently_is_refused(raw: bytes) -> None:
    """The attacker escapes twice, so that IIS sees an anonymous path and we a marked one, or the other way round."""
    with pytest.raises(InvalidRequest):
        path_as_front_door_saw_it(raw)
