"""Bare HTTP: uvicorn takes the body and sends as many bytes back as a model would. Nothing can be faster on uvicorn."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy

from systems import Launch, Place, Question, json_numbers
from workloads import MODELS, Cell, ModelFacts, Workload


class HttpBare:
    """uvicorn alone: the HTTP floor."""

    name = "HTTP alone"
    about = "uvicorn, no framework, no model: reads the body, answers with as many bytes as the model's answer has"

    def declines(self, cell: Cell) -> str:
        return "much as tiny" if cell.workload.model.name == "mlp" else ""

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        argv = (str(place.python), "-m", "systems.http_bare", "--model", model.name, "--port", str(place.port))
        return Launch(argv)

    def question(self, workload: Workload, row: numpy.ndarray) -> Question:
        if workload.body == "json":
            body = b'{"data":' + json_numbers(row).encode() + b"}"
            return Question("/json", {"Content-Type": "application/json"}, body)
        return Question("/raw", {"Content-Type": "application/octet-stream"}, row.tobytes())

    def answer(self, workload: Workload, headers: Mapping[str, str], body: bytes) -> numpy.ndarray | None:
        return None


Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


def application(model: ModelFacts) -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """An ASGI application of two paths, whose answers have the size of the model's."""
    zeros = numpy.zeros(model.answer, numpy.float32)
    answers = {"/json": b'{"output":' + b"[" + b"-0.12345678," * zeros.size + b"0]}", "/raw": zeros.tobytes()}
    heads = {
        path: {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/octet-stream")],
        }
        for path, body in answers.items()
    }

    async def serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        while (await receive()).get("more_body"):
            pass
        await send(heads[scope["path"]])
        await send({"type": "http.response.body", "body": answers[scope["path"]]})

    return serve


def main() -> None:
    import uvicorn  # only the server process needs it

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvicorn.run(
        application(MODELS[given.model]), host="127.0.0.1", port=given.port, log_level="warning", access_log=False,
        lifespan="off",
    )  # fmt: skip


if __name__ == "__main__":
    main()
