"""Limits of a job object: of the child in it and all that it starts."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    from collections.abc import Iterator
    from ctypes import wintypes
    from typing import Any

    import pywintypes
    import win32job

    from torchgate.contract.worker_limits import DEFAULT_PROCESSES, Enforcement, WorkerLimits

    _CPU_RATE_CONTROL = 15  # JobObjectCpuRateControlInformation, which pywin32 does not know
    _RATE_ENABLED_AND_HARD = 0x1 | 0x4  # JOB_OBJECT_CPU_RATE_CONTROL_ENABLE, _HARD_CAP

    class _CpuRate(ctypes.Structure):
        _fields_ = [("flags", wintypes.DWORD), ("rate", wintypes.DWORD)]

    _set_information = ctypes.WinDLL("kernel32", use_last_error=True).SetInformationJobObject
    _set_information.argtypes = [wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD]

    def limit_job(job: Any, limits: WorkerLimits) -> tuple[Enforcement, ...]:
        """Hold a job to its limits; what can't be held is said.

        Raises:
            OSError: Windows refused one that it knows.
        """
        try:
            return tuple(_limit(job, limits))
        except pywintypes.error as error:
            raise OSError(0, error.strerror, None, error.winerror) from None

    def _limit(job: Any, limits: WorkerLimits) -> Iterator[Enforcement]:
        information = win32job.QueryInformationJobObject(job, win32job.JobObjectExtendedLimitInformation)
        basic = information["BasicLimitInformation"]
        # Said again and not read: setting replaces all flags, and a job that lost this one would outlive us.
        basic["LimitFlags"] |= win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        if limits.memory_bytes:
            basic["LimitFlags"] |= win32job.JOB_OBJECT_LIMIT_JOB_MEMORY
            information["JobMemoryLimit"] = limits.memory_bytes
            yield Enforcement("memory_bytes", "job", value=limits.memory_bytes)
        processes = limits.processes or DEFAULT_PROCESSES
        basic["LimitFlags"] |= win32job.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
        basic["ActiveProcessLimit"] = processes
        yield Enforcement("processes", "job", value=processes)
        if limits.processors:
            basic["LimitFlags"] |= win32job.JOB_OBJECT_LIMIT_AFFINITY
            basic["Affinity"] = sum(1 << number for number in set(limits.processors))
            yield Enforcement("processors", "job", value=limits.processors)
        win32job.SetInformationJobObject(job, win32job.JobObjectExtendedLimitInformation, information)
        if limits.cpu_percent:
            yield _limit_rate(job, limits.cpu_percent)

    def _limit_rate(job: Any, percent: int) -> Enforcement:
        rate = _CpuRate(_RATE_ENABLED_AND_HARD, percent * 100)  # in hundredths of a percent
        if _set_information(int(job), _CPU_RATE_CONTROL, ctypes.byref(rate), ctypes.sizeof(rate)):
            return Enforcement("cpu_percent", "job", value=percent)
        return Enforcement("cpu_percent", "", f"Windows refused it: error {ctypes.get_last_error()}", percent)
