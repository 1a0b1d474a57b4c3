"""What an installation is, and what is said between `pin` or a server and the process that finds it out.

the asking side                 the process
(starts it)
Survey                          Stage …                                what it does now, so that a hang has a name
                                Facts
                                Stage, CanaryValues | CanaryFailed     for each device
                                Stage, AlteredFiles                    where it is asked for
                                SurveyDone, and it ends; SurveyFailed where there can be no Facts
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

CANARY_OPERATIONS = ("conv", "matmul", "softmax")
"""What a canary computes, by name."""


class PythonFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interpreter of the workers.

    Args:
        abi: what compiled extensions must have been built for.
    """

    version: str
    implementation: str
    abi: str
    system: str
    machine: str


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One installed distribution.

    Args:
        record: `sha256:…` over what its wheel's RECORD says of each file, or empty where it has none.
    """

    version: str
    record: str


class TorchFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The build of torch.

    Args:
        version: with its local tag, e.g. `2.11.0+cu130`.
        git: revision it was built from.
        cuda: it was built with; empty for a build without.
        cudnn: as torch says it, e.g. 91900; 0 where there is none.
        architectures: that it has kernels for, e.g. `sm_90`; empty where torch sees no device.
    """

    version: str
    git: str
    cuda: str
    cudnn: int
    architectures: tuple[str, ...]


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device that workers may use.

    Args:
        capability: e.g. `9.0`.
        driver_model: as gpu_driver.DriverFacts.
    """

    name: str
    capability: str
    memory_mib: int
    driver_model: str = ""


class Facts(msgspec.Struct, frozen=True, tag=True):
    """An installation as a worker would find it.

    Args:
        driver_release, driver_cuda: as gpu_driver.DriverFacts.
        wheels: by normalised name.
        trouble: what NVML and torch complained of, for the operator; or empty.
    """

    torchgate: str
    python: PythonFacts
    torch: TorchFacts
    driver_release: str
    driver_cuda: int
    devices: tuple[Device, ...]
    wheels: Mapping[str, Wheel]
    trouble: str = ""


class Survey(msgspec.Struct, frozen=True, tag=True):
    """Find out what this installation is.

    Args:
        canaries: devices to compute on, e.g. `cpu`, `cuda:0`; None: all there are.
        with_files: whether to read every file of every distribution, which takes long.
    """

    canaries: tuple[str, ...] | None = None
    with_files: bool = False


class Stage(msgspec.Struct, frozen=True, tag=True):
    """What happens from now on.

    Args:
        device: of a canary, or empty.
        doing: completes "while it was …".
    """

    doing: str
    device: str = ""


class CanaryValues(msgspec.Struct, frozen=True, tag=True):
    """What a device computed.

    Args:
        values: operation → what sums up its answer.
    """

    device: str
    values: Mapping[str, tuple[float, ...]]


class CanaryFailed(msgspec.Struct, frozen=True, tag=True):
    """A device can't compute; why, for the operator."""

    device: str
    reason: str


class AlteredFiles(msgspec.Struct, frozen=True, tag=True):
    """Files that are not what their wheel brought, `distribution: path (why)` each."""

    files: tuple[str, ...]


class SurveyDone(msgspec.Struct, frozen=True, tag=True):
    """Nothing follows."""


class SurveyFailed(msgspec.Struct, frozen=True, tag=True):
    """There are no facts; why, for the operator, and the traceback for who looks closer."""

    reason: str
    detail: str


FromSurveyor = Stage | Facts | CanaryValues | CanaryFailed | AlteredFiles | SurveyDone | SurveyFailed

_encoder = msgspec.msgpack.Encoder()
_from_surveyor: msgspec.msgpack.Decoder[FromSurveyor] = msgspec.msgpack.Decoder(FromSurveyor)
_to_surveyor: msgspec.msgpack.Decoder[Survey] = msgspec.msgpack.Decoder(Survey)


def encode_survey(message: Survey | FromSurveyor) -> bytes:
    """One frame, as worker_wire.Frames cuts them."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "little") + body


def decode_survey(frame: bytes) -> Survey:
    """The order. Raises msgspec.MsgspecError where it is none."""
    return _to_surveyor.decode(frame)


def decode_from_surveyor(frame: bytes) -> FromSurveyor:
    """What the process says. Raises msgspec.MsgspecError where it is nothing of ours."""
    return _from_surveyor.decode(frame)
