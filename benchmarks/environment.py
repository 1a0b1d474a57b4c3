"""One virtual environment in which every contender runs: the same torch, uvicorn and event loop for all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDER = ROOT / ".cache" / "benchmarks" / "venv"


def environment_python() -> Path:
    """The interpreter of the environment, whether or not it exists yet."""
    return FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepare() -> Path:
    """Make the environment, or leave it where it already holds what requirements.txt and pyproject.toml ask for.

    Returns:
        Its interpreter.

    Raises:
        SystemExit: pip failed; its own output says why.
    """
    python, stamp = environment_python(), FOLDER / "prepared.txt"
    wanted = _fingerprint()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"Setting up {FOLDER} (torch, FastAPI, LitServe, Torchgate from this checkout); about a minute …", flush=True)
    if not python.exists():
        venv.create(FOLDER, with_pip=True)
    requirements = ["-r", str(HERE / "requirements.txt"), "-e", str(ROOT)]
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=False)
    if done.returncode:
        raise SystemExit(
            f"The benchmark environment could not be set up: pip ended with {done.returncode} (its message is above). "
            f"Remove {FOLDER} and try again, or pass --python with an interpreter that has requirements.txt installed."
        )
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in (HERE / "requirements.txt", ROOT / "pyproject.toml"):
        digest.update(file.read_bytes())
    return digest.hexdigest()
