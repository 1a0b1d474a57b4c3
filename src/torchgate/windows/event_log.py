"""Lines in Windows' event log, for those who look there first."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import contextlib
    import winreg
    from typing import Literal

    import pywintypes
    import win32evtlog

    _SOURCES = r"SYSTEM\CurrentControlSet\Services\EventLog\Application"
    _MESSAGES = r"%SystemRoot%\System32\EventCreate.exe"
    """A file of Windows whose messages 1 to 1000 are the text that is given, whatever becomes of our own files."""

    _EVENT_ID = 1
    _KINDS = {
        "info": win32evtlog.EVENTLOG_INFORMATION_TYPE,
        "warning": win32evtlog.EVENTLOG_WARNING_TYPE,
        "error": win32evtlog.EVENTLOG_ERROR_TYPE,
    }
    _MAX_CHARACTERS = 30_000
    """Of a string that the event log takes. Source: Microsoft Learn, ReportEventW."""

    def register_source(name: str) -> None:
        """Make the log show the text of our events; needs an administrator.

        Raises:
            OSError: the registry refuses.
        """
        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, rf"{_SOURCES}\{name}") as key:
            winreg.SetValueEx(key, "EventMessageFile", 0, winreg.REG_EXPAND_SZ, _MESSAGES)
            winreg.SetValueEx(key, "TypesSupported", 0, winreg.REG_DWORD, 7)

    def remove_source(name: str) -> None:
        """Take that away; where it is not there, nothing."""
        with contextlib.suppress(OSError):
            winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, rf"{_SOURCES}\{name}")

    def tell_event_log(source: str, kind: Literal["info", "warning", "error"], text: str) -> None:
        """Write one event; where the log takes none, nothing happens: it is a copy for people, never the only place."""
        with contextlib.suppress(pywintypes.error):
            log = win32evtlog.RegisterEventSource(None, source)
            try:
                line = text.replace("\0", " ")[:_MAX_CHARACTERS]
                win32evtlog.ReportEvent(log, _KINDS[kind], 0, _EVENT_ID, None, [line], None)
            finally:
                win32evtlog.DeregisterEventSource(log)
