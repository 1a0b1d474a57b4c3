"""Every mistake of a settings file is found at once, each where it stands."""

from __future__ import annotations

import string
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, field_validator

from torchgate.contract.settings_file import Settings, nearest, read_settings
from torchgate.contract.toml_lines import Place, line_numbers, line_of


class Rule(Settings):
    roles: Annotated[tuple[str, ...], Field(min_length=1)]
    models: tuple[str, ...] = ()


class Inner(Settings):
    bind: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    folder: Path = Path("models")
    until: AwareDatetime | None = None

    @field_validator("bind")
    @classmethod
    def _bind(cls, bind: str) -> str:
        if " " in bind:
            raise ValueError("an address has no spaces")
        return bind


class Whole(Settings):
    gate: Inner = Inner()
    rules: tuple[Rule, ...] = ()
    roles: dict[Annotated[str, Field(pattern="^[a-z]+$")], tuple[str, ...]] = {}  # noqa: RUF012 - pydantic copies it


def _read(tmp_path: Path, text: str | bytes) -> tuple[Whole | None, list[tuple[int, str, str]]]:
    path = tmp_path / "Einstellungen mit Ü.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    found, findings = read_settings(path, Whole)
    assert all(finding.file == str(path) and finding.severity == "error" for finding in findings)
    return found, [(finding.line, finding.setting, finding.sentence) for finding in findings]


def test_what_fits_is_read(tmp_path: Path):
    text = '[gate]\nbind = "::1"\nfolder = "a b"\nuntil = 2030-01-31T00:00:00Z\n[[rules]]\nroles = ["a"]\n'
    found, findings = _read(tmp_path, text)
    assert findings == []
    assert found is not None
    assert (found.gate.folder, found.rules[0].roles) == (Path("a b"), ("a",))
    assert found.gate.until is not None


def test_all_mistakes_are_found_at_once_each_at_its_line(tmp_path: Path):
    text = """\
[gate]
bnid = "127.0.0.1"
port = 70000

[[rules]]
roles = ["a"]

[[rules]]
models = [
  "x",
  7,
]
[gaet]
[roles]
"Not Allowed" = []
"""
    found, findings = _read(tmp_path, text)
    assert found is None
    assert {(line, setting) for line, setting, _ in findings} == {
        (2, "gate.bnid"),
        (3, "gate.port"),
        (8, "rules.1.roles"),
        (11, "rules.1.models.1"),
        (13, "gaet"),
        (15, "roles.Not Allowed"),
    }
    sentences = {setting: sentence for _, setting, sentence in findings}
    assert "Did you mean 'bind'?" in sentences["gate.bnid"]
    assert "65535" in sentences["gate.port"]
    assert "70000" in sentences["gate.port"]
    assert sentences["rules.1.roles"] == "is missing."
    assert "Did you mean 'gate'?" in sentences["gaet"]


@pytest.mark.parametrize(
    ("value", "seen"),
    [('"8080"', "'8080'"), ("true", "true"), ("1.5", "1.5"), (str(2**70), str(2**70)), ("nan", "nan")],
)
def test_a_value_of_another_type_is_a_mistake_and_shown(tmp_path: Path, value: str, seen: str):
    """Nothing is converted in silence, and no number is too large to be told of."""
    _, findings = _read(tmp_path, f"[gate]\nport = {value}\n")
    assert [(line, setting) for line, setting, _ in findings] == [(2, "gate.port")]
    assert seen in findings[0][2] or value == "nan"


def test_an_authors_own_rule_is_said_in_his_words(tmp_path: Path):
    _, findings = _read(tmp_path, '[gate]\nbind = "a b"\n')
    assert findings == [(2, "gate.bind", "an address has no spaces. It is 'a b'.")]


@pytest.mark.parametrize("escape", ["u0000", "n", "u007f", "r"])
def test_no_path_has_a_control_character(tmp_path: Path, escape: str):
    """No file is named so, and wherever it was used first would end in a traceback."""
    _, findings = _read(tmp_path, f'[gate]\nfolder = "a\\{escape}b"\n')
    assert [(line, setting) for line, setting, _ in findings] == [(2, "gate.folder")]
    assert findings[0][2].startswith("a path has no control characters. It is 'a\\")


def test_a_long_value_is_not_repeated_whole(tmp_path: Path):
    _, findings = _read(tmp_path, f'[gate]\nport = "{"x" * 5000}"\n')
    assert len(findings[0][2]) < 300


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"[gate\n", 1, "TOML"),
        (b"[gate]\nbind = \n", 2, "TOML"),
        (b"[gate]\nport = 1\nport = 2\n", 3, "TOML"),
        (b'[gate]\nbind = "open', 2, "TOML"),
        (b"\xff\xfe[\x00g\x00", 0, "UTF-8"),
        (b"a = " + b"[" * 20_000, 0, "nested"),
        (b"a = " + b"[" * 100_000, 0, "nested"),
        (b"a = " + b"9" * 6000, 0, "more digits than can be read"),
        (b"a = 0x" + b"f" * 6000, 0, "more digits than can be read"),
    ],
)
def test_what_is_no_toml_is_one_finding(tmp_path: Path, content: bytes, line: int, said: str):
    found, findings = _read(tmp_path, content)
    assert found is None
    assert len(findings) == 1
    assert said in findings[0][2]
    assert findings[0][0] in (line, 0) or said == "TOML"


def test_a_missing_file_is_one_finding(tmp_path: Path):
    found, findings = read_settings(tmp_path / "none.toml", Whole)
    assert found is None
    assert [finding.line for finding in findings] == [0]
    assert findings[0].sentence.startswith("can't be read: ")
    assert "none.toml" not in findings[0].sentence, "its path stands before it"
    assert findings[0].remedy == ""


def test_a_list_whose_items_are_all_mistakes_is_not_called_short_as_well(tmp_path: Path):
    _, findings = _read(tmp_path, "[[rules]]\nroles = [1, 2]\n[[rules]]\nroles = []\n")
    assert [setting for _, setting, _ in findings] == ["rules.0.roles.0", "rules.0.roles.1", "rules.1.roles"]


def test_the_editors_of_windows_are_understood(tmp_path: Path):
    """A byte order mark and CRLF change no line."""
    _, findings = _read(tmp_path, b"\xef\xbb\xbf# comment\r\n[gate]\r\nport = -1\r\n")
    assert [finding[:2] for finding in findings] == [(3, "gate.port")]


def test_lines_of_all_ways_to_write_a_key():
    text = '''\
top = 1
"quoted key" = 2
'single.quoted' = 3
dotted.key.path = 4
"escaped \\" \\u00e4 = [" = 5
inline = { a = 1, "b" = { c = "}" } }

[table."with.dot [x]"]  # [not.this]
text = """
[fake]
key = 1
"""
after = 'x' # = y
[ spaced . header ]
key = 1
[[array]]
name = "# no comment ] [["
[array.inner]
deep = 1
[[array]]
[[array.list]]
value = 1
[[array.list]]
value = [
  [1, 2],  # ]
  { x = 1 },
  \'\'\'
]
fake = 1\'\'\',
]
last = 1979-05-27T07:32:00Z
'''
    expected: dict[Place, int] = {
        ("top",): 1,
        ("quoted key",): 2,
        ("single.quoted",): 3,
        ("dotted", "key", "path"): 4,
        ('escaped " ä = [',): 5,
        ("inline", "b", "c"): 6,
        ("table", "with.dot [x]", "text"): 9,
        ("table", "with.dot [x]", "after"): 13,
        ("spaced", "header", "key"): 15,
        ("array", 0): 16,
        ("array", 0, "name"): 17,
        ("array", 0, "inner", "deep"): 19,
        ("array", 1): 20,
        ("array", 1, "list", 0, "value"): 22,
        ("array", 1, "list", 1, "value", 0): 25,
        ("array", 1, "list", 1, "value", 1, "x"): 26,
        ("array", 1, "list", 1, "value", 2): 27,
        ("array", 1, "list", 1, "last"): 31,
    }
    tomllib.loads(text)
    lines = line_numbers(text)
    assert {place: lines.get(place) for place in expected} == expected
    assert not any("fake" in place for place in lines)


def test_a_missing_value_is_at_the_line_of_its_table():
    lines = line_numbers("[a]\nb = 1\n")
    assert line_of(("a", "missing", 3), lines) == 1
    assert line_of(("other",), lines) == 0


def test_nearest_names_one_or_all():
    assert nearest("bnid", ["bind", "hosts"]) == "Did you mean 'bind'?"
    assert nearest("zzzz", ["b", "a"]) == "Allowed: a, b."


_BARE = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=6)
_ANY = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6)


def _basic(text: str) -> str:
    escaped = "".join(f"\\u{ord(char):04x}" if ord(char) < 32 or char in '"\\\x7f' else char for char in text)
    return f'"{escaped}"'


_SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    _ANY.map(_basic),
    st.text(st.characters(codec="utf-8", exclude_characters="'\r\n", categories=["L", "P", "Zs"]), max_size=6).map(
        lambda text: f"'{text}'"
    ),
    st.text("ab\"'#=[]{}\n ", max_size=12)
    .filter(lambda text: '"""' not in text and not text.endswith('"'))
    .map(lambda text: f'"""{text}"""'),
)
_BLANKS = st.sampled_from(["", "\n", "# = [ ] { } \" ''\n", "  \n\n\t"])


class _Writer:
    """Writes a TOML text, and notes each key's line while it does."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Place, int] = {}

    def note(self, place: Place) -> None:
        self.lines[place] = self.text.count("\n") + 1

    def value(self, place: Place, depth: int) -> None:
        kind = self.draw(st.integers(0, 3)) if depth < 3 else 0
        if kind == 1:
            self.array(place, depth)
        elif kind == 2:
            self.inline_table(place, depth)
        else:
            self.text += self.draw(_SCALARS)

    def array(self, place: Place, depth: int) -> None:
        self.text += "["
        for index in range(self.draw(st.integers(0, 3))):
            self.text += self.draw(_BLANKS)
            self.note((*place, index))
            self.value((*place, index), depth + 1)
            self.text += self.draw(_BLANKS) + ","
        self.text += self.draw(_BLANKS) + "]"

    def inline_table(self, place: Place, depth: int) -> None:
        self.text += "{"
        for position, name in enumerate(self.draw(st.lists(_BARE, unique=True, max_size=3))):
            self.text += ", " if position else " "
            self.note((*place, name))
            self.text += f"{name} = "
            self.value((*place, name), depth + 1)
        self.text += "}"

    def pairs(self, table: Place) -> None:
        for name in self.draw(st.lists(_ANY, unique=True, max_size=3)):
            self.text += self.draw(_BLANKS)
            self.note((*table, name))
            self.text += f"{_basic(name)} = "
            self.value((*table, name), 0)
            self.text += "\n"

    def table(self, name: str) -> None:
        if self.draw(st.booleans()):
            self.note((name,))
            self.text += f"[{name}]\n"
            self.pairs((name,))
            return
        for index in range(self.draw(st.integers(1, 3))):
            self.note((name, index))
            self.text += f"[[ {name} ]] # [x]\n"
            self.pairs((name, index))


@st.composite
def _written(draw: st.DrawFn) -> tuple[str, dict[Place, int]]:
    """A TOML text, and the line of everything in it."""
    writer = _Writer(draw)
    writer.pairs(())
    for name in draw(st.lists(_BARE, unique=True, max_size=3)):
        writer.table(f"T{name}")
    return writer.text, writer.lines


def _places(value: Any, place: Place = ()) -> set[Place]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {place, *(found for key, part in inner for found in _places(part, (*place, key)))}


@given(_written())
@settings(deadline=None, max_examples=150)
def test_every_value_of_any_toml_has_the_line_where_it_was_written(written: tuple[str, dict[Place, int]]):
    """The writer's own notes are the oracle, and tomllib says which places there are."""
    text, noted = written
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # A key of a table above may clash with a table's name, and an inline table must stay on one line.
        return
    lines = line_numbers(text)
    assert {place: lines.get(place) for place in noted} == noted
    assert _places(values) - {()} <= set(lines)
