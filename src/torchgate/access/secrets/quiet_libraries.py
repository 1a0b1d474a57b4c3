"""Libraries of the stores log whole answers at level DEBUG; here they are kept from it."""

from __future__ import annotations

import logging


def quiet(*libraries: str) -> None:
    """Keep libraries from logging at DEBUG, whatever level the hook's author, say, has set for everything."""
    for name in libraries:
        logger = logging.getLogger(name)
        if logger.level in {logging.NOTSET, logging.DEBUG}:
            logger.setLevel(logging.INFO)
