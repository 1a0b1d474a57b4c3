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
    """The test runs on each of them; fixtures that have an `aclose` are closed before its loop ends."""

    async def run_and_close(fixtures):
        try:
            await test(**fixtures)
        finally:
            for fixture in fixtures.values():
                if hasattr(fixture, "aclose"):
                    await fixture.aclose()

    def run(loop, **fixtures):
        loop(run_and_close(fixtures))

    parameters = inspect.signature(test).parameters.values()
    loop = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([loop, *parameters])
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return pytest.mark.parametrize("loop", LOOPS)(run)
