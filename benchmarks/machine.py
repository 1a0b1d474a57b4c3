"""What the figures were taken on: machine, system, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchgate", "fastapi", "litserve", "uvicorn", "uvloop", "numpy", "orjson", "pydantic")


def describe_machine() -> dict[str, object]:
    """Everything that a reader needs to tell whether two results may be compared."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
        "load_before": _load(),
    }


def one_line(machine: dict[str, object]) -> str:
    """The same for a table's heading."""
    packages = machine["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "fastapi", "litserve") if name in packages)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, {versions}, commit {machine['commit']}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--", "src", "benchmarks") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    argv = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def _load() -> float | None:
    """Processes that wanted a core, on average over the last minute; None on Windows, which does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
