"""Facts of this machine for `doctor`: accounts, ports, the registry, the event log, versions of files."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import contextlib
    import ctypes
    import re
    import socket
    import struct
    import winreg
    from collections.abc import Collection, Iterator, Sequence
    from ctypes import wintypes
    from pathlib import Path, PureWindowsPath

    import pywintypes
    import win32api
    import win32con
    import win32evtlog
    import win32job
    import win32process
    import win32security

    from torchgate.contract.diagnosis import Diagnosis, amber, ok, red
    from torchgate.contract.machine import PortHolder
    from torchgate.contract.programs import Programs
    from torchgate.windows.access_list import allowed_entries, own_sid
    from torchgate.windows.surroundings import swappers

    _ADMITTED = frozenset(
        {
            "S-1-5-32-544",
            "S-1-5-18",
            "S-1-3-0",
            "S-1-3-4",
            "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
        }
    )
    """Administrators, the system, the owner by its two names, TrustedInstaller."""
    _WRITE = 0x2 | 0x4 | 0x40 | 0x10000 | win32con.WRITE_DAC | win32con.WRITE_OWNER
    """FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_DELETE_CHILD, DELETE, and who changes the list itself."""
    _GENERIC = win32con.GENERIC_WRITE | win32con.GENERIC_ALL
    _LISTENERS_WITH_PID = 3  # TCP_TABLE_OWNER_PID_LISTENER
    _ROW = {int(socket.AF_INET): (24, 8, 20), int(socket.AF_INET6): (56, 20, 52)}
    """Family → length of a row, where its port and its process are. Source: MIB_TCPROW_OWNER_PID, MIB_TCP6ROW_…"""
    _BUFFER_TOO_SMALL = 122
    _PROGRAM_TIMEOUT_S = 8.0
    _LOGS = ("Application", "System")
    _MOST_EVENTS = 100
    _GIB = 1 << 30
    _CUDA_COMMIT_BYTES = 4 << 30
    """What a process that imports torch with CUDA commits (several GB, ops.md 3.3; WinError 1455 else)."""

    class WindowsMachine:
        """Implements contract.machine.Machine.

        Args:
            programs: netsh is asked by it.
        """

        def __init__(self, programs: Programs) -> None:
            self._programs = programs

        def account(self) -> str:
            """As whom we run."""
            sid = own_sid()
            try:
                name, domain, _ = win32security.LookupAccountSid(None, win32security.ConvertStringSidToSid(sid))
            except pywintypes.error:
                return sid
            return f"{domain}\\{name} ({sid})"

        def writers(self, folder: Path) -> str:
            """Accounts that the access list lets write, besides ours, administrators and the system."""
            entries = allowed_entries(folder)
            if entries is None:
                return "it has no access list: everybody may write there"
            others = {sid for sid, mask in entries if mask & (_WRITE | _GENERIC)} - {own_sid(), *_ADMITTED}
            return f"its access list lets {', '.join(sorted(map(_shown, others)))} write there" if others else ""

        def swappers(self, folder: Path) -> tuple[str, ...]:
            """Who could rename a folder around it, or in one."""
            return swappers(folder)

        def port_holders(self, port: int) -> tuple[PortHolder, ...]:
            """Whose sockets listen there."""
            pids = {pid for family in _ROW for found, pid in _listeners(family) if found == port}
            return tuple(PortHolder(pid, _program(pid)) for pid in sorted(pids))

        def reservations(self, port: int) -> str:
            """Whether http.sys or an excluded range has the port; netsh says both in any language by digits."""
            ranges = self._netsh("interface", "ipv4", "show", "excludedportrange", "protocol=tcp")
            for first, last in re.findall(r"^\s*(\d+)\s+(\d+)\s*\*?\s*$", ranges, re.MULTILINE):
                if int(first) <= port <= int(last):
                    return f"Windows keeps the ports {first} to {last} for others (excluded port range)"
            addresses = self._netsh("http", "show", "urlacl")
            for address, found in re.findall(r"(https?://[^\s:]+:(\d+)/\S*)", addresses):
                if int(found) == port:
                    return f"{address} is reserved for http.sys"
            return ""

        def _netsh(self, *arguments: str) -> str:
            answer = self._programs.run(["netsh", *arguments], _PROGRAM_TIMEOUT_S)
            if answer.code:
                raise OSError(f"netsh ended with {answer.code}")
            return answer.output

        def file_version(self, file: Path) -> str:
            """Of a program or library."""
            try:
                fixed = win32api.GetFileVersionInfo(str(file), "\\")
            except pywintypes.error as error:
                if file.is_file():
                    return ""
                raise OSError(0, error.strerror, str(file), error.winerror) from None
            high, low = fixed["FileVersionMS"], fixed["FileVersionLS"]
            return ".".join(str(part) for pair in (high, low) for part in ((pair >> 16) & 0xFFFF, pair & 0xFFFF))

        def registry_value(self, key: str, name: str) -> int | str | None:
            """Of HKEY_LOCAL_MACHINE."""
            try:
                with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                    value = winreg.QueryValueEx(opened, name)[0]
            except FileNotFoundError:
                return None
            return value if isinstance(value, int | str) else None

        def missing_libraries(self, names: Sequence[str]) -> tuple[str, ...]:
            """Those that can't be loaded as torch's own would load them."""
            return tuple(name for name in names if not _can_load(name))

        def events(self, providers: Collection[str], within_s: float) -> tuple[str, ...]:
            """Of both logs, newest first."""
            named = " or ".join(f"@Name='{provider}'" for provider in sorted(providers))
            within = f"TimeCreated[timediff(@SystemTime) <= {int(within_s * 1000)}]"
            query = f"*[System[Provider[{named}] and {within}]]"
            try:
                return tuple(text for log in _LOGS for text in _events(log, query))
            except pywintypes.error as error:
                raise OSError(0, error.strerror, None, error.winerror) from None

        def job_processes(self) -> tuple[int, ...]:
            """Of the job that we are in."""
            try:
                if not win32job.IsProcessInJob(win32api.GetCurrentProcess(), 0):
                    return ()
                return tuple(win32job.QueryInformationJobObject(0, win32job.JobObjectBasicProcessIdList))
            except pywintypes.error as error:
                raise OSError(0, error.strerror, None, error.winerror) from None

        def limits(self) -> tuple[Diagnosis, ...]:
            """What may still be committed: memory and paging file together."""
            status = win32api.GlobalMemoryStatusEx()
            free, total = status["AvailPageFile"], status["TotalPageFile"]
            seen = f"{free / _GIB:.1f} GiB of {total / _GIB:.1f} GiB may still be committed (memory and paging file)."
            wanted = f"{_CUDA_COMMIT_BYTES / _GIB:g} GiB for each worker and each standby that imports torch with CUDA"
            remedy = "Make the paging file larger, or lower engine.standbys and replicas; else WinError 1455."
            if free < _CUDA_COMMIT_BYTES // 4:
                return (red(seen, wanted, remedy),)
            return (amber(seen, wanted, remedy),) if free < _CUDA_COMMIT_BYTES else (ok(seen),)

    def _shown(sid: str) -> str:
        try:
            name, domain, _ = win32security.LookupAccountSid(None, win32security.ConvertStringSidToSid(sid))
        except pywintypes.error:
            return sid
        return f"{domain}\\{name}" if domain else str(name)

    def _listeners(family: int) -> Iterator[tuple[int, int]]:
        """(port, process) of each listening socket."""
        ask = ctypes.WinDLL("iphlpapi").GetExtendedTcpTable
        length = wintypes.DWORD(0)
        buffer = ctypes.create_string_buffer(0)
        code = _BUFFER_TOO_SMALL
        while code == _BUFFER_TOO_SMALL:  # the table may grow between two questions
            buffer = ctypes.create_string_buffer(length.value)
            code = ask(buffer, ctypes.byref(length), False, family, _LISTENERS_WITH_PID, 0)
        if code:
            raise OSError(0, "the table of sockets can't be read", None, code)
        size, port_at, pid_at = _ROW[family]
        (count,) = struct.unpack_from("<I", buffer, 0)
        for row in range(count):
            start = 4 + row * size
            (port,) = struct.unpack_from(">H", buffer, start + port_at)
            (pid,) = struct.unpack_from("<I", buffer, start + pid_at)
            yield port, pid

    def _program(pid: int) -> str:
        with contextlib.suppress(pywintypes.error):
            process = win32api.OpenProcess(win32con.PROCESS_QUERY_INFORMATION | win32con.PROCESS_VM_READ, False, pid)
            return PureWindowsPath(win32process.GetModuleFileNameEx(process, 0)).name
        return ""

    def _can_load(name: str) -> bool:
        try:
            ctypes.WinDLL(name)
        except OSError:
            return False
        return True

    def _events(log: str, query: str) -> Iterator[str]:
        flags = win32evtlog.EvtQueryChannelPath | win32evtlog.EvtQueryReverseDirection
        found = win32evtlog.EvtQuery(log, flags, query, None)
        for event in win32evtlog.EvtNext(found, _MOST_EVENTS, -1, 0):
            yield str(win32evtlog.EvtRender(event, win32evtlog.EvtRenderEventXml))
