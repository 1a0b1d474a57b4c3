"""A process that speaks the survey's wire up to a point, and then does what broken drivers do to a process.

TEST_BREAKS in its environment says where and how: `STAGE:hangs`, `STAGE:dies` or `STAGE:babbles`; stages are `start`,
`torch` and `canary`.
"""

from __future__ import annotations

import os
import sys
import threading

from tests.fakes.recorded_installation import WHEELS

from torchgate.contract.gpu_driver import DriverFacts
from torchgate.contract.survey import Device, Facts, Stage, SurveyDone, TorchFacts, encode_survey
from torchgate.survey_app import python_facts
from torchgate.worker_app import open_end


def main() -> int:
    end = open_end(sys.argv[1:])
    stage, _, how = os.environ["TEST_BREAKS"].partition(":")
    end.read()
    break_if(stage == "start", how, end)
    end.write(encode_survey(Stage("importing torch")))
    break_if(stage == "torch", how, end)
    torch = TorchFacts("2.11.0+cu130", "70d9", "13.0", 91900, ("sm_90",))
    driver = DriverFacts("580.95.05", 13000)
    device = Device("NVIDIA H200", "9.0", 143156)
    end.write(encode_survey(Facts("0", python_facts(), torch, driver.release, driver.cuda, (device,), WHEELS)))
    end.write(encode_survey(Stage("computing the canary on cuda:0", "cuda:0")))
    break_if(stage == "canary", how, end)
    end.write(encode_survey(SurveyDone()))
    return 0


def break_if(is_here: bool, how: str, end: object) -> None:
    if is_here and how == "hangs":
        threading.Event().wait()
    if is_here and how == "dies":
        sys.stderr.write("terminate called after throwing an instance of 'c10::Error'\n")
        sys.stderr.flush()
        os._exit(134)
    if is_here:
        end.write(b"\xff\xff\xff\xff babble")  # type: ignore[attr-defined]
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
