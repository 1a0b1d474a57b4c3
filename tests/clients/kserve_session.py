"""What the real kserve client does with a server; run in an environment of its own: URL KEY, prints one JSON object."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(url: str, key: str) -> dict[str, Any]:
    """Every call that a user of this client makes on an inference server, and what came back."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=300))
    headers = {"X-API-Key": key}
    seen: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, "mirror", headers=headers),
    }
    for binary in (False, True):
        seen[f"answer_binary_{binary}"] = await infer(client, url, headers, binary=binary)
    try:
        await client.infer(url, request(binary=False), model_name="mirror")
        seen["no credential"] = 200
    except httpx.HTTPStatusError as error:
        seen["no credential"] = error.response.status_code
    return seen


def request(*, binary: bool) -> InferRequest:
    """Two rows of each kind that JSON and binary both can carry."""
    arrays: dict[str, tuple[str, np.ndarray[Any, Any]]] = {
        "floats": ("FP32", np.array([[1.5, -2.25, 3.0], [0.1, 0.0, 7.0]], dtype=np.float32)),
        "longs": ("INT64", np.array([[2**62 + 1], [-5]], dtype=np.int64)),
        "flags": ("BOOL", np.array([[True], [False]])),
        "texts": ("BYTES", np.array([["grün".encode()], [b"x"]], dtype=np.object_)),
    }
    inputs = []
    for name, (datatype, array) in arrays.items():
        one = InferInput(name, list(array.shape), datatype)
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
    outputs = [RequestedOutput(name, parameters={"binary_data": binary}) for name in arrays]
    return InferRequest(model_name="mirror", infer_inputs=inputs, request_outputs=outputs)


async def infer(client: InferenceRESTClient, url: str, headers: dict[str, str], *, binary: bool) -> dict[str, Any]:
    """One inference, its outputs as lists."""
    response = await client.infer(url, request(binary=binary), model_name="mirror", headers=headers)
    outputs: list[InferOutput] = response.outputs
    return {one.name: plain(one.as_numpy().reshape(-1).tolist()) for one in outputs}


def plain(values: list[Any]) -> list[Any]:
    """Bytes as text, for JSON."""
    return [value.decode() if isinstance(value, bytes) else value for value in values]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2]))))
