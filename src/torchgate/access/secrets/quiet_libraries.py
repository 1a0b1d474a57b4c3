"""Libraries of the stores log whole answers at level DEBUG, and say the rest twice; here they are kept from both."""

from __future__ import annotations

import logging


def quiet(*libraries: str) -> None:
    """Keep libraries from logging, whatever level the hook's author, say, has set for everything.

    Their errors are told in our words. Who set a level above DEBUG for such a library keeps it.
    """
    for name in libraries:
        logger = logging.getLogger(name)
        if logger.level in {logging.NOTSET, logging.DEBUG}:
            logger.setLevel(logging.ERROR)
