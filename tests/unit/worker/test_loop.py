"""What reaches a worker that its own pool did not send: it ends, and no row of it is run."""

import hashlib

import msgspec
import pytest

from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.worker_seal import Sealer, new_channel_key
from torchgate.contract.worker_wire import (
    Load,
    Loaded,
    Run,
    RunDone,
    RunItem,
    Space,
    Stop,
    WireError,
    encode,
    encode_order,
)
from torchgate.worker.loop import WorkerLoop

SIGNATURE = Signature((TensorSpec("x", "FP32", (1,)),), (TensorSpec("y", "FP32", (1,)),))
KEY = new_channel_key()
LOAD = Load("m", "1", "class", "", "", SIGNATURE, 8, "cpu", {}, 0, 5, 64, True, channel_key=KEY)
ANN = RowPrincipal("key:ann", "ann", ())


def run(batch_id: int, *principals: RowPrincipal) -> Run:
    return Run(batch_id, tuple(RunItem((), 1, one, None, {}) for one in principals or (ANN,)), 0, 0, 0.0)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


class Channel:
    """Implements os_services.WorkerEnd: one read for each piece."""

    view = memoryview(bytearray(64))

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.written: list[bytes] = []

    def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def open_section(self, token: int, length: int) -> "Channel":
        return self


class Served:
    """A worker with a model that notes what it is asked to run."""

    def __init__(self, *pieces: bytes) -> None:
        self.ran: list[int] = []
        self.spaces: list[Space] = []
        self._wants_space = False
        self._loop = WorkerLoop(Channel(*pieces), load=self._load)

    def until_the_end(self, *, wants_space: bool = False) -> None:
        self._wants_space = wants_space
        self._loop.run()

    def _load(self, load, view, on_loaded):
        return self, Loaded(0.0, 0.0)

    def run(self, message: Run, ask_for_space) -> RunDone:
        self.ran.append(message.batch_id)
        if self._wants_space:
            self.spaces.append(ask_for_space(message.batch_id, 64))
        return RunDone(message.batch_id, (), 0.0, 0.0, 0.0)


def test_the_orders_of_the_pool_are_run():
    sealer = Sealer(KEY)
    served = Served(encode(LOAD), encode(sealer.seal(run(1))), encode(sealer.seal(run(2))), encode(Stop()))
    served.until_the_end()
    assert served.ran == [1, 2]


def test_space_comes_from_the_pool_too():
    sealer = Sealer(KEY)
    pieces = [encode(LOAD), encode(sealer.seal(run(1))), encode(sealer.seal(Space(1, 0, 64)))]
    served = Served(*pieces)
    served.until_the_end(wants_space=True)
    assert served.spaces == [Space(1, 0, 64)]


def unsealed() -> bytes:
    return framed(encode_order(run(1)))


def sealed_by_another_pool() -> bytes:
    return encode(Sealer(new_channel_key()).seal(run(1)))


def with_another_principal() -> bytes:
    """A sealed order whose rows somebody gave to an administrator."""
    sealed = Sealer(KEY).seal(run(1))
    rows = msgspec.Raw(encode_order(run(1, RowPrincipal("key:root", "root", ("admin",)))))
    return encode(msgspec.structs.replace(sealed, order=rows))


def rows_of_nobody() -> bytes:
    return encode(Sealer(KEY).seal(run(1, ANN, RowPrincipal("", "", ()))))


def rows_without_a_principal() -> bytes:
    """Sealed all right, as a pool of another version might."""
    body = encode_order(run(1))
    stripped = body.replace(msgspec.msgpack.encode(ANN), msgspec.msgpack.encode(None))
    assert stripped != body
    seal = hashlib.blake2b(stripped, digest_size=16, key=KEY, salt=(1).to_bytes(8, "little")).digest()
    return encode(msgspec.structs.replace(Sealer(KEY).seal(run(1)), seal=seal, order=msgspec.Raw(stripped)))


def a_second_load() -> bytes:
    """Another model, with a key of the sender's own, and a run of it."""
    key = new_channel_key()
    load = msgspec.structs.replace(LOAD, model="other", channel_key=key)
    return encode(load) + encode(Sealer(key).seal(run(1)))


@pytest.mark.identity_case(
    "worker", "a batch that its own pool did not send, or with rows of nobody", "the worker ends"
)
@pytest.mark.parametrize(
    "attack",
    [
        unsealed,
        sealed_by_another_pool,
        with_another_principal,
        rows_of_nobody,
        rows_without_a_principal,
        a_second_load,
    ],
    ids=lambda attack: attack.__name__,
)
def test_what_the_pool_did_not_send_ends_the_worker_before_any_row_is_run(attack):
    served = Served(encode(LOAD), attack(), encode(Stop()))
    with pytest.raises(WireError):
        served.until_the_end()
    assert served.ran == []


def test_a_batch_that_was_run_is_not_run_again():
    once = encode(Sealer(KEY).seal(run(1)))
    served = Served(encode(LOAD), once, once)
    with pytest.raises(WireError):
        served.until_the_end()
    assert served.ran == [1]


def test_an_order_before_a_model_is_loaded_and_a_load_without_a_key_end_the_worker():
    for pieces in (encode(Sealer(KEY).seal(run(1))), encode(msgspec.structs.replace(LOAD, channel_key=b""))):
        with pytest.raises(WireError):
            Served(pieces).until_the_end()


def test_space_that_somebody_else_offers_is_not_written_to():
    """It could lie where another caller's answer is."""
    stray = framed(encode_order(Space(1, 0, 64)))
    served = Served(encode(LOAD), encode(Sealer(KEY).seal(run(1))), stray)
    with pytest.raises(WireError):
        served.until_the_end(wants_space=True)
    assert served.spaces == []
