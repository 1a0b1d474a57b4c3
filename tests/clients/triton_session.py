"""What the real tritonclient does with a server; run in a process of its own: URL TOKEN, prints one JSON object."""

from __future__ import annotations

import json
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main(address: str, key: str) -> dict[str, Any]:
    """Every call that a user of this client makes on an inference server, and what came back."""
    client = triton.InferenceServerClient(address)
    headers = {"X-API-Key": key}
    seen: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("mirror", headers=headers),
        "unknown_model_ready": client.is_model_ready("nope", headers=headers),
        "server": client.get_server_metadata(headers=headers),
        "model": client.get_model_metadata("mirror", headers=headers),
        "config": client.get_model_config("mirror", headers=headers),
        "index": client.get_model_repository_index(headers=headers),
    }
    for binary in (True, False):
        seen[f"answer_binary_{binary}"] = infer(client, headers, binary=binary)
    for algorithm in ("gzip", "deflate"):
        seen[f"answer_{algorithm}"] = infer(client, headers, binary=True, compression=algorithm)
    seen["half"] = half(client, headers)
    seen["statistics"] = client.get_inference_statistics("mirror", headers=headers)
    seen["refusals"] = refusals(client, headers)
    seen["changes"] = changes(client, headers)
    return seen


def changes(client: triton.InferenceServerClient, headers: dict[str, str]) -> dict[str, Any]:
    """Unload and load a model as this client does, and try what is refused."""
    seen: dict[str, Any] = {}
    client.unload_model("halves", headers=dict(headers), unload_dependents=True)
    seen["unloaded"] = client.is_model_ready("halves", headers=headers)
    client.load_model("halves", headers=dict(headers))
    seen["loaded"] = client.is_model_ready("halves", headers=headers)
    tries = {
        "config": lambda: client.load_model("halves", headers=dict(headers), config="{}"),
        "file": lambda: client.load_model(
            "halves", headers=dict(headers), config="{}", files={"file:1/model.py": b"x"}
        ),
        "unknown": lambda: client.load_model("nope", headers=dict(headers)),
        "unknown unload": lambda: client.unload_model("nope", headers=dict(headers)),
        "nobody": lambda: client.unload_model("mirror"),
    }
    for case, attempt in tries.items():
        try:
            attempt()
            seen[case] = "done"
        except InferenceServerException as error:
            seen[case] = f"{error.status()} {error.message()}"
    return seen


def tensors() -> dict[str, Any]:
    """Inputs of each kind that JSON and binary both can carry."""
    return {
        "floats": np.array([[1.5, -2.25, 3e38], [0.1, 0.0, 7.0]], dtype=np.float32),
        "longs": np.array([[2**62 + 1], [-(2**63)]], dtype=np.int64),
        "flags": np.array([[True], [False]]),
        "texts": np.array([['grün, "quoted"'.encode()], [b""]], dtype=object),
    }


def infer(
    client: triton.InferenceServerClient, headers: dict[str, str], *, binary: bool, compression: str | None = None
) -> dict[str, Any]:
    """One inference, its outputs as lists."""
    inputs, outputs = [], []
    for name, array in tensors().items():
        datatype = {"floats": "FP32", "longs": "INT64", "flags": "BOOL", "texts": "BYTES"}[name]
        one = triton.InferInput(name, list(array.shape), datatype)
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
        outputs.append(triton.InferRequestedOutput(name, binary_data=binary))
    result = client.infer(
        "mirror",
        inputs,
        outputs=outputs,
        request_id="asked-by-triton",
        headers=dict(headers),  # the client writes its own into what it is given
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    answers = {name: result.as_numpy(name) for name in tensors()}
    return {
        "id": result.get_response()["id"],
        "equal": {name: bool((answers[name] == array).all()) for name, array in tensors().items() if name != "texts"},
        "texts": [text.decode() if isinstance(text, bytes) else text for text in answers["texts"].reshape(-1).tolist()],
    }


def half(client: triton.InferenceServerClient, headers: dict[str, str]) -> dict[str, Any]:
    """FP16 and BF16, which travel as binary alone; outputs are not named, so that the client asks for all as binary."""
    halves = np.array([[0.5, -1.75]], dtype=np.float16)
    brains = np.array([[0.5, -1.75]], dtype=ml_dtypes.bfloat16)
    inputs = [triton.InferInput("halves", [1, 2], "FP16"), triton.InferInput("brains", [1, 2], "BF16")]
    inputs[0].set_data_from_numpy(halves)
    inputs[1].set_data_from_numpy(brains)
    result = client.infer("halves", inputs, headers=dict(headers))
    return {name: result.as_numpy(name).astype(np.float32).tolist() for name in ("halves", "brains")}


def refusals(client: triton.InferenceServerClient, headers: dict[str, str]) -> dict[str, str]:
    """What the client makes of our refusals: an exception with our sentence."""
    one = triton.InferInput("floats", [1, 3], "FP32")
    one.set_data_from_numpy(np.zeros((1, 3), dtype=np.float32))
    cases: dict[str, tuple[str, dict[str, str]]] = {
        "no credential": ("mirror", {}),
        "bad key": ("mirror", {"X-API-Key": "tg_x_bad"}),
        "inputs missing": ("mirror", headers),
        "unknown model": ("nope", headers),
    }
    said = {}
    for case, (model, sent) in cases.items():
        try:
            client.infer(model, [one], headers=dict(sent))
            said[case] = "answered"
        except InferenceServerException as error:
            said[case] = f"{error.status()} {error.message()}"
    return said


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
