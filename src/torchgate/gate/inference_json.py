"""The JSON part of an inference request, as the protocol writes it.

Members that the protocol does not know are ignored, as Triton and KServe do. Of a member that comes twice the last
counts; nobody else reads this body, and policy sees what this decoder saw, so no two readers can disagree.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from torchgate.contract.errors import InvalidRequest
from torchgate.contract.tensors import MAX_ELEMENTS, MAX_RANK

MAX_TENSORS = 256
"""Inputs or outputs of one request; far more than any model we know has."""

Parameters = dict[str, bool | int | float | str]
Dimension = Annotated[int, msgspec.Meta(ge=0, le=MAX_ELEMENTS)]


class InputJson(msgspec.Struct):
    """One input; `data` stays text until its datatype and shape are known."""

    name: str
    datatype: str
    shape: Annotated[list[Dimension], msgspec.Meta(max_length=MAX_RANK)]
    parameters: Parameters | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class OutputJson(msgspec.Struct):
    """One wanted output."""

    name: str
    parameters: Parameters | None = None


class RequestJson(msgspec.Struct):
    """The whole."""

    inputs: Annotated[list[InputJson], msgspec.Meta(min_length=1, max_length=MAX_TENSORS)]
    id: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    parameters: Parameters | None = None
    outputs: Annotated[list[OutputJson], msgspec.Meta(max_length=MAX_TENSORS)] | None = None


_decoder = msgspec.json.Decoder(RequestJson)


def parse_request(text: bytes | memoryview) -> RequestJson:
    """The request in a JSON text.

    Raises:
        InvalidRequest: it is no JSON, or no inference request.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The inference request is malformed: {error}.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body can't be read as JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body can't be read as JSON: it is nested too deeply.") from None
