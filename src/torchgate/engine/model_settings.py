"""model.toml: what a model takes and gives and how it wants to be run; read without torch."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from torchgate.contract.settings_file import Settings
from torchgate.contract.tensors import DATATYPES, FLOATS, MAX_ELEMENTS, MAX_RANK, Signature, TensorSpec
from torchgate.contract.tuning import Choice, Tuned
from torchgate.contract.worker_limits import WorkerLimits

Format = Literal["class", "export", "torchscript", "aoti"]
Dimension = Annotated[int, Field(ge=-1, le=MAX_ELEMENTS)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class TensorSettings(Settings):
    """One input or output."""

    name: Name
    """As on the wire."""

    datatype: str
    """BOOL, INT8 … INT64, UINT8 … UINT64, FP16, BF16, FP32, FP64 or BYTES."""

    shape: Annotated[tuple[Dimension, ...], Field(max_length=MAX_RANK)]
    """Of one row, without the batch dimension (the whole shape where max_batch_size is 0); -1 is any length."""

    finite: bool = False
    """Of an output of FP16, BF16, FP32 or FP64: a request whose rows come out with NaN or infinity gets an error, and
    nobody else of its batch."""

    @field_validator("datatype")
    @classmethod
    def _is_known(cls, datatype: str) -> str:
        if datatype not in DATATYPES:
            raise ValueError(f"no such datatype. Allowed: {', '.join(sorted(DATATYPES))}")
        return datatype

    @model_validator(mode="after")
    def _can_be_infinite(self) -> TensorSettings:
        if self.finite and self.datatype not in FLOATS:
            raise ValueError(f"finite is for {', '.join(sorted(FLOATS))}; {self.datatype} is always finite")
        return self

    def spec(self) -> TensorSpec:
        """As the other rooms know it."""
        return TensorSpec(self.name, self.datatype, self.shape, self.finite)


class BatchingSettings(Settings):
    """Which requests run together."""

    max_batch_size: Annotated[int, Field(ge=0, le=65_536)] = 32
    """Rows that run together at most. 0: the model takes no batches, and shapes are whole."""

    max_batch_delay_s: Annotated[float, Field(ge=0, le=10)] = 0.002
    """How long a row waits for others that are already on their way, in seconds. With nobody else on the way, or no
    worker free, nothing waits for this."""


class LimitsSettings(Settings):
    """How long things may take, in seconds."""

    max_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """The longest deadline of a request, and the one of a request that names none."""

    max_run_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """A batch that runs longer costs the worker its life."""

    load_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """Loading and warm-up that take longer make the model failed."""


class WarmUpSettings(Settings):
    """Runs on made-up input before the model is ready."""

    runs: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many, each on the largest batch and on a single row. 0: the first caller pays."""


class TunedSettings(Settings):
    """How one version runs fastest, and what was measured; written by `torchgate models tune`, and not by hand."""

    choice: Choice
    """`eager`: as it is; `channels_last`: weights of convolutions laid out as they are read; `aoti`: compiled."""

    torch: str
    """The version that was measured; with another one the version runs as it is, and the log says so."""

    machine: str
    """What was measured on: system, processor and its features, GPU; any other runs the version as it is."""

    made_of: str
    """SHA-256 over the version's files and settings; after a change the version runs as it is."""

    package_sha256: str = ""
    """Of the compiled package, `tuned/aoti.pt2` in the version's folder."""

    threads: int
    """CPU threads while it was measured."""

    rows: tuple[int, ...]
    """Numbers of rows that were measured."""

    median_ms: dict[str, tuple[float, ...]]
    """Of one run, for each way to run it and each number of rows, in milliseconds."""

    tolerance: dict[str, float]
    """How far answers might differ from those of `eager`, for each datatype, as a part of an output's largest value."""

    difference: float
    """How far those of the choice did."""

    measured_on: date
    """In UTC."""

    def tuned(self) -> Tuned:
        """As the other rooms know it."""
        return Tuned(self.choice, self.torch, self.machine, self.made_of, self.package_sha256)


class ResourcesSettings(Settings):
    """What each worker may take of the machine; the operating system holds it to that where it can, and the log says
    where it can't. Accidents end here; code that means harm has all rights of the server's account.
    """

    max_memory_bytes: Annotated[int, Field(ge=256 << 20, le=1 << 50)] | None = None
    """Memory that a worker may commit, about 250 MB for torch itself included; a model that asks for more gets an
    error. Absent: engine.worker_max_memory_bytes. It is for all processes of a worker together on Windows and with a
    control group; else for each of them."""

    max_processes: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Processes that a worker may be, itself included. Absent: engine.worker_max_processes. Linux needs a
    control group."""

    processors: Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], Field(max_length=1024)] = ()
    """Numbers of the processors that it may run on, from 0; empty: all. Windows: 0 to 63."""

    max_cpu_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    """Of all processors of the machine together. Absent: engine.worker_max_cpu_percent. Linux needs a control group;
    else use `threads` and `processors`."""

    device_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of its CUDA device's memory that torch's allocator may give out in one worker."""

    def limits(self) -> WorkerLimits:
        """As the other rooms know them."""
        return WorkerLimits(
            memory_bytes=self.max_memory_bytes or 0,
            processes=self.max_processes or 0,
            processors=self.processors,
            cpu_percent=self.max_cpu_percent or 0,
            device_memory_fraction=self.device_memory_fraction or 0.0,
        )


class ModelSettings(Settings):
    """All of model.toml."""

    default_version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,17}$")] | None = None
    """The version that a request means which names none; absent: the highest."""

    format: Format | None = None
    """Absent: `export` where the version's folder holds a .pt2, `torchscript` for a .pt, `class` for a model.py.
    `aoti`, a package of AOTInductor, must be said."""

    entry: Annotated[str, Field(max_length=256)] | None = None
    """`file.py:Class` for a class, else the file's name; absent: the only one that there is."""

    idempotent: bool = True
    """Whether rows may be run twice, as happens to those that were in a worker that died."""

    replicas: Annotated[int, Field(ge=1, le=256)] = 1
    """Workers that hold a copy of the model."""

    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads of each worker; 0: an equal share of the machine."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$")] = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""

    memory_bytes: Annotated[int, Field(ge=1, le=1 << 50)] | None = None
    """What one replica takes with its weights and its largest batch, in bytes, for `engine.memory_bytes`; absent: twice
    the size of the version's folder."""

    reload: Literal["beside", "hand_over"] = "beside"
    """`beside`: a new version warms while the old one serves. `hand_over`: where memory has room for one alone, the old
    one goes first, and requests wait; then no more than one version of the model is loaded at any time."""

    device_weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """What the model is worth where several want the same device and it has no room for all: of two that always want
    it, the one with twice the weight gets twice as much of its time."""

    impersonate: bool = False
    """Whether the model's code acts with the Windows rights of its caller, in `with batch.as_caller():`. Only on
    Windows, behind IIS with Windows authentication, with format `class`, and where `identity.windows.impersonation` is
    true; the model is served nowhere else. Its batches hold rows of one token alone."""

    parameters: Annotated[dict[str, object], Field(default_factory=dict)]
    """Free settings for the author's `load`."""

    request_parameters: tuple[Name, ...] = ()
    """Parameters of a request that reach the model; any other is refused."""

    inputs: tuple[TensorSettings, ...]
    """In the order of an exported program's arguments."""

    outputs: tuple[TensorSettings, ...]
    """In the order of an exported program's results."""

    batching: BatchingSettings = BatchingSettings()
    limits: LimitsSettings = LimitsSettings()
    resources: ResourcesSettings = ResourcesSettings()
    warm_up: WarmUpSettings = WarmUpSettings()
    tuned: Annotated[dict[str, TunedSettings], Field(default_factory=dict)]
    """Version → what `torchgate models tune` found for it."""

    @field_validator("inputs", "outputs")
    @classmethod
    def _names_are_unique(cls, tensors: tuple[TensorSettings, ...]) -> tuple[TensorSettings, ...]:
        names = [tensor.name for tensor in tensors]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the name {twice!r} is there twice; each must be unique")
        if not names:
            raise ValueError("there must be at least one")
        return tensors

    @field_validator("inputs")
    @classmethod
    def _finite_is_for_outputs(cls, inputs: tuple[TensorSettings, ...]) -> tuple[TensorSettings, ...]:
        if any(one.finite for one in inputs):
            raise ValueError("finite is for outputs; an input is as its caller sends it")
        return inputs

    def signature(self) -> Signature:
        """As the other rooms know it."""
        return Signature(tuple(one.spec() for one in self.inputs), tuple(one.spec() for one in self.outputs))
