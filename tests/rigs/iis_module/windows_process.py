"""A process as the module starts it, on Windows: suspended, in a job that takes all down with it, no standard input.

What Wine lacks: Ctrl+Break to another process, and who owns a listening port.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pywintypes
import win32api
import win32con
import win32console
import win32event
import win32file
import win32job
import win32pipe
import win32process
import win32security

_KEPT_CHARACTERS = 30_000
_INVALID_HANDLE = -1


class WindowsProcess:
    """One process with all that it starts."""

    def __init__(self, program: str, arguments: str, folder: Path, environment: Mapping[str, str]) -> None:
        inheritable = win32security.SECURITY_ATTRIBUTES()
        inheritable.bInheritHandle = True
        self._pipe, writer = win32pipe.CreatePipe(inheritable, 0)
        win32api.SetHandleInformation(self._pipe, win32con.HANDLE_FLAG_INHERIT, 0)
        startup = win32process.STARTUPINFO()
        startup.dwFlags = win32con.STARTF_USESTDHANDLES
        startup.hStdInput, startup.hStdOutput, startup.hStdError = _INVALID_HANDLE, writer, writer
        flags = (
            win32con.CREATE_NO_WINDOW
            | win32con.CREATE_SUSPENDED
            | win32con.CREATE_NEW_PROCESS_GROUP
            | win32con.CREATE_UNICODE_ENVIRONMENT
        )
        line = f'"{program}" {arguments}'
        try:
            self._process, thread, self.pid, _ = win32process.CreateProcess(
                None, line, None, None, True, flags, dict(environment), str(folder), startup
            )
        except pywintypes.error as error:
            raise OSError(f"{line}: {error.strerror}") from None
        finally:
            writer.Close()
        self._job = _job()
        win32job.AssignProcessToJobObject(self._job, self._process)
        win32process.ResumeThread(thread)
        thread.Close()
        self._output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def output(self) -> str:
        """The first 30 000 characters that it printed, which the event log would have."""
        return self._output

    def has_ended(self) -> bool:
        """Whether the process that was started itself is gone."""
        return self.wait(0)

    def wait(self, timeout_s: float) -> bool:
        """Whether it is gone before the time is over."""
        return win32event.WaitForSingleObject(self._process, int(timeout_s * 1000)) == win32event.WAIT_OBJECT_0

    def members(self) -> set[int]:
        """Process ids of the job."""
        return set(win32job.QueryInformationJobObject(self._job, win32job.JobObjectBasicProcessIdList))

    def owner_of(self, port: int) -> int | None:
        """Itself."""
        return self.pid

    def interrupt(self) -> bool:
        """Send Ctrl+Break to its group; whether it could be sent."""
        try:
            win32console.GenerateConsoleCtrlEvent(win32con.CTRL_BREAK_EVENT, self.pid)
        except pywintypes.error:
            return False
        return True

    def kill(self) -> None:
        """End it and the job."""
        if not self.has_ended():
            win32process.TerminateProcess(self._process, 1)
        self._job.Close()
        self.wait(120)
        self._reader.join(120)

    def lend(self, token: object) -> int:
        """Duplicate a token into it; the handle's number there."""
        here, same = win32api.GetCurrentProcess(), win32con.DUPLICATE_SAME_ACCESS
        return int(win32api.DuplicateHandle(here, token, self._process, 0, False, same).Detach())

    def _read(self) -> None:
        try:
            while data := win32file.ReadFile(self._pipe, 4096)[1]:
                if len(self._output) < _KEPT_CHARACTERS:
                    self._output += data.decode("utf-8", "replace")
        except pywintypes.error:  # the last writer is gone
            return


def listens(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1; by connecting, because Wine's table is not to be relied on."""
    with socket.socket() as probe:
        probe.settimeout(0.25)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def content_of(file: Path) -> bytes:
    """All of a file, which anybody may take away meanwhile."""
    shared = win32file.FILE_SHARE_READ | win32file.FILE_SHARE_WRITE | win32file.FILE_SHARE_DELETE
    try:
        handle = win32file.CreateFile(str(file), win32file.GENERIC_READ, shared, None, win32file.OPEN_EXISTING, 0, None)
        try:
            return bytes(win32file.ReadFile(handle, win32file.GetFileSize(handle))[1])
        finally:
            handle.Close()
    except pywintypes.error as error:
        raise OSError(str(error)) from None


def _job() -> object:
    """Takes its processes down when its last handle closes, and lets none of them out."""
    job = win32job.CreateJobObject(None, "")
    limits = win32job.QueryInformationJobObject(job, win32job.JobObjectExtendedLimitInformation)
    limits["BasicLimitInformation"]["LimitFlags"] = win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    win32job.SetInformationJobObject(job, win32job.JobObjectExtendedLimitInformation, limits)
    return job
