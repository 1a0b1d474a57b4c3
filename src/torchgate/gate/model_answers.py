"""Answers about one model version, from what is known of it without torch."""

from __future__ import annotations

from typing import Any

import orjson

from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import DurationStatistics, ModelDescription, ModelStatistics
from torchgate.contract.tensors import TensorSpec
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response


async def model_metadata(exchange: Exchange) -> HttpResponse:
    """Name, versions, platform, inputs and outputs; shapes with the batch dimension."""
    description = exchange.known_description()
    batched = description.max_batch_size > 0
    versions = [
        other.ref.version
        for other in exchange.services.engine.models()
        if other.ref.name == description.ref.name
        and (other.ref == description.ref or await exchange.may_read(other))  # this one it may: it is asked about
    ]
    metadata = {
        "name": description.ref.name,
        "versions": versions,
        "platform": description.platform,
        "inputs": [_tensor_metadata(spec, batched=batched) for spec in description.signature.inputs],
        "outputs": [_tensor_metadata(spec, batched=batched) for spec in description.signature.outputs],
    }
    return json_response(200, orjson.dumps(metadata))


async def model_ready(exchange: Exchange) -> HttpResponse:
    """Whether this version can answer; 503 and why, where it can't."""
    description = exchange.known_description()
    name = description.ref.name
    if description.state == "ready":
        return json_response(200, orjson.dumps({"name": name, "ready": True}))
    reason = f"Model '{name}' version '{description.ref.version}' is {description.state}. {description.reason}".strip()
    return json_response(503, orjson.dumps({"name": name, "ready": False, "error": reason}), "model_not_ready")


async def model_config(exchange: Exchange) -> HttpResponse:
    """Triton's model configuration, as far as it has a meaning here."""
    description = exchange.known_description()
    config: dict[str, Any] = {
        "name": description.ref.name,
        "platform": description.platform,
        "backend": "torchgate",
        "max_batch_size": description.max_batch_size,
        "input": [_tensor_config(spec) for spec in description.signature.inputs],
        "output": [_tensor_config(spec) for spec in description.signature.outputs],
    }
    if description.max_batch_size:
        delay_us = round(description.max_batch_delay_s * 1e6)
        config["dynamic_batching"] = {"max_queue_delay_microseconds": delay_us}
    return json_response(200, orjson.dumps(config))


async def model_statistics(exchange: Exchange) -> HttpResponse:
    """V2 statistics of this version."""
    ref = exchange.known_description().ref
    found = await exchange.services.engine.statistics(ref)
    if found is None:
        raise exchange.unknown_model()
    return json_response(200, orjson.dumps({"model_stats": [statistics_entry(ref, found)]}))


def statistics_entry(ref: ModelRef, statistics: ModelStatistics) -> dict[str, Any]:
    """One entry of `model_stats`."""
    nothing = DurationStatistics()
    return {
        "name": ref.name,
        "version": ref.version,
        "last_inference": statistics.last_inference_ms,
        "inference_count": statistics.inference_count,
        "execution_count": statistics.execution_count,
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.fail),
            "queue": _duration(statistics.queue),
            "compute_input": _duration(statistics.compute_input),
            "compute_infer": _duration(statistics.compute_infer),
            "compute_output": _duration(statistics.compute_output),
            "cache_hit": _duration(nothing),
            "cache_miss": _duration(nothing),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(nothing),
                "compute_infer": _duration(duration),
                "compute_output": _duration(nothing),
            }
            for rows, duration in sorted(statistics.batches.items())
        ],
        "memory_usage": [],
    }


def shown_shape(spec: TensorSpec, description: ModelDescription) -> list[int]:
    """A tensor's shape as clients send it."""
    return [-1, *spec.shape] if description.max_batch_size else list(spec.shape)


def _duration(duration: DurationStatistics) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def _tensor_metadata(spec: TensorSpec, *, batched: bool) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape] if batched else list(spec.shape)}


def _tensor_config(spec: TensorSpec) -> dict[str, Any]:
    kind = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": list(spec.shape)}
