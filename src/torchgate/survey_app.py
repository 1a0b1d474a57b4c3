"""A process that says what this installation is, computes a little on each device, and ends.

Its environment is a worker's, so that what it finds is what a worker will find. Whatever a broken driver or build does
to it, it does to nobody else. Started by `torchgate pin`, and by servers whose project has a lock.
"""

from __future__ import annotations

import itertools
import os
import platform
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from torchgate import __version__
from torchgate.contract.gpu_driver import DriverFacts
from torchgate.contract.os_services import WorkerEnd
from torchgate.contract.survey import (
    AlteredFiles,
    CanaryFailed,
    Facts,
    FromSurveyor,
    PythonFacts,
    Stage,
    Survey,
    SurveyDone,
    SurveyFailed,
    Wheel,
    decode_survey,
    encode_survey,
)
from torchgate.worker.nvml import nvidia_driver
from torchgate.worker.wheels import altered_files, installed_wheels
from torchgate.worker_app import do_one_order

Send = Callable[[FromSurveyor], None]
_MOST_ALTERED = 1000
"""Who finds so many files altered need not know of more."""


def main() -> int:
    """Read the order, do it, answer; the exit code."""
    return do_one_order("survey", decode_survey, _answer)


def _answer(order: Survey, end: WorkerEnd) -> None:
    def send(message: FromSurveyor) -> None:
        end.write(encode_survey(message))

    try:
        survey(order, send)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        send(SurveyFailed(f"{type(error).__name__}: {error}", traceback.format_exc()))


def survey(order: Survey, send: Send) -> None:
    """Say what there is, stage by stage."""
    send(Stage("listing the installed distributions"))
    wheels = installed_wheels()
    send(Stage("asking the NVIDIA driver"))
    driver = nvidia_driver().facts()
    send(Stage("importing torch"))
    try:
        # Late and on purpose: a torch that can't be imported is something to say, too.
        import torch

        from torchgate.worker.canary import canary
        from torchgate.worker.threads import bound_threads
    except (ImportError, OSError) as error:
        send(SurveyFailed(f"torch can't be imported: {error}", traceback.format_exc()))
        return
    bound_threads(os.environ)
    send(Stage("asking torch for its devices"))
    facts = facts_of(driver, wheels, torch)
    send(facts)
    here = ("cpu", *(f"cuda:{index}" for index in range(len(facts.devices))))
    for device in here if order.canaries is None else order.canaries:
        send(Stage(f"computing the canary on {device}", device))
        send(canary(device) if device in here else CanaryFailed(device, "there is no such device"))
    if order.with_files:
        send(Stage("reading every installed file"))
        send(AlteredFiles(tuple(itertools.islice(altered_files(), _MOST_ALTERED))))
    send(SurveyDone())


def facts_of(driver: DriverFacts, wheels: Mapping[str, Wheel], build: Any) -> Facts:
    """All that was found out.

    Args:
        build: the module torch.
    """
    from torchgate.worker.torch_facts import driver_cuda, torch_devices, torch_facts  # late, as above

    torch, complaint = torch_facts(build)
    return Facts(
        torchgate=__version__,
        python=python_facts(),
        torch=torch,
        driver_release=driver.release,
        driver_cuda=driver.cuda or driver_cuda(build),
        devices=torch_devices(driver, build),
        wheels=wheels,
        trouble=". ".join(part.rstrip(".") for part in (driver.trouble, complaint) if part),
    )


def python_facts() -> PythonFacts:
    """This interpreter."""
    return PythonFacts(
        version=platform.python_version(),
        implementation=platform.python_implementation(),
        abi=f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}",
        system=sys.platform,
        machine=platform.machine(),
    )


if __name__ == "__main__":
    sys.exit(main())
