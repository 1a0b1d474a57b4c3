"""The services of this machine, through the service control manager."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import _winapi
    import re
    import subprocess
    import time
    import winreg
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import contextmanager
    from pathlib import Path
    from typing import Any

    import pywintypes
    import win32service

    from torchgate.contract.clock import monotonic_s
    from torchgate.contract.services import ServiceProblem, ServiceSpec, ServiceState, ServiceStatus
    from torchgate.windows.event_log import register_source, remove_source
    from torchgate.windows.service_folder import make_service_folder

    _LOOK_S = 0.05
    _LAST_WORD_S = 10.0
    _SYNCHRONIZE = 0x0010_0000
    _RESET_S = 24 * 3600
    """Without a failure, after which the next one counts as the first."""

    _LINE_LIMIT = 32_767  # characters of a command line
    _SPECIFIC_ERROR = 1066
    _STATES: dict[int, ServiceState] = {
        win32service.SERVICE_STOPPED: "stopped",
        win32service.SERVICE_START_PENDING: "starting",
        win32service.SERVICE_RUNNING: "running",
        win32service.SERVICE_STOP_PENDING: "stopping",
    }
    _REMEDIES = {
        5: "it needs an administrator. Open a console by `Run as administrator`, and say it again",
        1053: "it did not answer the service control manager in time. Its log and the event log may say why",
        1057: "there is no such account, or it needs a password. A virtual account (NT SERVICE\\NAME) and a group "
        "managed one (DOMAIN\\NAME$) need none",
        1058: "it is disabled. Enable it in services.msc",
        1060: "there is no such service. `torchgate service install` makes it",
        1069: "its account could not log on. Set its password in services.msc, which also grants it the right to log "
        "on as a service",
        1072: "it is marked for deletion. Close services.msc and other programs that look at it, then try again",
        1073: "it is there already. `torchgate service uninstall` takes it away",
    }
    """By error of Windows. Source: winerror.h."""

    class WindowsServices:
        """Implements contract.services.Services."""

        def planned(self, spec: ServiceSpec) -> Sequence[str]:
            """What the service control manager is told."""
            return (
                f"service: {spec.name} ({spec.title})",
                f"command: {command_line(spec)}",
                f"account: {spec.account}",
                "starts: with the system, a little after it (delayed)",
                f"stops: within {spec.stop_timeout_s:g} s, before the system shuts down",
                f"after a failure: started again after {', '.join(f'{delay} s' for delay in spec.restart_delays_s)}",
                *(f"environment: {name}={value}" for name, value in spec.environment.items()),
                *(f"folder for {spec.account} alone: {folder}" for folder in spec.folders),
            )

        def install(self, spec: ServiceSpec) -> Sequence[str]:
            """Make it; where a part fails after that, it is taken away again."""
            if found := re.search(r"%[^%]+%", line := command_line(spec)):
                raise ServiceProblem(f"{spec.name}: Windows would take {found[0]} in its command line for a variable")
            if len(line) > _LINE_LIMIT:
                raise ServiceProblem(f"{spec.name}: its command line has {len(line)} characters; shorten its paths")
            with _manager(win32service.SC_MANAGER_CREATE_SERVICE) as manager:
                service = _told(
                    spec.name,
                    lambda: win32service.CreateService(
                        manager,
                        spec.name,
                        spec.title,
                        win32service.SERVICE_ALL_ACCESS,
                        win32service.SERVICE_WIN32_OWN_PROCESS,
                        win32service.SERVICE_AUTO_START,
                        win32service.SERVICE_ERROR_NORMAL,
                        line,
                        None,
                        0,
                        None,
                        spec.account,
                        None,
                    ),
                )
                try:
                    return tuple(_configured(service, spec))
                except BaseException:
                    win32service.DeleteService(service)
                    raise
                finally:
                    win32service.CloseServiceHandle(service)

        def uninstall(self, name: str, timeout_s: float) -> None:
            """Stop it and take it away."""
            with _service(name, win32service.SERVICE_ALL_ACCESS) as service:
                _stopped(service, name, timeout_s)
                _told(name, lambda: win32service.DeleteService(service))
            remove_source(name)

        def start(self, name: str, timeout_s: float) -> None:
            """Start it and wait."""
            with _service(name, win32service.SERVICE_START | win32service.SERVICE_QUERY_STATUS) as service:
                if _status(service)["CurrentState"] == win32service.SERVICE_STOPPED:
                    _told(name, lambda: win32service.StartService(service, None))
                seen = _awaited(service, timeout_s, (win32service.SERVICE_RUNNING, win32service.SERVICE_STOPPED))
                if seen["CurrentState"] == win32service.SERVICE_STOPPED:
                    raise ServiceProblem(f"{name} has ended at once, with {_exit_code(seen)}. Its log says why")
                if seen["CurrentState"] != win32service.SERVICE_RUNNING:
                    raise ServiceProblem(f"{name} does not run after {timeout_s:g} s. Its log says what it does")

        def stop(self, name: str, timeout_s: float) -> None:
            """Stop it and wait."""
            with _service(name, win32service.SERVICE_STOP | win32service.SERVICE_QUERY_STATUS) as service:
                _stopped(service, name, timeout_s)

        def status(self, name: str) -> ServiceStatus:
            """How it is."""
            with _service(name, win32service.SERVICE_QUERY_STATUS | win32service.SERVICE_QUERY_CONFIG) as service:
                seen = _status(service)
                configured = _told(name, lambda: win32service.QueryServiceConfig(service))
                return ServiceStatus(
                    _STATES.get(seen["CurrentState"], "stopped"),
                    configured[7],
                    configured[3],
                    seen["ProcessId"],
                    _exit_code(seen),
                )

    def command_line(spec: ServiceSpec) -> str:
        """As Windows takes it apart again; the program's path is quoted always, so that no part of it is another's."""
        return f'"{spec.command[0]}" {subprocess.list2cmdline(spec.command[1:])}'.rstrip()

    def _configured(service: Any, spec: ServiceSpec) -> Iterator[str]:
        """Say what this system did not take, which is never enough to do without the service."""
        actions = [(win32service.SC_ACTION_RESTART, delay * 1000) for delay in spec.restart_delays_s]
        failure = {"ResetPeriod": _RESET_S, "RebootMsg": "", "Command": "", "Actions": actions}
        stop_ms = int(spec.stop_timeout_s * 1000)
        for what, level, value in (
            ("its description", win32service.SERVICE_CONFIG_DESCRIPTION, spec.description),
            ("its start after a failure", win32service.SERVICE_CONFIG_FAILURE_ACTIONS, failure),
            ("that an exit code is a failure, too", win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
            ("its late start", win32service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True),
            ("its time to stop when the system does", win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO, stop_ms),
        ):
            try:
                win32service.ChangeServiceConfig2(service, level, value)
            except pywintypes.error as error:
                yield f"{what} could not be set: {error.strerror}"
        try:
            _set_environment(spec)
            register_source(spec.name)
            for folder in spec.folders:
                make_service_folder(Path(folder), spec.account)
        except OSError as error:
            raise ServiceProblem(f"{spec.name} was not installed: {error}") from None

    def _set_environment(spec: ServiceSpec) -> None:
        # Read by the service control manager, and merged into what every service has.
        if spec.environment:
            lines = [f"{name}={value}" for name, value in spec.environment.items()]
            path = rf"SYSTEM\CurrentControlSet\Services\{spec.name}"
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path, 0, winreg.KEY_SET_VALUE) as key:
                winreg.SetValueEx(key, "Environment", 0, winreg.REG_MULTI_SZ, lines)

    def _stopped(service: Any, name: str, timeout_s: float) -> None:
        until = monotonic_s() + timeout_s
        process = _process(_status(service)["ProcessId"])
        if _status(service)["CurrentState"] == win32service.SERVICE_START_PENDING:
            # It takes no word before it runs.
            _awaited(service, timeout_s, (win32service.SERVICE_RUNNING, win32service.SERVICE_STOPPED))
        if _status(service)["CurrentState"] == win32service.SERVICE_RUNNING:
            _told(name, lambda: win32service.ControlService(service, win32service.SERVICE_CONTROL_STOP))
        seen = _awaited(service, max(until - monotonic_s(), 0), (win32service.SERVICE_STOPPED,))
        if seen["CurrentState"] != win32service.SERVICE_STOPPED:
            raise ServiceProblem(
                f"{name} has not stopped within {timeout_s:g} s; it is process {seen['ProcessId']}. Wait, or end that"
            )
        # It has said its last word before its process ends, and holds its files until then.
        if process is not None:
            _winapi.WaitForSingleObject(process, int(max(until - monotonic_s(), _LAST_WORD_S) * 1000))
            _winapi.CloseHandle(process)

    def _process(pid: int) -> int | None:
        """A handle to wait on; None where there is no process, or not for us."""
        try:
            return _winapi.OpenProcess(_SYNCHRONIZE, False, pid) if pid else None
        except OSError:
            return None

    def _awaited(service: Any, timeout_s: float, states: tuple[int, ...]) -> dict[str, int]:
        until = monotonic_s() + timeout_s
        while (seen := _status(service))["CurrentState"] not in states and monotonic_s() < until:
            time.sleep(_LOOK_S)
        return seen

    def _status(service: Any) -> dict[str, int]:
        return dict(_told("the service", lambda: win32service.QueryServiceStatusEx(service)))

    def _exit_code(seen: dict[str, int]) -> int:
        code = seen["Win32ExitCode"]
        return seen["ServiceSpecificExitCode"] if code == _SPECIFIC_ERROR else code

    def _told(name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except pywintypes.error as error:
            remedy = _REMEDIES.get(error.winerror, f"{error.strerror.rstrip('.')} (error {error.winerror})")
            raise ServiceProblem(f"{name}: {remedy}") from None

    @contextmanager
    def _manager(rights: int) -> Iterator[Any]:
        rights |= win32service.SC_MANAGER_CONNECT
        manager = _told("the service control manager", lambda: win32service.OpenSCManager(None, None, rights))
        try:
            yield manager
        finally:
            win32service.CloseServiceHandle(manager)

    @contextmanager
    def _service(name: str, rights: int) -> Iterator[Any]:
        with _manager(0) as manager:
            service = _told(name, lambda: win32service.OpenService(manager, name, rights))
            try:
                yield service
            finally:
                win32service.CloseServiceHandle(service)
