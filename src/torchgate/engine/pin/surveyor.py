"""Has a throw-away process find out what this installation is; whatever becomes of that process, there is an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from torchgate.contract.os_services import Children, ChildSpec
from torchgate.contract.survey import (
    AlteredFiles,
    CanaryFailed,
    CanaryValues,
    Facts,
    FromSurveyor,
    Stage,
    Survey,
    SurveyDone,
    SurveyFailed,
    decode_from_surveyor,
    encode_survey,
)
from torchgate.contract.worker_wire import Frames, WireError
from torchgate.engine.worker_environment import working_folder

MODULE = "torchgate.survey_app"
_SHOWN_LINES = 40
_END_S = 2.0
"""For a killed process to be gone: one that a driver holds in a system call may never be."""


class SurveyEnded(Exception):
    """Nothing was found out; the text says why, for the operator.

    Args:
        printed: what the process said besides, for who looks closer.
    """

    def __init__(self, why: str, printed: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.printed = tuple(printed)


class Seen(msgspec.Struct, frozen=True):
    """What was found out.

    Args:
        canaries: device → operation → what sums up its answer.
        failures: device → why it has no answer.
        altered: files that are not what their wheel brought, where it was asked for.
    """

    facts: Facts
    canaries: Mapping[str, Mapping[str, tuple[float, ...]]]
    failures: Mapping[str, str]
    altered: tuple[str, ...] = ()

    @property
    def troubles(self) -> dict[str, str]:
        """Why facts may be missing, as compare.mismatches takes it."""
        troubles = {f"canary.{device}": why for device, why in self.failures.items()}
        if self.facts.trouble:
            troubles |= dict.fromkeys(("driver", "devices", "torch.architectures"), self.facts.trouble)
        return troubles


class Surveyor:
    """Starts the processes.

    Args:
        children: of the operating system.
        environment: of a worker.
        timeout_s: for each process, from its start to its last word.
        module: that speaks for the installation.
    """

    def __init__(
        self,
        children: Callable[[], Children],
        environment: Mapping[str, str],
        timeout_s: float,
        *,
        module: str = MODULE,
    ) -> None:
        self._children = children
        self._environment = environment
        self._timeout_s = timeout_s
        self._module = module

    async def survey(self, canaries: Sequence[str] | None, *, with_files: bool = False) -> Seen:
        """What this installation is.

        Args:
            canaries: devices to compute on; None: all there are.
            with_files: whether to read every file of every distribution, too.

        Raises:
            SurveyEnded: there are no facts, in time.
        """
        order = Survey(None if canaries is None else tuple(canaries), with_files)
        listener = _Listener(order)
        spec = ChildSpec("survey", self._module, (), self._environment, working_folder())
        children = self._children()
        try:
            child = await children.start(spec, listener, listener.output)
        except OSError as error:
            raise SurveyEnded(f"no process could be started: {error.strerror or error}") from None
        try:
            child.write(encode_survey(order))
            done, _ = await asyncio.wait([listener.over], timeout=self._timeout_s)
            if not done:
                listener.end(f"took longer than {self._timeout_s:g} s and was ended")
        finally:
            child.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await child.wait()
            children.close()
        return listener.seen()


class _Listener:
    """What the process says; implements os_services.ChannelReceiver."""

    def __init__(self, order: Survey) -> None:
        self._order = order
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.printed: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._frames = Frames()
        self._pending = b""
        self._stage = Stage("starting")
        self._facts: Facts | None = None
        self._values: dict[str, Mapping[str, tuple[float, ...]]] = {}
        self._failures: dict[str, str] = {}
        self._altered: tuple[str, ...] | None = None
        self._why = ""

    def data_received(self, data: bytes) -> None:
        """Messages, cut anywhere."""
        try:
            for frame in self._frames.feed(data):
                self._received(decode_from_surveyor(frame))
        except (WireError, msgspec.MsgspecError) as error:
            self.end(f"sent what is no message of ours ({error})")

    def channel_closed(self) -> None:
        """It has ended."""
        self.end("ended")

    def output(self, data: bytes) -> None:
        """What it printed; shown only where it fails."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._pending = self._pending[-4096:]
        self.printed.extend(ascii(line.decode("utf-8", "replace").rstrip())[1:-1] for line in lines if line.strip())

    def end(self, what: str) -> None:
        """It says nothing more; what it was doing is to blame."""
        self._finish(f"the throw-away process {what} while it was {self._stage.doing}")

    def seen(self) -> Seen:
        """What was found out.

        Raises:
            SurveyEnded: no facts, or not all files were read.
        """
        if self._facts is None or (self._order.with_files and self._altered is None):
            raise SurveyEnded(self._why or "the throw-away process did not say all", self.printed)
        wanted = {"cpu", self._stage.device or "cpu"} if self._order.canaries is None else self._order.canaries
        missing = [device for device in sorted(wanted) if device not in self._values and device not in self._failures]
        failures = self._failures | dict.fromkeys(missing, self._why or "it was not asked")
        return Seen(self._facts, self._values, failures, self._altered or ())

    def _received(self, message: FromSurveyor) -> None:
        match message:
            case Stage():
                self._stage = message
            case Facts():
                self._facts = message
            case CanaryValues():
                self._values[message.device] = message.values
            case CanaryFailed():
                self._failures[message.device] = message.reason
            case AlteredFiles():
                self._altered = message.files
            case SurveyDone():
                self._finish("")
            case SurveyFailed():
                self.printed.extend(message.detail.splitlines())
                self._finish(message.reason)

    def _finish(self, why: str) -> None:
        if not self.over.done():
            self._why = why
            self.over.set_result(None)
