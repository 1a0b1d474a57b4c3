"""Child processes on Windows: pipes as channel, a kill-on-close job, a handle to wait on."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import _winapi
    import asyncio
    import msvcrt
    import os
    import subprocess
    import threading
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack, suppress
    from pathlib import Path
    from typing import Any

    import win32con
    import win32job
    import win32process

    from torchgate.contract.caller_tokens import CallerToken
    from torchgate.contract.os_services import ChannelReceiver, Child, ChildSpec, Section
    from torchgate.contract.worker_limits import Enforcement, WorkerLimits
    from torchgate.windows.interpreter import interpreter, virtual_environment
    from torchgate.windows.kept_token import KeptToken
    from torchgate.windows.limits import limit_job
    from torchgate.windows.pipes import pipe_from_child, pipe_to_child
    from torchgate.windows.section import WindowsSection
    from torchgate.windows.worker_end import channel_argument

    _LAST_OUTPUT_S = 1.0
    _EXIT_KILLED = 1
    _CREATE_SUSPENDED = 0x00000004
    _BOOTSTRAP = (
        "import sys, runpy; sys.path[:0] = sys.argv.pop(1).split('|'); "
        "sys.argv.pop(0); runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )

    class WindowsChildren:
        """Starts child processes, which die with us however we die: their job ends with its last handle, ours.

        Args:
            module_folders: where a child finds modules before its interpreter's own folders: for a package that is
                not installed. None in production.

        Process: a Proactor event loop's thread.
        """

        def __init__(self, *, module_folders: Sequence[Path] = ()) -> None:
            self._module_folders = tuple(module_folders)

        async def start(self, spec: ChildSpec, receiver: ChannelReceiver, on_output: Callable[[bytes], None]) -> Child:
            """Start one."""
            with ExitStack() as undo:
                pipes = (pipe_to_child(), pipe_from_child(), pipe_from_child())
                for pipe in pipes:
                    for end in pipe:
                        undo.callback(end.close)
                (to_child, child_in), (from_child, child_out), (output, child_output) = pipes
                process, thread, pid = self._create(spec, child_in.handle, child_out.handle, child_output.handle)
                for end in (child_in, child_out, child_output):
                    end.close()
                child = WindowsChild(process, pid, thread)
                undo.callback(child.kill)
                await child.connect(to_child, from_child, output, receiver, on_output)
                undo.pop_all()
                return child

        def close(self) -> None:
            """Nothing: each child has a job of its own."""

        def _create(self, spec: ChildSpec, incoming: int, outgoing: int, output: int) -> tuple[int, int, int]:
            """Create it suspended, with these handles and no other; process handle, thread handle, pid."""
            with Path(os.devnull).open("rb") as nothing:
                standard_input = msvcrt.get_osfhandle(nothing.fileno())
                os.set_handle_inheritable(standard_input, True)
                startup = subprocess.STARTUPINFO(
                    dwFlags=win32con.STARTF_USESTDHANDLES,
                    hStdInput=standard_input,
                    hStdOutput=output,
                    hStdError=output,
                    lpAttributeList={"handle_list": [standard_input, incoming, outgoing, output]},
                )
                process, thread, pid, _ = _winapi.CreateProcess(
                    interpreter(),
                    subprocess.list2cmdline(self._command(spec, incoming, outgoing)),
                    None,
                    None,
                    True,
                    # A console that nobody sees: without any, each program that the child starts would open a window
                    # on a person's desktop, and importing torch alone starts one (`platform` asks `ver`).
                    _CREATE_SUSPENDED | subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP,
                    dict(spec.environment) | virtual_environment(),
                    str(spec.folder),
                    startup,
                )
            return process, thread, pid

        def _command(self, spec: ChildSpec, incoming: int, outgoing: int) -> list[str]:
            program = ["-m", spec.module]
            if self._module_folders:
                program = ["-c", _BOOTSTRAP, "|".join(map(str, self._module_folders)), spec.module]
            channel = channel_argument(incoming, outgoing)
            return [sys.executable, "-I", "-X", "utf8", *program, channel, *spec.arguments]

    class WindowsChild:
        """A running child and our end of its channel.

        Args:
            process, thread: handles of a process that was created suspended; it runs when this object is made.
            pid: of the process.
        """

        def __init__(self, process: int, pid: int, thread: int) -> None:
            self._process = process
            self._pid = pid
            self._loop = asyncio.get_running_loop()
            self._exit_code: asyncio.Future[int] = self._loop.create_future()
            self._output_ended: asyncio.Future[None] = self._loop.create_future()
            self._transports: list[asyncio.BaseTransport] = []
            self._writer: asyncio.WriteTransport | None = None
            try:
                self._job = _kill_on_close_job()
                win32job.AssignProcessToJobObject(self._job, process)
                win32process.ResumeThread(thread)
            except BaseException:
                _winapi.TerminateProcess(process, _EXIT_KILLED)
                _winapi.CloseHandle(process)
                raise
            finally:
                _winapi.CloseHandle(thread)
            threading.Thread(target=self._watch, name=f"wait for {pid}", daemon=True).start()

        async def connect(
            self,
            to_child: object,
            from_child: object,
            output: object,
            receiver: ChannelReceiver,
            on_output: Callable[[bytes], None],
        ) -> None:
            """Listen to the pipes, which belong to this object from here."""
            loop = self._loop
            self._writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, to_child)
            self._transports.append(self._writer)
            reader, _ = await loop.connect_read_pipe(
                lambda: _Listening(receiver.data_received, receiver.channel_closed), from_child
            )
            self._transports.append(reader)
            reader, _ = await loop.connect_read_pipe(
                lambda: _Listening(on_output, lambda: self._output_ended.set_result(None)), output
            )
            self._transports.append(reader)

        @property
        def pid(self) -> int:
            """Of the interpreter itself."""
            return self._pid

        def write(self, data: bytes) -> None:
            """Send to the child, without waiting. What is written to one that is gone is lost, as it would be."""
            if self._writer is not None and not self._writer.is_closing():
                self._writer.write(data)

        def hand_over(self, section: Section) -> int:
            """Duplicate the section's handle into the child; the token is its value there.

            Raises:
                OSError: the child is gone.
            """
            if not isinstance(section, WindowsSection):
                raise TypeError("only sections of WindowsSections can be handed over")
            if self._exit_code.done():
                raise OSError("the child is gone")
            ours = _winapi.GetCurrentProcess()
            return _winapi.DuplicateHandle(ours, section.handle, self._process, 0, False, _winapi.DUPLICATE_SAME_ACCESS)

        def lend(self, token: CallerToken) -> int:
            """Duplicate a caller's token into the child; returns its number there.

            Raises:
                OSError: the token is closed, or the child is gone.
            """
            if not isinstance(token, KeptToken):
                raise TypeError("only tokens that WindowsTokenReader kept can be lent")
            if self._exit_code.done():
                raise OSError("the child is gone")
            return token.lent_to(self._process)

        def limit(self, limits: WorkerLimits) -> tuple[Enforcement, ...]:
            """Hold its job to its limits.

            Raises:
                OSError: Windows refused one, or the child is gone.
            """
            if self._exit_code.done():
                raise OSError("the child is gone")
            return limit_job(self._job, limits)

        def kill(self) -> None:
            """End it at once and everything it started. Safe to call twice."""
            if not self._exit_code.done():
                win32job.TerminateJobObject(self._job, _EXIT_KILLED)

        async def wait(self) -> int:
            """Its exit code, once it has ended and its last words were given to `on_output`."""
            code = await asyncio.shield(self._exit_code)
            await asyncio.wait([self._output_ended], timeout=_LAST_OUTPUT_S)
            for transport in self._transports:
                transport.close()
            return code

        def _watch(self) -> None:
            """Wait for the end, in a thread of its own: it ends with the process, and asks nothing of the loop."""
            _winapi.WaitForSingleObject(self._process, _winapi.INFINITE)
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._ended)

        def _ended(self) -> None:
            win32job.TerminateJobObject(self._job, _EXIT_KILLED)  # what it started and left behind
            self._job.Close()
            self._exit_code.set_result(_winapi.GetExitCodeProcess(self._process))
            _winapi.CloseHandle(self._process)

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

    def _kill_on_close_job() -> Any:
        job: Any = win32job.CreateJobObject(None, "")
        limits = win32job.QueryInformationJobObject(job, win32job.JobObjectExtendedLimitInformation)
        limits["BasicLimitInformation"]["LimitFlags"] = win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        win32job.SetInformationJobObject(job, win32job.JobObjectExtendedLimitInformation, limits)
        return job
