"""May this principal do this action on this resource: the question and its answer."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Action(StrEnum):
    """What is asked. Each route of the gate names exactly one."""

    INFER = "infer"  # run a model
    READ = "read"  # metadata, config, readiness, statistics of a model; the repository index
    LOAD = "load"
    UNLOAD = "unload"
    METRICS = "metrics"  # /metrics
    ADMIN = "admin"  # everything else that changes state
    IDENTIFY = "identify"  # /whoami: every authenticated principal may
    CANCEL = "cancel"  # take back requests of one's own: every authenticated principal may
    DESCRIBE = "describe"  # server metadata and /openapi.json: every authenticated principal may


class ModelRef(msgspec.Struct, frozen=True, order=True):
    """One version of one model: the pair that decision, permit, queue and audit carry."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def names_every_version(action: Action, version: str | None) -> bool:
    """Whether a model's bare name stands for all its versions, and not for the one that is asked by default."""
    return not version and action in (Action.LOAD, Action.UNLOAD)


class Resource(msgspec.Struct, frozen=True):
    """On what: a model version, or the server itself (model None).

    Args:
        model: as the door resolved it; None for the server.
        name: the name as asked for, where no such model exists (then model is None).
        version: the version as asked for, where no such model exists; empty where none was.
        is_every_version: whether all versions of the model are meant, as by a load of its bare name; then a rule
            about some versions is too narrow to grant it, and enough to deny it.
    """

    model: ModelRef | None = None
    name: str = ""
    version: str = ""
    is_every_version: bool = False


class RequestFacts(msgspec.Struct, frozen=True):
    """What only the decoded body tells, for the second of the two decisions.

    Args:
        rows: rows of the request (1 for a model that takes no batches).
        body_bytes: as read, before inflation.
    """

    rows: int
    body_bytes: int


class Decision(msgspec.Struct, frozen=True):
    """Allow or deny, with its reason; the reason is for audit and `policy explain`, never for the caller.

    Args:
        allowed: the answer.
        rule: the deciding rule, e.g. `policy.grants[2]`, `policy.denials[0]`, `default deny`, `hook`.
        reason: one sentence.
        policy_version: digest of the policy that decided.
        covers_name: whether some grant of the principal covers this model name, existing or not:
            then an unknown model is 404 and no secret (DESIGN 10).
    """

    allowed: bool
    rule: str
    reason: str
    policy_version: str
    covers_name: bool = False
