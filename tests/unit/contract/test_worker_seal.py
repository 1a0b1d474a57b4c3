import msgspec
import pytest

from torchgate.contract.worker_seal import Opener, Sealer, new_channel_key
from torchgate.contract.worker_wire import Space, WireError, encode_order

KEY = new_channel_key()
ORDERS = [Space(1, 64, 64), Space(2, 128, 64), Space(3, 192, 64)]


def test_orders_in_their_order_come_out_as_they_went_in():
    sealer, opener = Sealer(KEY), Opener(KEY)
    assert [opener.opened(sealer.seal(order)) for order in ORDERS] == ORDERS


@pytest.mark.parametrize(
    "change",
    [
        {"seal": b""},
        {"seal": bytes(16)},
        {"number": 2},
        {"number": 0},
        {"number": -1},
        {"number": 2**64},
        {"order": msgspec.Raw(encode_order(Space(1, 64, 65)))},
        {"order": msgspec.Raw(b"")},
    ],
    ids=repr,
)
def test_whatever_is_changed_on_the_way_is_refused(change):
    sealed = Sealer(KEY).seal(ORDERS[0])
    with pytest.raises(WireError):
        Opener(KEY).opened(msgspec.structs.replace(sealed, **change))


def test_an_order_counts_once_and_none_may_be_left_out():
    sealer, opener = Sealer(KEY), Opener(KEY)
    first, second, third = map(sealer.seal, ORDERS)
    opener.opened(first)
    for again in (first, third):
        with pytest.raises(WireError, match="after order 1"):
            opener.opened(again)
    assert opener.opened(second) == ORDERS[1]


def test_an_order_of_another_channel_is_refused():
    with pytest.raises(WireError, match="did not seal"):
        Opener(KEY).opened(Sealer(new_channel_key()).seal(ORDERS[0]))


@pytest.mark.parametrize("key", [b"", b"x", bytes(33)])
def test_a_channel_without_a_whole_key_takes_nothing(key):
    with pytest.raises(WireError, match="channel key"):
        Opener(key)


def test_keys_are_not_repeated():
    assert len({new_channel_key() for _ in range(100)}) == 100
