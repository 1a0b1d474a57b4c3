"""A process as IIS's FastCGI module starts one: its standard input is the server end of a named pipe, both ways.

Source: iis.md 3.2. In a job that ends it with us; with an event by which IIS says that it is about to end it.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.rigs.fastcgi_records import FastCgiAnswer, read_answer, request_records

if sys.platform == "win32":
    import _winapi

    import pywintypes
    import win32api
    import win32con
    import win32event
    import win32file
    import win32job
    import win32pipe
    import win32process
    import win32security

    _FIRST_PIPE_INSTANCE = 0x00080000
    _BUFFER_BYTES = 64 * 1024
    _PIPE_ENDED = {109, 232, 233}  # broken, closing, not connected

    class FastCgiProcess:
        """A running process and our end of its pipe; ended at the end of the `with` block.

        Args:
            command: of the process.
            environment: of the process; the names of pipe and event are added.
            folder: where it starts.
        """

        def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
            name = rf"\\.\pipe\IISFCGI-{uuid.uuid4()}"
            inheritable = win32security.SECURITY_ATTRIBUTES()
            inheritable.bInheritHandle = True
            theirs = win32pipe.CreateNamedPipe(
                name,
                win32pipe.PIPE_ACCESS_DUPLEX | _FIRST_PIPE_INSTANCE,
                win32pipe.PIPE_TYPE_BYTE | win32pipe.PIPE_READMODE_BYTE | win32pipe.PIPE_WAIT,
                1,
                _BUFFER_BYTES,
                _BUFFER_BYTES,
                0,
                inheritable,
            )
            self._pipe = win32file.CreateFile(
                name, win32con.GENERIC_READ | win32con.GENERIC_WRITE, 0, None, win32con.OPEN_EXISTING, 0, None
            )
            self._about_to_end = win32event.CreateEvent(inheritable, True, False, None)
            self._job = win32job.CreateJobObject(None, "")
            limits = win32job.QueryInformationJobObject(self._job, win32job.JobObjectExtendedLimitInformation)
            limits["BasicLimitInformation"]["LimitFlags"] = win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
            win32job.SetInformationJobObject(self._job, win32job.JobObjectExtendedLimitInformation, limits)
            variables = {
                **environment,
                "_FCGI_X_PIPE_": name,
                "_FCGI_SHUTDOWN_EVENT_": str(int(self._about_to_end)),
            }
            startup = subprocess.STARTUPINFO(
                dwFlags=win32con.STARTF_USESTDHANDLES,
                hStdInput=int(theirs),
                hStdOutput=_winapi.NULL,
                hStdError=_winapi.NULL,
                lpAttributeList={"handle_list": [int(theirs), int(self._about_to_end)]},
            )
            process, thread, self.pid, _ = _winapi.CreateProcess(
                None,
                subprocess.list2cmdline(command),
                None,
                None,
                True,
                win32con.CREATE_SUSPENDED | win32con.CREATE_NO_WINDOW,
                variables,
                str(folder),
                startup,
            )
            self._process = process
            win32job.AssignProcessToJobObject(self._job, process)
            win32api.CloseHandle(theirs)
            win32process.ResumeThread(thread)
            _winapi.CloseHandle(thread)

        def ask(self, variables: Mapping[str, str], body: bytes = b"") -> FastCgiAnswer:
            """One request, after the one before.

            Raises:
                EOFError: the process ended.
            """
            self._write(request_records(variables, body))
            return read_answer(self._read)

        def say_that_it_ends(self) -> None:
            """As IIS does `signalBeforeTerminateSeconds` before it ends a process."""
            win32event.SetEvent(self._about_to_end)

        def hang_up(self) -> None:
            """Close our end, as IIS does with a process that it needs no more."""
            self._pipe.Close()

        def wait(self, timeout_s: float) -> int:
            """Its exit code, once it has ended.

            Raises:
                TimeoutError: it has not.
            """
            if _winapi.WaitForSingleObject(self._process, int(timeout_s * 1000)) != _winapi.WAIT_OBJECT_0:
                raise TimeoutError("the process has not ended")
            return _winapi.GetExitCodeProcess(self._process)

        def end(self) -> None:
            """End it without notice."""
            win32job.TerminateJobObject(self._job, 1)
            self.wait(120)

        def __enter__(self) -> FastCgiProcess:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            self.end()
            _winapi.CloseHandle(self._process)
            self._pipe.Close()
            self._job.Close()

        def _write(self, data: bytes) -> None:
            view = memoryview(data)
            try:
                for start in range(0, len(view), _BUFFER_BYTES):
                    win32file.WriteFile(self._pipe, view[start : start + _BUFFER_BYTES])
            except pywintypes.error as error:
                raise EOFError(str(error)) from None

        def _read(self, length: int) -> bytes:
            data = b""
            while len(data) < length:
                try:
                    piece = win32file.ReadFile(self._pipe, length - len(data))[1]
                except pywintypes.error as error:
                    if error.winerror in _PIPE_ENDED:
                        raise EOFError("the process closed the pipe") from None
                    raise
                data += bytes(piece)
            return data
