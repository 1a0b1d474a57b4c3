"""This process as a Windows service: what the service control manager is told, and what it says.

Its dispatcher runs in a thread of its own, so that the program has the main thread, as it has everywhere else.
Source: .NET's WindowsServiceLifetime does the same; Microsoft Learn, "Service Status Transitions".
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import threading
    from collections.abc import Callable
    from typing import Any

    import pywintypes
    import servicemanager
    import win32service

    _CONNECT_S = 30.0
    """For the manager to call us back, after which it has given us up. Source: ServicesPipeTimeout's default."""

    _SPECIFIC_ERROR = 1066  # ERROR_SERVICE_SPECIFIC_ERROR: the second code is the program's own
    _NOT_A_SERVICE = 1063  # ERROR_FAILED_SERVICE_CONTROLLER_CONNECT
    _ACCEPTED = win32service.SERVICE_ACCEPT_STOP | win32service.SERVICE_ACCEPT_PRESHUTDOWN
    """Preshutdown and not shutdown: there is time then, and the disks and other services are still there."""

    class NotAService(Exception):
        """Nobody has started this process as a service."""

    class WindowsServiceHost:
        """Implements contract.services.Supervisor for the one service of this process.

        Args:
            name: of the service.
            start_timeout_s, stop_timeout_s: what the manager is told to wait for.

        Thread/process: a process hosts one, once.
        """

        def __init__(self, name: str, *, start_timeout_s: float, stop_timeout_s: float) -> None:
            self._name = name
            self._hints_s = {
                win32service.SERVICE_START_PENDING: start_timeout_s,
                win32service.SERVICE_STOP_PENDING: stop_timeout_s,
            }
            self._lock = threading.Lock()
            self._status: Any = None
            self._state = win32service.SERVICE_START_PENDING
            self._check_point = 0
            self._stop: Callable[[], None] | None = None
            self._is_stop_asked = False
            self._began = threading.Event()
            self._ended = threading.Event()
            self._reported = threading.Event()
            self._refusal: pywintypes.error | None = None

        def begin(self) -> None:
            """Tell the manager that we are here; it waits 30 s for that, and so nothing slow comes before.

            Raises:
                NotAService: it did not start us.
                OSError: it does not answer.
            """
            servicemanager.Initialize()
            servicemanager.PrepareToHostSingle(self._made)
            threading.Thread(target=self._dispatch, name="service control", daemon=True).start()
            if not self._began.wait(_CONNECT_S):
                raise OSError("the service control manager does not answer")
            if self._refusal is not None:
                if self._refusal.winerror == _NOT_A_SERVICE:
                    raise NotAService
                raise OSError(0, self._refusal.strerror, None, self._refusal.winerror)

        def listen(self, stop: Callable[[], None]) -> None:
            """Call `stop` from now on; at once where it was asked for before."""
            with self._lock:
                self._stop = stop
                is_late = self._is_stop_asked
            if is_late:
                stop()

        def ready(self) -> None:
            """The service runs."""
            with self._lock:
                if not self._is_stop_asked:
                    self._report(win32service.SERVICE_RUNNING)

        def stopping(self) -> None:
            """It ends."""
            with self._lock:
                self._report(win32service.SERVICE_STOP_PENDING)

        def end(self, code: int) -> None:
            """Say how it ended; afterwards the manager may end this process at any moment.

            Args:
                code: 0 is success; for any other the manager does what it is told to do after a failure.
            """
            with self._lock:
                self._report(win32service.SERVICE_STOPPED, code)
            self._ended.set()

        def _dispatch(self) -> None:
            try:
                servicemanager.StartServiceCtrlDispatcher()
            except pywintypes.error as error:
                self._refusal = error
            self._began.set()

        def _made(self, arguments: list[str]) -> WindowsServiceHost:
            """What pywin32 asks for when the service is started; the object whose SvcRun is the service."""
            self._status = servicemanager.RegisterServiceCtrlHandler(arguments[0], self._control, True)
            return self

        def SvcRun(self) -> None:  # noqa: N802, as pywin32 calls it
            """The service, as pywin32 sees it: it lasts until `end`."""
            with self._lock:
                self._report(self._state)
            self._began.set()
            self._ended.wait()
            # What returns is reported as a success over what we have said; this thread ends with the process.
            threading.Event().wait()

        def _control(self, control: int, _kind: int, _data: object) -> None:
            """The manager says something, on the dispatcher's thread."""
            is_stop = control in (win32service.SERVICE_CONTROL_STOP, win32service.SERVICE_CONTROL_PRESHUTDOWN)
            with self._lock:
                self._is_stop_asked |= is_stop
                stop = self._stop if is_stop else None
                self._report(win32service.SERVICE_STOP_PENDING if is_stop else self._state)
            if stop is not None:
                stop()

        def _report(self, state: int, code: int = 0) -> None:
            if self._status is None or self._state == win32service.SERVICE_STOPPED:
                return
            self._state = state
            hint_s = self._hints_s.get(state, 0.0)
            self._check_point = self._check_point + 1 if hint_s else 0
            accepted = 0 if state in (win32service.SERVICE_START_PENDING, win32service.SERVICE_STOPPED) else _ACCEPTED
            win32service.SetServiceStatus(
                self._status,
                (
                    win32service.SERVICE_WIN32_OWN_PROCESS,
                    state,
                    accepted,
                    _SPECIFIC_ERROR if code else 0,
                    code,
                    self._check_point,
                    int(hint_s * 1000),
                ),
            )
