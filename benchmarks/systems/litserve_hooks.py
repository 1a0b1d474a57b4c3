"""The model behind LitServe's hooks; a module of its own because LitServe pickles it into its worker process."""

from __future__ import annotations

import base64

import litserve
import numpy
import torch
from fastapi import Response

from models import build
from workloads import ModelFacts


class Hooks(litserve.LitAPI):
    """Decode, predict, encode; LitServe stacks and splits the batch itself."""

    def __init__(self, facts: ModelFacts, max_batch: int, batch_timeout: float) -> None:
        super().__init__(max_batch_size=max_batch, batch_timeout=batch_timeout)
        self.facts = facts

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.network = build(self.facts.name)

    def decode_request(self, request: dict, context: dict) -> torch.Tensor:
        context["raw"] = "raw" in request
        if context["raw"]:
            row = torch.frombuffer(bytearray(base64.b64decode(request["raw"])), dtype=torch.float32)
        else:
            row = torch.from_numpy(numpy.array(request["data"], numpy.float32))
        return row.reshape(self.facts.row)

    @torch.inference_mode()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x) if self.max_batch_size > 1 else self.network(x[None])[0]

    def encode_response(self, output: torch.Tensor, context: dict) -> object:
        if context["raw"]:
            return Response(output.numpy().tobytes(), media_type="application/octet-stream")
        return {"output": output.tolist()}
