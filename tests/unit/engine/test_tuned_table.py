"""model.toml gets a table, and keeps everything else to the byte."""

from __future__ import annotations

import tomllib
from datetime import date

import pytest

from torchgate.contract.tuning import Candidate, Tuned, TuneDone
from torchgate.engine.model_settings import ModelSettings
from torchgate.engine.tuned_table import CannotWrite, tuned_table, with_tuned

TEXT = """# mine

inputs = [{ name = "x", datatype = "FP32", shape = [2] }]   # a comment
outputs = [{ name = "y", datatype = "FP32", shape = [2] }]

[batching]
max_batch_size = 4   # rows
"""


def done(choice: str = "channels_last", made_of: str = "ab") -> TuneDone:
    candidates = (
        Candidate("eager", (1.5, 8.25)),
        Candidate("channels_last", (1.0, 4.0), 1.5e-7),
        Candidate("aoti", reason='no "g++"'),
    )
    tuned = Tuned(choice, "2.13.0+cpu", 'linux "x" \\ é', made_of)
    return TuneDone((1, 4), candidates, {"FP32": 1e-4}, 2, tuned, "")


def written(text: str = TEXT, version: str = "1", **changes: str) -> str:
    return with_tuned(text, version, tuned_table(version, done(**changes), date(2030, 1, 31)))


def test_the_table_comes_at_the_end_and_the_rest_stays():
    text = written()
    assert text.startswith(TEXT)
    table = tomllib.loads(text)["tuned"]["1"]
    assert (table["choice"], table["machine"], table["rows"]) == ("channels_last", 'linux "x" \\ é', [1, 4])
    assert table["median_ms"] == {"eager": [1.5, 8.25], "channels_last": [1.0, 4.0]}
    assert (table["tolerance"], table["difference"], table["measured_on"]) == (
        {"FP32": 1e-4},
        1.5e-7,
        date(2030, 1, 31),
    )


def test_what_is_written_is_what_settings_take():
    import json

    values = json.loads(json.dumps(tomllib.loads(written()), default=str))
    settings = ModelSettings.model_validate_json(json.dumps(values))
    assert settings.tuned["1"].tuned() == done().tuned


def test_written_twice_it_is_there_once():
    assert written(written(), made_of="cd") == written(made_of="cd")


def test_tables_behind_it_and_of_other_versions_stay_where_they_are():
    more = "\n# of the warm-up\n[warm_up]\nruns = 2\n"
    text = written(written(written() + more, version="2"), made_of="cd")
    values = tomllib.loads(text)
    assert {version: table["made_of"] for version, table in values["tuned"].items()} == {"1": "cd", "2": "ab"}
    assert more in text
    assert text.index("[tuned.1]") < text.index("[warm_up]") < text.index("[tuned.2]")


def test_lines_end_as_they_did():
    text = written(TEXT.replace("\n", "\r\n"))
    assert "\n" not in text.replace("\r\n", "")
    assert text.startswith(TEXT.replace("\n", "\r\n"))


def test_a_byte_order_mark_stays():
    assert written("\ufeff" + TEXT).startswith("\ufeff# mine")


@pytest.mark.parametrize(
    "text",
    [
        'tuned = { 1 = { choice = "eager" } }\n' + TEXT,
        TEXT + '\n[parameters]\nnote = """\n[tuned.1]\n"""\n',
    ],
)
def test_where_the_table_can_t_be_put_in_without_changing_something_else_nothing_is_written(text: str):
    with pytest.raises(CannotWrite):
        written(text)
