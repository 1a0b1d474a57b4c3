"""What a worker's environment holds: a short list, and the thread budget. No secrets of the server."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ALLOWED: frozenset[str] = frozenset(
    {
        # where programs, libraries and temporary files are
        "PATH", "LD_LIBRARY_PATH", "TEMP", "TMP", "TMPDIR", "HOME", "USERPROFILE", "LOCALAPPDATA",
        "HOMEDRIVE", "HOMEPATH",
        # what Windows programs don't start without
        "SYSTEMROOT", "WINDIR", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE",
        "PROGRAMDATA", "PROGRAMFILES",
        # language, encodings and time
        "LANG", "LC_ALL", "LC_CTYPE", "TZ",
        # where libraries keep caches: an identity without a profile has no other place to write (iis.md 9.18)
        "HF_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",
        "TRITON_HOME", "XDG_CACHE_HOME", "CUDA_CACHE_PATH",
        # torch, CUDA and OpenMP
        "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_PATH", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES",
        "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "KMP_AFFINITY", "KMP_DUPLICATE_LIB_OK", "OMP_PROC_BIND",
        "OMP_PLACES", "GOMP_CPU_AFFINITY",
    }
)  # fmt: skip
"""Names, in capitals: Windows does not tell them apart by case."""


def worker_environment(parent: Mapping[str, str], more: Sequence[str], threads: int) -> dict[str, str]:
    """The environment of one worker.

    Args:
        parent: the server's own.
        more: names that the settings allow besides.
        threads: CPU threads that the worker may use.

    Source of the thread settings: measured, two workers with two threads each on two cores lose 10 to 20 times when
    idle threads spin; waiting passively repairs it. torch reads them when it is imported.
    """
    allowed = ALLOWED | {name.upper() for name in more}
    environment = {name: value for name, value in parent.items() if name.upper() in allowed}
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment["KMP_BLOCKTIME"] = "0"
    return environment


def fair_threads(cores: int, workers: int) -> int:
    """CPU threads of each of so many workers: an equal share, at least one."""
    return max(1, cores // max(1, workers))


def working_folder() -> Path:
    """Where processes that run models start.

    Not in the project's folder: on Windows a process keeps its working folder from being removed. Nor, there, in one
    where others may write: Windows looks for libraries in it before it looks along PATH.
    """
    return Path(sys.base_prefix if sys.platform == "win32" else tempfile.gettempdir())
