"""The event loops that the server may run on."""

import asyncio
import inspect
import sys

import pytest

if sys.platform == "win32":
    LOOPS = [pytest.param(asyncio.run, id="proactor")]
else:
    import uvloop

    LOOPS = [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]


def on_each_loop(test):
    """The test runs on each of them."""

    def run(loop, **fixtures):
        loop(test(**fixtures))

    parameters = inspect.signature(test).parameters.values()
    loop = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([loop, *parameters])
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return pytest.mark.parametrize("loop", LOOPS)(run)
