"""Torchgate puts PyTorch models behind IIS: identity, policy, quotas and audit around warm, isolated workers."""

TYPE_CHECKING = False  # type checkers know the name; `typing` itself takes longer to import than all that is here
if TYPE_CHECKING:
    from torchgate.contract.caller_tokens import CannotImpersonate
    from torchgate.contract.decision import Action, Decision, ModelRef, RequestFacts, Resource
    from torchgate.contract.errors import Forbidden, TorchgateError
    from torchgate.contract.model import Array, Batch, LoadContext, Model, NoCaller
    from torchgate.contract.policy_hook import PolicyContext, PolicyHook
    from torchgate.contract.principal import Principal, RowPrincipal
    from torchgate.gate.caller import BlockingCaller, Caller, blocking_caller, caller
    from torchgate.mounted import Gate

__all__ = [
    "Action",
    "Array",
    "Batch",
    "BlockingCaller",
    "Caller",
    "CannotImpersonate",
    "Decision",
    "Forbidden",
    "Gate",
    "LoadContext",
    "Model",
    "ModelRef",
    "NoCaller",
    "PolicyContext",
    "PolicyHook",
    "Principal",
    "RequestFacts",
    "Resource",
    "RowPrincipal",
    "TorchgateError",
    "__version__",
    "blocking_caller",
    "caller",
]

__version__ = "0.1.0"

_HOMES = {
    "torchgate.contract.caller_tokens": ("CannotImpersonate",),
    "torchgate.contract.decision": ("Action", "Decision", "ModelRef", "RequestFacts", "Resource"),
    "torchgate.contract.errors": ("Forbidden", "TorchgateError"),
    "torchgate.contract.model": ("Array", "Batch", "LoadContext", "Model", "NoCaller"),
    "torchgate.contract.policy_hook": ("PolicyContext", "PolicyHook"),
    "torchgate.contract.principal": ("Principal", "RowPrincipal"),
    "torchgate.gate.caller": ("BlockingCaller", "Caller", "blocking_caller", "caller"),
    "torchgate.mounted": ("Gate",),
}
"""Where the public names are. They come when they are first asked for: a server that IIS starts has its port to bind
before it imports anything that takes long, and every command of ours passes here."""


def __getattr__(name: str) -> object:
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            found: object = getattr(importlib.import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
