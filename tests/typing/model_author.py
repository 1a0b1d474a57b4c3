"""Only type-checked, never run: what a model author and the author of a policy function write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

import torchgate


class Echo(torchgate.Model):
    """A model with a state of its own."""

    def load(self, context: torchgate.LoadContext) -> None:
        assert_type(context.folder, Path)
        assert_type(context.device, str)
        assert_type(context.parameters, Mapping[str, object])
        self.device = context.device

    def predict(self, batch: torchgate.Batch) -> Mapping[str, torchgate.Array]:
        assert_type(batch.rows, int)
        assert_type(batch.deadline_at, float)
        owner: torchgate.RowPrincipal = batch.principals[0]
        assert_type(owner.roles, tuple[str, ...])
        return {"y": batch.inputs["x"]}


def is_small(facts: torchgate.RequestFacts | None) -> bool:
    return facts is None or facts.rows < 10


def describe(principal: torchgate.Principal, resource: torchgate.Resource) -> str:
    model: torchgate.ModelRef | None = resource.model
    return f"{principal.key} {model.name if model is not None else resource.name}"


def refuse(policy_version: str) -> torchgate.Decision:
    return torchgate.Decision(allowed=False, rule="hook", reason="never.", policy_version=policy_version)


def actions() -> list[str]:
    return [action.value for action in torchgate.Action]


assert_type(torchgate.__version__, str)
