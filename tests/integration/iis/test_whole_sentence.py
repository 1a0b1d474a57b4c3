"""The whole sentence of the product on Windows binaries; `python -m tools.whole_sentence` tells it to people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rigs.processes import has_ended
from tests.rigs.whole_sentence import Sentence, callers_sid, whole_sentence


@pytest.mark.windows("tokens, jobs and the service control manager exist there alone")
@pytest.mark.torch_start
@pytest.mark.timeout(1200)
def test_a_user_of_iis_is_answered_by_a_service_and_a_recycle_fails_nobody(tmp_path: Path) -> None:
    with whole_sentence(tmp_path, print) as sentence:
        answers_by_identity(sentence)
        before = len(sentence.requests())
        recycled = sentence.recycled_under_load()
        assert set(recycled.statuses) == {200}, sentence.iis.output()
        assert len(recycled.statuses) > 20, "it was asked all the while"
        assert len(sentence.requests()) - before == len(recycled.statuses), "each answer is in the trail"
        assert recycled.gates[0] != recycled.gates[1]
        assert has_ended(recycled.gates[0])
        assert (1006, "answered 202") in recycled.log
        assert recycled.workers[0] == recycled.workers[1], "no model was loaded again"
        assert recycled.pool_events[0] == recycled.pool_events[1]
        answers_by_identity(sentence)


def answers_by_identity(sentence: Sentence) -> None:
    """Of both models, for one who may; a refusal for one who may not; nothing without a user."""
    digit = sentence.infer("digits", sentence.digit(), "ANN")
    assert digit.status == 200, sentence.iis.output()
    probabilities = json.loads(digit.body)["outputs"][0]["data"]
    assert max(range(10), key=lambda one: probabilities[one]) == sentence.sample["digit"]
    texts = sentence.infer("similarity", sentence.texts(), "ANN")
    alike, other = json.loads(texts.body)["outputs"][0]["data"]
    assert alike > 0.6
    assert other < 0.2
    assert sentence.infer("digits", sentence.digit(), "GUEST").status == 403
    assert sentence.infer("digits", sentence.digit(), None).status == 401
    allowed, refused = sentence.requests()[-2:]
    for event, status in ((allowed, "200"), (refused, "403")):
        assert event["actor"]["user"]["uid"] == callers_sid(), event["actor"]
        assert event["status_code"] == status
    assert "policy.grants[0]" in json.dumps(allowed["authorizations"])
