"""Torchgate around a Starlette application, in front of a pool: restarting this process touches no loaded weights.

torchgate pool ../mounted_project        first, in another terminal
uvicorn app:app --no-proxy-headers       in this folder; or hypercorn --workers 0 app:app, or python app.py
"""

import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import torchgate

gate = torchgate.Gate(Path(__file__).parents[1] / "mounted_project", engine="pool")


async def double(request: Request) -> JSONResponse:
    """Twice each number of a JSON list, under whoever asks."""
    answer = await torchgate.caller().infer("doubler", {"x": [[number] for number in await request.json()]})
    return JSONResponse(answer["y"].ravel().tolist())


async def me(request: Request) -> JSONResponse:
    """Who is asking, and where we are mounted."""
    return JSONResponse({"name": torchgate.caller().principal.name, "root": request.scope["root_path"]})


async def broken(request: Request) -> JSONResponse:
    """A mistake: its caller gets a request id, and the log has the rest."""
    raise ZeroDivisionError("the inside of this application")


app = gate.guard(
    Starlette(routes=[Route("/double", double, methods=["POST"]), Route("/me", me), Route("/broken", broken)])
)

if __name__ == "__main__":
    sys.exit(gate.serve(app))
