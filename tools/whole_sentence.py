"""Tells the whole sentence of the product, on Windows or with a Windows Python under Wine, and proves it.

    python -m tools.whole_sentence       about two minutes; needs an administrator, and what the demo needs

The service, its processes and the folder are gone at the end. The same is a test: tests/integration/iis.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.rigs.whole_sentence import Sentence, callers_sid, whole_sentence


def main() -> int:
    """Tell it; 0 only if all of it was as it must be."""
    if sys.platform != "win32":
        print("This needs Windows, or a Windows Python under Wine: tokens, jobs and services exist there alone.")
        return 2
    began = time.perf_counter()

    def tell(line: str) -> None:
        print(f"{time.perf_counter() - began:6.1f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="whole sentence ") as folder, whole_sentence(Path(folder), tell) as told:
        is_right = _asked(told, tell) and _recycled(told, tell)
    print("\nAll as it must be." if is_right else "\nSOMETHING WAS NOT AS IT MUST BE.")
    return 0 if is_right else 1


def _asked(sentence: Sentence, tell: Callable[[str], None]) -> bool:
    tell("ANN and GUEST ask, as users whom IIS has authenticated; then somebody without a name")
    answers = [sentence.infer("digits", sentence.digit(), user) for user in ("ANN", "GUEST", None)]
    probabilities = json.loads(answers[0].body)["outputs"][0]["data"] if answers[0].status == 200 else [0.0] * 10
    said = max(range(10), key=lambda one: probabilities[one])
    tell(f"   {[one.status for one in answers]}; digits says {said}, a person wrote a {sentence.sample['digit']}")
    texts = sentence.infer("similarity", sentence.texts(), "ANN")
    tell(f"   similarity: {json.loads(texts.body)['outputs'][0]['data'] if texts.status == 200 else texts.status}")
    tell("The audit trail")
    for event in sentence.requests()[-3:]:
        tell(f"   {event['status_code']}  {event['actor']['user']['uid']}  {event['actor']['user'].get('name', '')}")
    names = {event["actor"]["user"]["uid"] for event in sentence.requests()[-3:]}
    is_named = names == {callers_sid()}
    return is_named and [one.status for one in answers] == [200, 403, 401] and said == sentence.sample["digit"]


def _recycled(sentence: Sentence, tell: Callable[[str], None]) -> bool:
    tell("IIS recycles, with overlap, while callers ask on")
    seen = sentence.recycled_under_load()
    failed = sum(status != 200 for status in seen.statuses)
    tell(
        f"   {len(seen.statuses)} answers, {failed} of them no 200; the gate was process {seen.gates[0]}, now it is "
        f"{seen.gates[1]}; the workers are {sorted(seen.workers[0])}, and after it {sorted(seen.workers[1])}"
    )
    return not failed and seen.workers[0] == seen.workers[1] and seen.gates[0] != seen.gates[1]


if __name__ == "__main__":
    raise SystemExit(main())
