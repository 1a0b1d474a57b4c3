"""Parameters of a request, of its inputs and of its outputs: which have a meaning here."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from torchgate.contract.errors import InvalidRequest, Unsupported
from torchgate.contract.inference import ModelDescription, ParameterValue
from torchgate.gate.inference_json import Parameters

MAX_PRIORITY = 2**31 - 1


class RequestWishes(msgspec.Struct):
    """What the parameters of a request ask for.

    Args:
        timeout_s: or None.
        priority: 0 is none.
        is_binary: all outputs that don't say otherwise are wanted as bytes.
        for_model: those that the model declares.
    """

    timeout_s: float | None = None
    priority: int = 0
    is_binary: bool = False
    for_model: Mapping[str, ParameterValue] = msgspec.field(default_factory=dict)


def request_wishes(parameters: Parameters | None, description: ModelDescription) -> RequestWishes:
    """The meaning of a request's parameters.

    Raises:
        InvalidRequest: one is unknown, reserved or has a value of the wrong kind. Unsupported: sequences.
    """
    wishes = RequestWishes()
    if not parameters:
        return wishes
    for_model: dict[str, ParameterValue] = {}
    for name, value in parameters.items():
        if name == "binary_data_output":
            wishes.is_binary = _boolean(name, value)
        elif name == "timeout":
            microseconds = _whole(name, value, 2**63 - 1)
            wishes.timeout_s = microseconds / 1e6 if microseconds else None  # 0 is Triton's "no wish"
        elif name == "priority":
            wishes.priority = _whole(name, value, MAX_PRIORITY)
        elif name.startswith("sequence_"):
            raise Unsupported("Sequences are not supported here; send each request on its own.")
        elif name.startswith("triton_") or name == "headers":
            raise InvalidRequest(f"The parameter name '{name[:64]}' is reserved.")
        elif name in description.parameters:
            for_model[name] = value
        else:
            raise InvalidRequest(
                f"The parameter '{name[:64]}' is unknown to this server and to model '{description.ref.name}'."
            )
    wishes.for_model = for_model
    return wishes


def binary_size(name: str, parameters: Parameters | None) -> int | None:
    """The bytes that an input has after the JSON part, or None: its data are in the JSON.

    Raises:
        InvalidRequest, Unsupported: another parameter.
    """
    if not parameters:
        return None
    found: int | None = None
    for key, value in parameters.items():
        if key == "binary_data_size":
            found = _whole(key, value, 2**40)
        elif key.startswith("shared_memory_"):
            raise Unsupported("Shared memory of clients is not supported; send the tensor in the body.")
        else:
            raise InvalidRequest(f"The parameter '{key[:64]}' of input '{name}' is unknown.")
    return found


def output_is_binary(name: str, parameters: Parameters | None, default: bool) -> bool:
    """Whether an output is wanted as bytes.

    Raises:
        InvalidRequest, Unsupported: another parameter.
    """
    wanted = default
    for key, value in (parameters or {}).items():
        if key == "binary_data":
            wanted = _boolean(key, value)
        elif key == "classification":
            if _whole(key, value, 2**31):
                raise Unsupported("Classification is not supported; ask for the output itself.")
        elif key.startswith("shared_memory_"):
            raise Unsupported("Shared memory of clients is not supported; take the tensor from the body.")
        else:
            raise InvalidRequest(f"The parameter '{key[:64]}' of output '{name}' is unknown.")
    return wanted


def _boolean(name: str, value: ParameterValue) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"The parameter '{name}' must be true or false.")
    return value


def _whole(name: str, value: ParameterValue, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InvalidRequest(f"The parameter '{name}' must be a whole number from 0 to {most}.")
    return value
