"""Torchgate puts PyTorch models behind IIS: identity, policy, quotas and audit around warm, isolated workers."""

from torchgate.contract.decision import Action, Decision, ModelRef, RequestFacts, Resource
from torchgate.contract.model import Array, Batch, LoadContext, Model
from torchgate.contract.policy_hook import PolicyContext, PolicyHook
from torchgate.contract.principal import Principal, RowPrincipal

__all__ = [
    "Action",
    "Array",
    "Batch",
    "Decision",
    "LoadContext",
    "Model",
    "ModelRef",
    "PolicyContext",
    "PolicyHook",
    "Principal",
    "RequestFacts",
    "Resource",
    "RowPrincipal",
    "__version__",
]

__version__ = "0.1.0"
