"""The first three file descriptors, present: whoever started us may have closed them.

A file or a client's connection that is opened later would take a free number, and what a library writes to descriptor 2
would go into it; libuv ends the process when it closes one of those numbers.
"""

from __future__ import annotations

import os

_STANDARD = (0, 1, 2)


def fill_standard_descriptors() -> None:
    """Put /dev/null where one is missing.

    Process: before anything else is opened.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) in _STANDARD:  # the lowest free number, always
        os.set_inheritable(opened, True)
    os.close(opened)
