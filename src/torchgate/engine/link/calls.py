"""Every awaited method of the engine but `admit`, asked over the wire: types come from the contract's own signatures.

A method that is added to contract.inference.Engine needs one line in RemoteEngine and nothing here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from torchgate.contract.inference import Engine
from torchgate.engine.link.wire import LinkBroken

_NOT_ASKED = frozenset({"admit"})  # gives a permit, which has messages of its own


class Method:
    """One method: how its arguments and its answer are written and read.

    Args:
        name: in Engine.
    """

    def __init__(self, name: str) -> None:
        function = getattr(Engine, name)
        hints = get_type_hints(function)
        parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
        self.name = name
        self._keywords = [one.name if one.kind is one.KEYWORD_ONLY else "" for one in parameters]
        self._signature = inspect.signature(function)
        self._encoder = msgspec.msgpack.Encoder()
        self._arguments: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
            tuple[tuple(hints[one.name] for one in parameters)]  # type: ignore[misc]
        )
        self._answer: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(hints["return"])

    def write_arguments(self, values: tuple[object, ...], named: Mapping[str, object]) -> msgspec.Raw:
        """Arguments as the method would be called with them, defaults filled in."""
        bound = self._signature.bind(None, *values, **named)
        bound.apply_defaults()
        return msgspec.Raw(self._encoder.encode(list(bound.arguments.values())[1:]))

    async def call(self, engine: Engine, arguments: msgspec.Raw) -> msgspec.Raw:
        """Ask an engine.

        Raises:
            LinkBroken: these are no arguments of this method. And what the method raises.
        """
        try:
            values = self._arguments.decode(arguments)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LinkBroken(f"no arguments of {self.name}: {error}") from None
        pairs = list(zip(self._keywords, values, strict=True))
        positional = [value for keyword, value in pairs if not keyword]
        named = {keyword: value for keyword, value in pairs if keyword}
        return msgspec.Raw(self._encoder.encode(await getattr(engine, self.name)(*positional, **named)))

    def read_answer(self, value: msgspec.Raw) -> Any:
        """What the method returned.

        Raises:
            LinkBroken: it is nothing that this method returns.
        """
        try:
            return self._answer.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LinkBroken(f"no answer of {self.name}: {error}") from None


def asked_methods() -> dict[str, Method]:
    """All of them, by name."""
    return {
        name: Method(name)
        for name, function in vars(Engine).items()
        if inspect.iscoroutinefunction(function) and name not in _NOT_ASKED
    }
