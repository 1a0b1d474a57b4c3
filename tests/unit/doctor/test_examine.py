"""Whatever a check does, there is a report: it fails, it hangs, it finds half of it, it speaks of secrets."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.rigs.doctor_world import world_of

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.doctor.checks import CHECKS
from torchgate.doctor.examine import examine
from torchgate.doctor.report import Report, human_lines, json_text, report_of, verdict_line
from torchgate.doctor.world import Check, World

Run = Callable[[World], Iterable[Diagnosis]]


def check(run: Run, name: str = "one", limit_s: float = 30.0, *, needs_settings: bool = False) -> Check:
    return Check("area", name, "", run, limit_s, needs_settings=needs_settings)


def report(folder: Path, *checks: Check, settings: str = "") -> Report:
    world = world_of(folder, settings)
    return report_of(examine(checks, world), world)


def test_findings_stand_in_the_order_of_the_checks(tmp_path: Path):
    both = (check(lambda _: [ok("1"), ok("2")], "first"), check(lambda _: [amber("3", "", "")], "second"))
    found = report(tmp_path, *both)
    assert [(entry.check, entry.seen) for entry in found.findings] == [("first", "1"), ("first", "2"), ("second", "3")]
    assert found.passed
    assert found.counts == {"ok": 2, "amber": 1, "red": 0, "skipped": 0}


def test_a_check_that_fails_is_a_finding_and_what_it_found_before_is_kept(tmp_path: Path):
    def fails(_: World) -> Iterator[Diagnosis]:
        yield ok("the first half")
        raise ValueError("hunter2 is in the words of this error")

    before, failure = report(tmp_path, check(fails)).findings
    assert (before.seen, failure.verdict) == ("the first half", "red")
    assert "ValueError in test_examine.py" in failure.seen
    assert "hunter2" not in failure.seen, "an error's own words may hold anything"


def test_an_error_of_the_system_is_said_in_its_words(tmp_path: Path):
    def refused(_: World) -> Iterator[Diagnosis]:
        yield from ()
        raise PermissionError(13, "Permission denied")

    assert "PermissionError: Permission denied" in report(tmp_path, check(refused)).findings[0].seen


def test_a_check_that_hangs_is_given_up_and_keeps_nobody(tmp_path: Path):
    over = threading.Event()

    def hangs(_: World) -> Iterator[Diagnosis]:
        yield ok("the first half")
        over.wait()

    found = report(tmp_path, check(hangs, limit_s=4.0), check(lambda _: [ok("well")], "other"))
    over.set()
    assert [entry.verdict for entry in found.findings] == ["ok", "red", "ok"]
    assert "did not end within 4 s" in found.findings[1].seen


def test_checks_run_side_by_side(tmp_path: Path):
    """Each waits for the other to have begun."""
    barrier = threading.Barrier(2, timeout=120)

    def meets(_: World) -> Iterator[Diagnosis]:
        barrier.wait()
        yield ok("met")

    assert report(tmp_path, check(meets, "a"), check(meets, "b")).counts["ok"] == 2


def test_while_the_configuration_has_mistakes_its_checks_are_skipped(tmp_path: Path):
    found = report(
        tmp_path,
        check(lambda world: [ok(str(world.settings))], needs_settings=True),
        check(lambda _: [ok("needs none")], "other"),
        settings="[gate]\nbindd = 1\n",
    )
    assert [entry.verdict for entry in found.findings] == ["skipped", "ok"]


def test_a_check_without_a_word_is_skipped(tmp_path: Path):
    assert [entry.verdict for entry in report(tmp_path, check(lambda _: ())).findings] == ["skipped"]


SECRETS = {
    "an API key": "tg_ops_" + "a" * 32 + "_" + "b" * 6,
    "a token": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl",
    "a private key": "-----BEGIN PRIVATE KEY----- MC4CAQAwBQYDK2VwBCIEIHunter2",
    "a password": "https://ada:hunter2@example.org/",
}


@pytest.mark.parametrize("part", ["seen", "wanted", "remedy", "place"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_what_looks_like_a_secret_is_not_shown(secret: str, part: str, tmp_path: Path):
    diagnosis = Diagnosis("red", **{"seen": "", part: f"before {secret} after"})
    found = report(tmp_path, check(lambda _: [diagnosis]))
    for text in (json_text(found), "\n".join(human_lines(found))):
        assert secret.rsplit(" ", maxsplit=1)[-1] not in text
        assert "hunter" not in text.lower()
        assert "here is" in " ".join(text.split())


def test_the_json_has_the_documented_shape(tmp_path: Path):
    found = json.loads(json_text(report(tmp_path, check(lambda _: [red("seen", "wanted", "remedy", place="there")]))))
    assert set(found) == {"version", "host", "account", "python", "project", "passed", "counts", "findings"}
    assert found["findings"] == [
        {
            "area": "area",
            "check": "one",
            "verdict": "red",
            "seen": "seen",
            "wanted": "wanted",
            "remedy": "remedy",
            "place": "there",
        }
    ]
    assert (found["passed"], found["counts"]) == (False, {"ok": 0, "amber": 0, "red": 1, "skipped": 0})


def test_people_read_what_is_amiss_and_the_verdict_last(tmp_path: Path):
    found = report(
        tmp_path,
        check(lambda _: [red("a long story " * 20, "an end", "Tell it.", place="there"), skipped("of no use")]),
    )
    lines = list(human_lines(found))
    assert lines[0].startswith("torchgate ")
    assert max(map(len, lines)) <= 110
    assert [line for line in lines if "wanted  an end" in line]
    assert [line for line in lines if "do      Tell it." in line]
    assert not [line for line in lines if "of no use" in line]
    assert [line for line in human_lines(found, is_whole=True) if "of no use" in line]
    assert lines[-1] == verdict_line(found) == "NOT ready: 1 red, 0 amber, 0 ok, 1 skipped. Correct what is red first."


@pytest.mark.parametrize(
    ("one", "words"), [(ok("1"), "Ready: "), (amber("1", "", ""), "Ready, and a person should look at what is amber: ")]
)
def test_the_verdict_is_one_line(one: Diagnosis, words: str, tmp_path: Path):
    assert verdict_line(report(tmp_path, check(lambda _: [one]))).startswith(words)


def test_each_check_has_a_name_of_its_own_and_areas_stand_together():
    names = [one.name for one in CHECKS]
    assert len(set(names)) == len(names)
    areas = [area for area, _ in itertools.groupby(one.area for one in CHECKS)]
    assert len(set(areas)) == len(areas)
    assert all(one.looks_at and one.limit_s > 0 for one in CHECKS)
