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
    """Children that would live for a minute; their numbers lie beside where the test looks."""
    pids = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid for _ in range(5)]
    Path(os.environ["TORCHGATE_TEST_FILE"]).write_text(" ".join(map(str, pids)), encoding="utf-8")
    time.sleep(60)


def close():
    os.closerange(3, 256)
    time.sleep(60)


def garble():
    """Bytes that are no frame, into everything that is open."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\xff" * 100_000)
        except OSError:
            continue
    time.sleep(60)


def stand():
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    time.sleep(60)


def spin():
    def forever():
        while True:
            torch.ones(64, 64) @ torch.ones(64, 64)

    for _ in range(8):
        threading.Thread(target=forever, daemon=True).start()
    forever()


HARM = {
    ALLOCATES: allocate, PRINTS: print_much, BREEDS: breed, CLOSES: close,
    GARBLES: garble, STANDS: stand, SPINS: spin, TENSORS: tensors,
}  # fmt: skip


class Nasty(torchgate.Model):
    """Doubles, says whose row it was, and does harm where a number asks for it."""

    def predict(self, batch):
        for number in batch.inputs["number"].flatten().tolist():
            HARM.get(number, int)()
        return {"double": batch.inputs["number"] * 2 + 1, "owner": [one.key for one in batch.principals]}
