"""Our end of a worker's channel: what is sent, and what of it is sealed."""

from __future__ import annotations

import msgspec

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.os_services import Child
from torchgate.contract.worker_seal import Sealer, new_channel_key
from torchgate.contract.worker_wire import Load, Order, Run, ToWorker, encode


class OrderLine:
    """Sends to one child; what is written before there is one is lost, as it would be after its end."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._sealer: Sealer | None = None

    def lead_to(self, child: Child) -> None:
        """Its channel is open."""
        self._child = child

    def with_key(self, load: Load) -> Load:
        """The message that gives the worker the key by which it knows our orders from here on."""
        key = new_channel_key()
        self._sealer = Sealer(key)
        return msgspec.structs.replace(load, channel_key=key)

    def order(self, order: Order) -> None:
        """Send what only the holder of the key may ask for."""
        if self._sealer is not None:
            self.send(self._sealer.seal(order))

    def order_run(self, run: Run, token: CallerToken | None) -> str:
        """Send a run, with its caller's token lent to the child, if it has one; why not, or empty: it is sent."""
        if token is not None and self._child is not None:
            try:
                run = msgspec.structs.replace(run, token=self._child.lend(token))
            except OSError as error:
                return str(error)
        self.order(run)
        return ""

    def send(self, message: ToWorker) -> None:
        """Send it, without waiting."""
        if self._child is not None:
            self._child.write(encode(message))
