"""What reaches a worker that its own pool did not send: it ends, and no row of it is run."""

import hashlib

import msgspec
import pytest
from tests.fakes.impersonation import FakeImpersonation

from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.worker_seal import Sealer, new_channel_key
from torchgate.contract.worker_wire import (
    Load,
    Loaded,
    LoadFailed,
    Run,
    RunDone,
    RunItem,
    Space,
    Stop,
    WireError,
    decode_from_worker,
    encode,
    encode_order,
)
from torchgate.worker.callers_rights import CallersRights
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

    def __init__(self, *pieces: bytes, impersonation: FakeImpersonation | None = None) -> None:
        self.ran: list[int] = []
        self.spaces: list[Space] = []
        self.rights: list[CallersRights | None] = []
        self._wants_space = False
        self.channel = Channel(*pieces)
        self._loop = WorkerLoop(self.channel, load=self._load, impersonation=impersonation)

    def until_the_end(self, *, wants_space: bool = False) -> None:
        self._wants_space = wants_space
        self._loop.run()

    def _load(self, load, view, on_loaded):
        return self, Loaded(0.0, 0.0)

    def run(self, message: Run, ask_for_space, rights: CallersRights | None = None) -> RunDone:
        self.ran.append(message.batch_id)
        self.rights.append(rights)
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


TOKEN = 8
IMPERSONATING = msgspec.structs.replace(LOAD, impersonates=True)


def lent(*principals: RowPrincipal, token: int = TOKEN) -> bytes:
    return encode(Sealer(KEY).seal(msgspec.structs.replace(run(1, *principals), token=token)))


def test_a_model_that_asks_for_it_has_its_callers_rights_in_that_run_alone():
    sealer = Sealer(KEY)
    orders = [msgspec.structs.replace(run(1), token=TOKEN), run(2)]
    system = FakeImpersonation({TOKEN: ANN.key})
    served = Served(encode(IMPERSONATING), *(encode(sealer.seal(one)) for one in orders), impersonation=system)
    served.until_the_end()
    assert [one is not None for one in served.rights] == [True, False]


@pytest.mark.identity_case("worker", "a caller's token with rows of somebody else", "the worker ends")
def test_rows_of_others_than_the_tokens_user_are_not_run():
    other = RowPrincipal("key:bob", "bob", ())
    for rows in ((other,), (ANN, other)):
        served = Served(encode(IMPERSONATING), lent(*rows), impersonation=FakeImpersonation({TOKEN: ANN.key}))
        with pytest.raises(WireError, match="rows of others"):
            served.until_the_end()
        assert served.ran == []


def test_what_is_no_token_is_no_rights():
    served = Served(encode(IMPERSONATING), lent(token=12), impersonation=FakeImpersonation({TOKEN: ANN.key}))
    with pytest.raises(WireError, match="no token"):
        served.until_the_end()
    assert served.ran == []


def test_a_token_for_a_model_that_asks_for_none_ends_the_worker():
    for system in (None, FakeImpersonation({TOKEN: ANN.key})):
        served = Served(encode(LOAD), lent(), impersonation=system)
        with pytest.raises(WireError, match="asks for none"):
            served.until_the_end()
        assert served.ran == []


@pytest.mark.identity_case(
    "worker", "a model that needs its caller's rights, where the account may not impersonate", "it is not served"
)
@pytest.mark.parametrize(
    ("system", "why"),
    [
        (None, "this system has no callers' tokens"),
        (FakeImpersonation({}, why_not="the account lacks SeImpersonatePrivilege"), "SeImpersonatePrivilege"),
    ],
)
def test_a_model_that_could_not_act_as_its_caller_is_not_loaded(system: FakeImpersonation | None, why: str):
    served = Served(encode(IMPERSONATING), impersonation=system)
    served.until_the_end()
    (answer,) = [decode_from_worker(one[4:]) for one in served.channel.written[1:]]
    assert isinstance(answer, LoadFailed)
    assert why in answer.reason
