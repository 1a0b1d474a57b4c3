"""The `[engine]` and `[models]` tables of torchgate.toml."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field

from torchgate.contract.settings_file import Settings
from torchgate.contract.worker_limits import WorkerLimits


def _control_group(text: str) -> str:
    if text not in ("auto", "off") and not text.startswith("/"):
        raise ValueError("it is 'auto', 'off', or the whole path of a group, as /sys/fs/cgroup/torchgate")
    return text


class EngineSettings(Settings):
    """How much waits, how many workers stand by, and what happens when one dies."""

    standbys: Annotated[int, Field(ge=0, le=16)] = 1
    """Workers that have imported torch and wait for a model to replace a dead one, for each number of threads in use.
    Each takes about 250 MB; without one a replacement takes as long as importing torch, in which its requests wait."""

    max_queue_requests: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Requests of one model version that may wait for a worker; one more gets 503."""

    section_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 256 << 20
    """Shared memory of one model version, in bytes: half for the inputs of its waiting requests, half for answers.
    Windows counts it against the commit limit at once; Linux takes pages as they are used."""

    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads for all workers together; 0: as many as the machine has processors. Each worker of a model that does
    not say its own number gets an equal share, at least 1."""

    worker_max_memory_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = 0
    """Memory that one worker may commit, in bytes, where its model.toml says no `resources.max_memory_bytes`; 0: no
    limit."""

    worker_max_processes: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Processes that one worker may be, itself included, where its model.toml says no `resources.max_processes`; 0: 64
    where the operating system can hold it to that: Windows, and Linux with a control group."""

    worker_max_cpu_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Of all processors of the machine together, for one worker, where its model.toml says no
    `resources.max_cpu_percent`; 0: no limit. Linux needs a control group for it."""

    control_group: Annotated[str, AfterValidator(_control_group)] = "auto"
    """Linux: where workers get control groups (version 2) of their own. `auto`: in this process's own group, where it
    is delegated to this account (systemd: `Delegate=yes`); a path: in that group; `off`: nowhere."""

    start_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """How long a worker may take until torch is imported, in seconds."""

    memory_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = 0
    """Memory that all loaded model versions together may take, in bytes; a version that does not fit beside the others
    is not loaded. What each takes, its model.toml says, or it is estimated. 0: no limit."""

    restart_budget: Annotated[int, Field(ge=0, le=1000)] = 10
    """Deaths of one model version's workers within restart_window_s that are made good; one more makes it failed until
    a window has passed. Workers that run suspected rows are not counted."""

    restart_window_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Over what time deaths are counted, in seconds."""

    restart_delay_s: Annotated[float, Field(ge=0, le=60)] = 0.25
    """Wait before the second replacement within the window, in seconds; each further one waits twice as long, up to
    restart_window_s. The first never waits, nor does any while no other worker of the version lives: then
    restart_budget alone is the bound."""

    circuit_offences: Annotated[int, Field(ge=0, le=1000)] = 3
    """Requests of one principal that were proven to have ended a worker of one model version (it died of them or hung)
    within circuit_window_s, and open that principal's circuit: its further requests for it get 429. 0: never."""

    circuit_window_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Over what time such requests are counted, in seconds."""

    circuit_pause_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    """How long an open circuit lets nothing in, in seconds. Then one request may try, alone; if it ends its worker,
    too, the next pause is twice as long, up to 600 s."""

    worker_environment: tuple[str, ...] = ()
    """Names of further environment variables that workers may see. Everything but a short list is withheld."""

    def limits_of(self, said: WorkerLimits) -> WorkerLimits:
        """What a model says of itself, and what holds for those that say nothing."""
        return msgspec.structs.replace(
            said,
            memory_bytes=said.memory_bytes or self.worker_max_memory_bytes,
            processes=said.processes or self.worker_max_processes,
            cpu_percent=said.cpu_percent or self.worker_max_cpu_percent,
        )


class ShareSettings(Settings):
    """What a role is worth where several principals want the same model.

    A principal with several such roles gets the best of them; one without any has weight 1 and priority 0.
    """

    role: Annotated[str, Field(min_length=1, max_length=128)]
    """One of `[roles]`; each principal that has it gets a share of its own."""

    weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Of two principals that ask without pause, the one with twice the weight gets twice the time of the workers."""

    priority: Annotated[int, Field(ge=-10, le=10)] = 0
    """Whose requests go first: the higher number. A lower one still gets a tenth of the time while it waits. (The V2
    parameter `priority` is another thing: it orders the requests of its own caller.)"""


class SignerSettings(Settings):
    """Somebody whose signature makes a model's code trusted."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    """Its name in states, findings and logs."""

    public_key: str
    """`ed25519:BASE64` as `torchgate models keygen` prints it, or `file:PATH` of a PEM (Ed25519 or ECDSA P-256)."""

    models: tuple[str, ...] | None = None
    """The models that it may sign; absent: all."""

    valid_until: date | None = None
    """The last day on which models that it signed are loaded (UTC); absent: no end. Models that run go on."""


class ModelsSettings(Settings):
    """Where the models lie, and whose code may run."""

    folder: Path = Path("models")
    """The model repository: one folder for each model, in it model.toml and one folder for each version."""

    watch_interval_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """How often to look for changed, new and removed models, in seconds: what has not changed from one look to the
    next, and differs from what is served, is loaded as by `models load`. 0: never; only on request."""

    allow_code: tuple[str, ...] = ()
    """Models whose own code may run unsigned: a model class, an exported program and TorchScript all are code."""

    copies: bool = True
    """Whether versions are loaded from private copies in the state folder, which takes their size on disk once more:
    then their files may be replaced while they serve, and the replacement of a dead worker is surely the same. false:
    models that allow_code names are loaded from where they lie; signed ones never are."""

    signers: tuple[SignerSettings, ...] = ()
    """Whose signatures count. A model that allow_code does not name is loaded only as one of them signed it."""
