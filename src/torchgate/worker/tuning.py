"""Measures ways to run one model against each other, and refuses those that answer otherwise.

Measured by turns: a machine that becomes slower meanwhile does so for all. Answers are compared on random input of
several numbers of rows, relative to the largest value of each output, because that is what the order
of additions leaves: single elements near zero have no digits to compare.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from torchgate.contract.clock import monotonic_s
from torchgate.contract.model import Array, Batch
from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.tuning import Candidate, Choice, Tune, Tuned, TuneDone, TuneFailed
from torchgate.contract.worker_wire import Load
from torchgate.worker.answer import check_answer
from torchgate.worker.compiling import CannotCompile, compile_package
from torchgate.worker.device import choose_device
from torchgate.worker.loaded_model import LoadedModel
from torchgate.worker.loader import error_text, error_trace, load_model
from torchgate.worker.runner import Predict
from torchgate.worker.tensor_bytes import TORCH_TYPES
from torchgate.worker.tuned_model import load_package, machine, made_of, sha256_of, to_channels_last
from torchgate.worker.warm_up import OPEN_DIMENSION

TOLERANCES: Mapping[str, float] = {"FP64": 1e-10, "FP32": 1e-4, "FP16": 1e-2, "BF16": 5e-2}
"""How far an output may differ, as a part of its largest value; other datatypes must be equal.

Source: several times what another order of additions costs in networks of some hundred layers.
"""

LEAST_GAIN = 0.05
"""What is not faster by so much is not chosen: it would be noise, and every choice can go stale."""

_LEAST_ROUNDS, _MOST_ROUNDS = 5, 200
_SHORTEST_SAMPLE_S = 0.002
"""Short runs are timed several at once: clocks on Windows step by 0.1 µs, and calls take microseconds."""

_PRINCIPAL = RowPrincipal("tuning", "tuning", ())


Answer = torch.Tensor | list[object]
"""One output: numbers, or texts."""


class CannotTune(Exception):
    """Why nothing can be measured; the text is for the operator."""


class _Way(msgspec.Struct):
    """A way to run it that answers as eager does."""

    choice: Choice
    predict: Predict
    difference: float


def tune(message: Tune, say: Callable[[str], None]) -> TuneDone | TuneFailed:
    """Measure, and choose.

    Args:
        say: told what happens now.
    """
    name = f"Model '{message.model}' version '{message.version}'"
    try:
        return _Tuning(message, say).done()
    except CannotTune as why:
        return TuneFailed(f"{name} can't be tuned: {why}.", "")
    except Exception as error:  # noqa: BLE001 - the author's code may raise anything, and the operator must be told
        return TuneFailed(f"{name} can't be tuned: {error_text(error)}.", error_trace(error))


class _Tuning:
    """One measurement.

    Args:
        message: what of.
        say: told what happens now.
    """

    def __init__(self, message: Tune, say: Callable[[str], None]) -> None:
        self._message = message
        self._say = say
        self._device = choose_device(message.device)
        most = message.max_batch_size
        self._rows = (0,) if most == 0 else tuple(dict.fromkeys((1, most)))
        compared = (0,) if most == 0 else sorted({1, min(2, most), min(3, most), (most + 1) // 2, most})
        self._batches = {rows: _batch(message.signature, rows, self._device) for rows in compared}
        self._ways: list[_Way] = []
        self._refused: list[Candidate] = []

    def done(self) -> TuneDone:
        """All of it."""
        made = made_of(self._message)
        self._say("eager: loading")
        plain = self._load()
        expected = self._answers(plain.predict)
        outputs = self._message.signature.outputs
        if _difference(outputs, expected, self._answers(plain.predict)) is None:
            raise CannotTune(
                "it answers the same input differently each time, so that no other way to run it could be compared"
            )
        self._ways.append(_Way("eager", plain.predict, 0.0))
        self._try("channels_last", self._channels_last, expected)
        self._try("aoti", lambda: self._compiled(plain), expected)
        self._say(f"measuring {', '.join(way.choice for way in self._ways)} by turns")
        measured = _measured(
            self._ways, [self._batches[rows] for rows in self._rows], self._message.budget_s, self._device
        )
        candidates = [
            Candidate(way.choice, tuple(measured[way.choice]), way.difference) for way in self._ways
        ] + self._refused
        chosen, reason = _fastest(candidates)
        package = Path(self._message.package)
        sha256 = sha256_of(package) if chosen.choice == "aoti" else ""
        tuned = Tuned(chosen.choice, str(torch.__version__), machine(self._device), made, sha256)
        return TuneDone(
            self._rows,
            tuple(candidates),
            {spec.datatype: TOLERANCES.get(spec.datatype, 0.0) for spec in self._message.signature.outputs},
            torch.get_num_threads(),
            tuned,
            reason,
        )

    def _try(self, choice: Choice, make: Callable[[], Predict], expected: list[Mapping[str, Answer]]) -> None:
        self._say(f"{choice}: {'compiling, which may take minutes' if choice == 'aoti' else 'loading'}")
        try:
            predict = make()
            difference = _difference(self._message.signature.outputs, expected, self._answers(predict))
        except (CannotTune, CannotCompile) as why:
            self._refused.append(Candidate(choice, reason=str(why)))
        except Exception as error:  # noqa: BLE001 - whatever torch can't do with this model makes it no way to run it
            self._refused.append(Candidate(choice, reason=error_text(error)))
        else:
            if difference is None:
                self._refused.append(Candidate(choice, reason="its answers differ from eager's by more than allowed"))
            else:
                self._ways.append(_Way(choice, predict, difference))

    def _load(self) -> LoadedModel:
        one = self._message
        return load_model(
            Load(
                model=one.model, version=one.version, format=one.format, folder=one.folder, entry=one.entry,
                signature=one.signature, max_batch_size=one.max_batch_size, device=one.device,
                parameters=one.parameters, warm_up=0, section_token=0, section_length=0, idempotent=True,
            )
        )  # fmt: skip

    def _channels_last(self) -> Predict:
        model = self._load()
        if not to_channels_last(model):
            raise CannotTune("no convolution in it has weights of four dimensions")
        return model.predict

    def _compiled(self, plain: LoadedModel) -> Predict:
        if self._message.format == "aoti":
            raise CannotTune("it is a compiled package already")
        largest = self._batches[self._rows[-1]]
        compile_package(self._message, plain, largest.inputs)
        return load_package(Path(self._message.package), self._message.signature, self._device).predict

    def _answers(self, predict: Predict) -> list[Mapping[str, Answer]]:
        """For each number of rows, its outputs; checked against the signature."""
        answers: list[Mapping[str, Answer]] = []
        for rows, batch in self._batches.items():
            with torch.inference_mode():
                answer = predict(_copy(batch))
            check_answer(answer, self._message.signature.outputs, rows or None)
            answers.append({spec.name: _plain(answer[spec.name]) for spec in self._message.signature.outputs})
        return answers


def _measured(
    ways: Sequence[_Way], batches: Sequence[Batch], budget_s: float, device: torch.device
) -> dict[str, list[float]]:
    """Choice → median milliseconds for each batch, measured by turns."""
    medians: dict[str, list[float]] = {way.choice: [] for way in ways}
    for batch in batches:
        repeats = {way.choice: max(1, math.ceil(_SHORTEST_SAMPLE_S / _timed(way, batch, 2, device))) for way in ways}
        samples: dict[str, list[float]] = {way.choice: [] for way in ways}
        until = monotonic_s() + budget_s
        for turn in range(_MOST_ROUNDS):
            if turn >= _LEAST_ROUNDS and monotonic_s() > until:
                break
            for way in ways if turn % 2 else tuple(reversed(ways)):
                samples[way.choice].append(_timed(way, batch, repeats[way.choice], device))
        for choice, seconds in samples.items():
            medians[choice].append(round(statistics.median(seconds) * 1000, 4))
    return medians


def _timed(way: _Way, batch: Batch, repeats: int, device: torch.device) -> float:
    """Seconds of one run."""
    started = monotonic_s()
    with torch.inference_mode():
        for _ in range(repeats):
            way.predict(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max(1e-7, (monotonic_s() - started) / repeats)


def _fastest(candidates: Sequence[Candidate]) -> tuple[Candidate, str]:
    """The fastest over all numbers of rows together, never one that is slower for any of them; and why, if eager."""
    eager = candidates[0]
    best, best_ratio = eager, 1.0 - LEAST_GAIN
    for candidate in candidates[1:]:
        if not candidate.median_ms:
            continue
        ratios = [mine / plain for mine, plain in zip(candidate.median_ms, eager.median_ms, strict=True)]
        ratio = statistics.geometric_mean(ratios)
        if ratio < best_ratio and max(ratios) <= 1.0 + LEAST_GAIN:
            best, best_ratio = candidate, ratio
    return (
        best,
        "" if best is not eager else f"no other is faster by {LEAST_GAIN:.0%} and nowhere slower by as much",
    )


def _difference(
    specs: Sequence[TensorSpec], expected: Sequence[Mapping[str, Answer]], got: Sequence[Mapping[str, Answer]]
) -> float | None:
    """The largest difference as a part of its output's largest value, or None where one is not allowed."""
    largest = 0.0
    for before, after in zip(expected, got, strict=True):
        for spec in specs:
            difference = _relative(before[spec.name], after[spec.name])
            if difference > TOLERANCES.get(spec.datatype, 0.0):
                return None
            largest = max(largest, difference)
    return largest


def _relative(value: Answer, other: Answer) -> float:
    """0 where equal; infinite where they can't be compared."""
    if isinstance(value, list) or isinstance(other, list):
        return 0.0 if value == other else math.inf
    if value.shape != other.shape or value.dtype != other.dtype:
        return math.inf
    if not value.is_floating_point():
        return 0.0 if torch.equal(value, other) else math.inf
    finite = torch.isfinite(value)
    same_ends = torch.equal(torch.nan_to_num(value[~finite]), torch.nan_to_num(other[~finite]))
    if not torch.equal(finite, torch.isfinite(other)) or not same_ends:
        return math.inf
    if not bool(finite.any()):
        return 0.0
    before, after = value[finite].double(), other[finite].double()
    scale, gap = float(before.abs().max()), float((before - after).abs().max())
    return gap / scale if scale else (0.0 if gap == 0.0 else math.inf)


def _plain(value: Array) -> Answer:
    """An output that can be compared, and is no view of what the model may reuse."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    array = np.asarray(value)
    return array.tolist() if array.dtype.kind in "OSU" else torch.from_numpy(array.copy())


def _batch(signature: Signature, rows: int, device: torch.device) -> Batch:
    """Random input, the same at each call."""
    generator = torch.Generator().manual_seed(rows + 1)
    count = max(1, rows)
    inputs = {spec.name: _random(spec, rows, generator, device) for spec in signature.inputs}
    return Batch(inputs, count, (_PRINCIPAL,) * count, ({},) * count, monotonic_s() + 86_400.0)


def _random(spec: TensorSpec, rows: int, generator: torch.Generator, device: torch.device) -> Array:
    shape = tuple(OPEN_DIMENSION if length == -1 else length for length in spec.shape)
    shape = (rows, *shape) if rows else shape
    if spec.datatype == "BYTES":
        return np.full(shape, b"warm up", dtype=object)
    kind = TORCH_TYPES[spec.datatype]
    if kind.is_floating_point:
        return torch.randn(shape, generator=generator).to(device, kind)
    # Whole numbers may be indices into something short.
    return torch.randint(0, 2, shape, generator=generator).to(device, kind)


def _copy(batch: Batch) -> Batch:
    """For a model that writes into its inputs."""
    inputs = {name: one.clone() if isinstance(one, torch.Tensor) else one.copy() for name, one in batch.inputs.items()}
    return msgspec.structs.replace(batch, inputs=inputs)
