import collections
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

import torchgate

ALLOCATES, PRINTS, BREEDS, CLOSES, GARBLES, STANDS, SPINS, TENSORS = -1, -2, -3, -4, -5, -6, -7, -8
FILLS, MOVES, MUMBLES, MUTES, EXITS, INTERRUPTS, STARVES, SPINS_IN_C, BOMBS, DETACHES = range(-18, -8)


def allocate():
    kept = []
    while True:
        kept.append(bytearray(32 << 20))


def tensors():
    kept = []
    while True:
        kept.append(torch.ones(8 << 20))


def print_much():
    piece = b"a line that nobody wants to read\n" * 32_768
    for _ in range(200):
        os.write(1, piece)


def breed():
    """Children that would live for minutes; their numbers lie beside where the test looks."""
    pids = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"]).pid for _ in range(5)]
    Path(os.environ["TORCHGATE_TEST_FILE"]).write_text(" ".join(map(str, pids)), encoding="utf-8")
    time.sleep(900)


def close():
    os.closerange(3, 256)
    time.sleep(900)


def garble():
    """Bytes that are no frame, into everything that is open."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\xff" * 100_000)
        except OSError:
            continue
    time.sleep(900)


def stand():
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    time.sleep(900)


def spin():
    def forever():
        while True:
            torch.ones(64, 64) @ torch.ones(64, 64)

    for _ in range(8):
        threading.Thread(target=forever, daemon=True).start()
    forever()


def fill():
    """All of the memory that it shares with the server, others' inputs and answers included, again and again."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    (span,) = (line.split()[0] for line in lines if "memfd:torchgate" in line)
    first, last = (int(number, 16) for number in span.split("-"))

    def for_a_while():
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            ctypes.memset(first, 0xFF, last - first)
        os._exit(5)

    threading.Thread(target=for_a_while, daemon=True).start()


def move():
    """Everything of its process that a server would rather have as it was."""
    os.umask(0o777)
    os.chdir("/")
    os.environ.clear()
    sys.path.clear()
    os.nice(5)


def mumble():
    """20 MB without the end of a line, and not even its own last words."""
    for _ in range(20):
        os.write(1, b"m" * 1_000_000)


def mute():
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def leave():
    sys.exit(3)


def interrupt():
    raise KeyboardInterrupt


def starve():
    """Limits of its own, under which it can't go on."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    spin()


def spin_in_c():
    """One call that never gives the interpreter back."""
    collections.deque(itertools.repeat(0), maxlen=0)


def bomb():
    """Processes without end, each in a session of its own: 300 where nothing else ends it."""
    pids = []
    try:
        while len(pids) < 300:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                time.sleep(900)
                os._exit(0)
            pids.append(pid)
    except BlockingIOError:
        pass
    Path(os.environ["TORCHGATE_TEST_FILE"]).write_text(" ".join(map(str, pids)), encoding="utf-8")
    time.sleep(900)


def detach():
    """A daemon: neither its parent nor its session nor its process group is ours."""
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            time.sleep(900)
            os._exit(0)
        Path(os.environ["TORCHGATE_TEST_FILE"]).write_text(str(pid), encoding="utf-8")
        os._exit(0)
    os.wait()
    os._exit(0)


HARM = {
    FILLS: fill, MOVES: move, MUMBLES: mumble, MUTES: mute, EXITS: leave, INTERRUPTS: interrupt,
    STARVES: starve, SPINS_IN_C: spin_in_c, BOMBS: bomb, DETACHES: detach,
    ALLOCATES: allocate, PRINTS: print_much, BREEDS: breed, CLOSES: close,
    GARBLES: garble, STANDS: stand, SPINS: spin, TENSORS: tensors,
}  # fmt: skip


class Nasty(torchgate.Model):
    """Doubles, says whose row it was, and does harm where a number asks for it."""

    def predict(self, batch):
        for number in batch.inputs["number"].flatten().tolist():
            HARM.get(number, int)()
        return {"double": batch.inputs["number"] * 2 + 1, "owner": [one.key for one in batch.principals]}
