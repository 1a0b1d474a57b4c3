"""FastAPI on uvicorn, by hand, with the model in the web process, as a good engineer would write it in an afternoon.

Typed body, model loaded before the first request, inference mode, one torch thread, no access log, answers encoded
by orjson straight from numpy (faster than what FastAPI does by itself). A model that takes milliseconds runs on a
thread of its own, so that the event loop can read the next body meanwhile; a small one runs where it is, which is
faster. No batching, no identity, no policy, no audit: none of that comes with FastAPI.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy
import orjson

from systems import Launch, Place, Question, json_numbers
from workloads import MODELS, Cell, ModelFacts, Workload

if TYPE_CHECKING:
    from fastapi import FastAPI


class FastApiUvicorn:
    """FastAPI by hand."""

    name = "FastAPI"
    about = "FastAPI + uvicorn by hand, model in the web process; JSON list, or raw FP32 bytes; no batching"

    def declines(self, cell: Cell) -> str:
        return ""

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        argv = (str(place.python), "-m", "systems.fastapi_uvicorn", "--model", model.name, "--port", str(place.port))
        return Launch(argv)

    def question(self, workload: Workload, row: numpy.ndarray) -> Question:
        if workload.body == "json":
            body = b'{"data":' + json_numbers(row).encode() + b"}"
            return Question("/json", {"Content-Type": "application/json"}, body)
        return Question("/raw", {"Content-Type": "application/octet-stream"}, row.tobytes())

    def answer(self, workload: Workload, headers: Mapping[str, str], body: bytes) -> numpy.ndarray | None:
        if workload.body == "json":
            return numpy.array(orjson.loads(body)["output"], numpy.float32)
        return numpy.frombuffer(body, "<f4")


def application(facts: ModelFacts) -> FastAPI:
    """The web application for one model."""
    import torch  # only the server process needs what follows
    from fastapi import FastAPI, Request, Response
    from pydantic import BaseModel

    from models import build

    torch.set_num_threads(1)
    network = build(facts.name)
    thread = ThreadPoolExecutor(1)
    app = FastAPI(openapi_url=None)

    class Features(BaseModel):
        data: list[float]

    @torch.inference_mode()
    def forward(row: numpy.ndarray) -> numpy.ndarray:
        return network(torch.from_numpy(row.reshape(1, *facts.row))).numpy()[0]

    async def predict(row: numpy.ndarray) -> numpy.ndarray:
        if facts.is_slow:
            return await asyncio.get_running_loop().run_in_executor(thread, forward, row)
        return forward(row)

    async def from_json(features: Features) -> Response:
        output = await predict(numpy.array(features.data, numpy.float32))
        content = orjson.dumps({"output": output}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")

    async def from_raw(request: Request) -> Response:
        # A bytearray: torch warns about memory that it may not write to, and bytes() is such.
        output = await predict(numpy.frombuffer(bytearray(await request.body()), "<f4"))
        return Response(output.tobytes(), media_type="application/octet-stream")

    # The types are local to this function, so they are put there as objects: FastAPI can't look them up by name.
    from_json.__annotations__ = {"features": Features, "return": Response}
    from_raw.__annotations__ = {"request": Request, "return": Response}
    app.post("/json")(from_json)
    app.post("/raw")(from_raw)
    return app


def main() -> None:
    import uvicorn  # only the server process needs it

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    app = application(MODELS[given.model])
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
