import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.contract.worker_seal import Opener, Sealer, new_channel_key
from torchgate.contract.worker_wire import (
    MAX_FRAME_BYTES,
    Frames,
    Hello,
    ItemDone,
    ItemFailed,
    Load,
    Loaded,
    LoadFailed,
    NeedSpace,
    Run,
    RunDone,
    RunItem,
    Sealed,
    Space,
    Stop,
    Warming,
    WireError,
    decode_from_worker,
    decode_to_worker,
    encode,
    encode_order,
)

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "BYTES", (1,)),))
PLACED = PlacedTensor("x", "FP32", (1, 3), 64, 12)
TO_WORKER = [
    Load("m", "1", "class", "C:\\Ordner ü", "model.py:M", SIGNATURE, 8, "cpu", {"k": [1]}, 1, 5, 4096, True),
    Stop(),
]
ORDERS = [
    Run(3, (RunItem((PLACED,), 1, RowPrincipal("k", "n", ("r",)), ("y",), {"p": 1.5}),), 64, 128, 12.5),
    Space(3, 64, 256),
]
FROM_WORKER = [
    Hello(1, 42, "2.13.0", "3.11.7"),
    Warming(0.5),
    Loaded(0.5, 0.25),
    LoadFailed("reason", "detail"),
    NeedSpace(3, 512),
    RunDone(3, (ItemDone((PLACED,)), ItemFailed("sentence", "detail")), 0.1, 0.2, 0.3),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda message: type(message).__name__)
def test_messages_to_the_worker_come_back_as_they_went(message):
    (frame,) = Frames().feed(encode(message))
    assert decode_to_worker(frame) == message


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_orders_come_back_as_they_went_and_only_sealed(order):
    key = new_channel_key()
    (frame,) = Frames().feed(encode(Sealer(key).seal(order)))
    sealed = decode_to_worker(frame)
    assert isinstance(sealed, Sealed)
    assert Opener(key).opened(sealed) == order
    with pytest.raises(WireError):
        decode_to_worker(encode_order(order))


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda message: type(message).__name__)
def test_messages_from_the_worker_come_back_as_they_went(message):
    (frame,) = Frames().feed(encode(message))
    assert decode_from_worker(frame) == message


@given(cuts=st.lists(st.integers(1, 50), max_size=80))
def test_frames_are_whole_however_the_stream_is_cut(cuts):
    stream = b"".join(map(encode, TO_WORKER))
    frames, found, position = Frames(), [], 0
    for length in [*cuts, len(stream)]:
        found += frames.feed(stream[position : position + length])
        position += length
    assert [decode_to_worker(frame) for frame in found] == TO_WORKER


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_wire_error(data):
    for decode in (decode_to_worker, decode_from_worker):
        try:
            decode(data)
        except WireError:
            continue


def test_a_message_of_the_other_direction_is_refused():
    (frame,) = Frames().feed(encode(FROM_WORKER[0]))
    with pytest.raises(WireError):
        decode_to_worker(frame)


def test_a_frame_beyond_the_limit_is_refused_before_it_arrives():
    with pytest.raises(WireError, match=str(MAX_FRAME_BYTES)):
        list(Frames().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "little")))
