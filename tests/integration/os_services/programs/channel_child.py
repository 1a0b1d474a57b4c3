"""A child that does with its channel what its argument says; without torch, so that it starts at once."""

import subprocess
import sys
from pathlib import Path

if sys.platform == "win32":
    from torchgate.windows.worker_end import WindowsWorkerEnd as WorkerEnd
else:
    from torchgate.posix.worker_end import PosixWorkerEnd as WorkerEnd


def echo(end):
    while data := end.read():
        end.write(data)


def talk(end):
    print("on stdout: größer", flush=True)
    print("on stderr", file=sys.stderr, flush=True)
    sys.exit(7)


def increment(end):
    """Sections: for each `token length` add one to every byte; `,` parts them, so that several may be open."""
    sections = []
    request = b""
    while not request.endswith(b"\n"):
        request += end.read()
    for part in request.decode().strip().split(","):
        token, length = part.split()
        sections.append(end.open_section(int(token), int(length)))
    for section in sections:
        section.view[:] = bytes((byte + 1) % 256 for byte in section.view)
    end.write(b"done")
    end.read()
    for section in sections:
        section.close()


def breed(end):
    """A child of its own, which would live for minutes; its pid goes over the channel."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
    end.write(b"%d\n" % grandchild.pid)
    end.read()


def detach(end):
    """A grandchild that leaves session, process group and parent, as a daemon does; its pid goes over the channel."""
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(900)
        end.write(b"%d\n" % grandchild)
        os._exit(0)
    os.wait()
    end.read()


def bomb(end):
    """Processes without end, each in a session of its own; how many there could be goes over the channel."""
    import os
    import time

    end.read()
    number = 0
    try:
        while number < 20_000:
            if os.fork() == 0:
                os.setsid()
                time.sleep(900)
            number += 1
    except BlockingIOError:
        pass
    end.write(b"%d\n" % number)
    end.read()


def swell(end):
    """Memory without end, shared among processes: no limit of a single one holds it."""
    import os
    import time

    end.read()
    for _ in range(8):
        if os.fork() == 0:
            kept = b"x" * (32 << 20)
            time.sleep(900)
            del kept
    end.read()


def spin(end):
    end.read()
    end.write(b"spins\n")
    while True:
        pass


def facts(end):
    """What it was started with."""
    import os

    known = "|".join(
        [str(os.getpid()), str(Path.cwd()), os.environ.get("TORCHGATE_TEST", ""), *sys.argv[3:], sys.prefix]
    )
    end.write(known.encode() + b"\n")
    end.read()


if __name__ == "__main__":
    end = WorkerEnd.from_arguments(sys.argv[1:])
    known = (echo, talk, increment, breed, detach, bomb, swell, spin, facts)
    {one.__name__: one for one in known}[sys.argv[2]](end)
