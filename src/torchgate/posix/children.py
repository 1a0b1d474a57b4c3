"""Child processes on POSIX: a socket as channel, a process group to kill, a pidfd to wait on."""

from __future__ import annotations

import array
import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.os_services import ChannelReceiver, Child, ChildSpec, Section
from torchgate.contract.worker_limits import Enforcement, WorkerLimits
from torchgate.posix.control_groups import ControlGroups
from torchgate.posix.descendants import MARK, end_marked, new_mark
from torchgate.posix.limits import limit_process
from torchgate.posix.section import PosixSection
from torchgate.posix.worker_end import TOKEN, channel_argument
from torchgate.posix.worker_group import WorkerGroup

_log = logging.getLogger("torchgate.engine")

_LAST_OUTPUT_S = 1.0
"""How long `wait` waits for the output's end after the process's: a grandchild in a session of its own may hold it."""

_BOOTSTRAP = (
    "import sys, runpy; sys.path[:0] = sys.argv.pop(1).split('|'); "
    "sys.argv.pop(0); runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
"""`-m` for a module outside the interpreter's own folders, which isolated mode knows alone."""


class PosixChildren:
    """Starts child processes with spawn semantics, which die with us however we die.

    Args:
        module_folders: where a child finds modules before its interpreter's own folders: for a package that is
            not installed. None in production.
        groups: that hold the children where there are such; closed here.

    Process: the event loop's thread, which must live as long as the children: the kernel ends a child with the
    thread that started it.
    """

    def __init__(self, *, module_folders: Sequence[Path] = (), groups: ControlGroups | None = None) -> None:
        self._module_folders = tuple(module_folders)
        self._groups = groups

    async def start(self, spec: ChildSpec, receiver: ChannelReceiver, on_output: Callable[[bytes], None]) -> Child:
        """Start one."""
        with ExitStack() as undo:
            channel, child_channel = _pair(undo)
            sections, child_sections = _pair(undo)
            sections.setblocking(False)
            output_end, child_output = os.pipe()
            output = undo.enter_context(os.fdopen(output_end, "rb", buffering=0))
            mark = new_mark()
            with os.fdopen(child_output, "wb", buffering=0) as child_output_file:
                process = self._popen(spec, mark, (child_channel, child_sections), child_output_file)
            child_channel.close()
            child_sections.close()
            child = PosixChild(process, sections, self._groups, mark)
            undo.callback(child.kill)
            child.enter_group()
            await child.connect(channel, output, receiver, on_output)
            undo.pop_all()
            return child

    def close(self) -> None:
        """Give back what they had together; all have ended."""
        if self._groups is not None:
            self._groups.close()
            self._groups = None

    def _popen(
        self, spec: ChildSpec, mark: str, ends: tuple[socket.socket, socket.socket], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        channel, sections = ends
        passed = channel_argument(channel.fileno(), sections.fileno(), os.getpid())
        program = ["-m", spec.module]
        if self._module_folders:
            program = ["-c", _BOOTSTRAP, "|".join(map(str, self._module_folders)), spec.module]
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", *program, passed, *spec.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**spec.environment, MARK: mark},
            cwd=spec.folder,
            pass_fds=(channel.fileno(), sections.fileno()),
            start_new_session=True,
        )


class PosixChild:
    """A running child and our end of its channel.

    Args:
        process: just started.
        sections: on which sections are sent.
        groups: of which it gets one.
        mark: in its environment.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], sections: socket.socket, groups: ControlGroups | None, mark: str
    ) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._sections = sections
        self._groups = groups
        self._mark = mark
        self._group: WorkerGroup | None = None
        self._next_token = 1
        self._exit_code: asyncio.Future[int] = loop.create_future()
        self._output_ended: asyncio.Future[None] = loop.create_future()
        self._channel: asyncio.Transport | None = None
        self._output: asyncio.ReadTransport | None = None
        self._exit_descriptor = os.pidfd_open(process.pid)
        loop.add_reader(self._exit_descriptor, self._ended)

    def enter_group(self) -> None:
        """Put it into a group of its own: right after its start, when nothing but our code runs in it."""
        if self._groups is None:
            return
        try:
            group = self._groups.new()
            group.enter(self._process.pid)
        except OSError as error:
            # Too many groups, or somebody has removed ours: `limit` says what is not held then.
            _log.warning("process %d got no control group: %s", self._process.pid, error)
        else:
            self._group = group

    async def connect(
        self, channel: socket.socket, output: IO[bytes], receiver: ChannelReceiver, on_output: Callable[[bytes], None]
    ) -> None:
        """Listen to the channel and the output, which belong to this object from here."""
        loop = asyncio.get_running_loop()
        self._channel, _ = await loop.create_unix_connection(
            lambda: _Listening(receiver.data_received, receiver.channel_closed), sock=channel
        )
        self._output, _ = await loop.connect_read_pipe(
            lambda: _Listening(on_output, lambda: self._output_ended.set_result(None)), output
        )

    @property
    def pid(self) -> int:
        """Of the interpreter itself."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Send to the child, without waiting. What is written to one that is gone is lost, as it would be anyhow."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(data)

    def hand_over(self, section: Section) -> int:
        """Send the section's descriptor; the child takes it when it opens the token.

        Raises:
            OSError: the child is gone.
        """
        if not isinstance(section, PosixSection):
            raise TypeError("only sections of PosixSections can be handed over")
        token, self._next_token = self._next_token, self._next_token + 1
        descriptors = array.array("i", [section.descriptor])
        self._sections.sendmsg([TOKEN.pack(token)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        return token

    def lend(self, token: CallerToken) -> int:
        """There are none here.

        Raises:
            OSError: always.
        """
        raise OSError("this system has no callers' tokens: they are Windows'")

    def limit(self, limits: WorkerLimits) -> tuple[Enforcement, ...]:
        """Hold it, and what it starts from here on, to its limits.

        Raises:
            OSError: the kernel refused one, or the child is gone.
        """
        if self._exit_code.done():  # its number may be another's by now
            raise ProcessLookupError("the child is gone")
        return limit_process(self._process.pid, limits, self._group)

    def kill(self) -> None:
        """End it at once and everything it started. Safe to call twice."""
        if not self._exit_code.done():
            self._kill_all()

    async def wait(self) -> int:
        """Its exit code (negative: the signal), once it has ended and its last words were given to `on_output`."""
        code = await asyncio.shield(self._exit_code)
        await asyncio.wait([self._output_ended], timeout=_LAST_OUTPUT_S)
        if self._output is not None:
            self._output.close()
        return code

    def _ended(self) -> None:
        """The process has ended; until we reap it its number is its own, so that the group can be killed safely."""
        asyncio.get_running_loop().remove_reader(self._exit_descriptor)
        os.close(self._exit_descriptor)
        self._kill_all()
        if self._groups is not None and self._group is not None:
            for sentence in self._group.reached():
                _log.warning("process %d %s", self._process.pid, sentence)
            self._groups.end(self._group)
        else:
            asyncio.get_running_loop().run_in_executor(None, self._end_left_behind)
        self._sections.close()
        self._exit_code.set_result(self._process.wait())

    def _end_left_behind(self) -> None:
        count = end_marked(self._mark)
        if count:
            _log.warning("ended %d processes that process %d had started and left behind", count, self._process.pid)

    def _kill_all(self) -> None:
        if self._group is not None:
            self._group.kill()
        with suppress(ProcessLookupError):  # the whole process group is gone
            os.killpg(self._process.pid, signal.SIGKILL)


class _Listening(asyncio.Protocol):
    """Passes on what arrives, and the end once.

    Args:
        on_data, on_end: called on the event loop.
    """

    def __init__(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_end = on_end

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()


def _pair(undo: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that are closed should the start fail; closing one twice does no harm."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    undo.enter_context(ours)
    undo.enter_context(theirs)
    return ours, theirs
