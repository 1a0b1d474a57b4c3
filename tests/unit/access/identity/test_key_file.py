"""keys.toml: keys come, change their values with an overlap, and go; a running server follows."""

from __future__ import annotations

import asyncio
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.access.local_issuer import NOW, Clock

from torchgate.access.api_key_settings import ApiKeySettings, KeyFileSettings
from torchgate.access.build import build_access
from torchgate.access.identity.api_key import new_api_key
from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.key_file import (
    KeyFileError,
    added,
    being_changed,
    counting_keys,
    read_key_file,
    revoked,
    rotated,
    text_of,
    write_key_file,
)
from torchgate.access.identity.presented import Presented
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.errors import RejectedCredential

OPS, CHANGED, OTHER = new_api_key("ops"), new_api_key("ops"), new_api_key("other")
AT = datetime.fromtimestamp(NOW, UTC)
DAY = timedelta(days=1)


def entry(key: object = OPS, **more: object) -> ApiKeySettings:
    return ApiKeySettings(id=key.id, sha256=key.sha256, **more)  # type: ignore[attr-defined,arg-type]


class Server:
    """What a running server has of identity, with one look at the file whenever a test wants it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.path = folder / "keys.toml"
        self.clock = Clock(NOW)
        self.events: list[LifecycleEvent] = []
        access = AccessSettings(folder=folder, **settings)  # type: ignore[arg-type]
        self.authentication: Authentication
        self.authentication, self._authorisation = build_access(
            access, wall_clock=self.clock, on_lifecycle=self.events.append
        )

    async def look(self) -> None:
        for watch in self.authentication._watches:  # the watch's own timer is not waited for
            await watch.look_once()

    async def knows(self, key: str) -> bool:
        try:
            await self.authentication.authenticate(Presented(api_key=key))
        except RejectedCredential:
            return False
        return True

    def close(self) -> None:
        self._authorisation.stop()


@pytest.fixture
def server(tmp_path: Path):  # type: ignore[no-untyped-def]
    write_key_file(tmp_path / "keys.toml", KeyFileSettings(keys=(entry(),)))
    server = Server(tmp_path)
    yield server
    server.close()


KEYS = st.builds(
    lambda name, roles, ends: entry(name=name, roles=roles, expires=ends),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=40),
    st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,63}", fullmatch=True), max_size=3).map(tuple),
    st.none() | st.integers(1_000_000_000, 9_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)),
)


@given(KEYS)
def test_what_is_written_is_what_is_read(key: ApiKeySettings) -> None:
    content = revoked(KeyFileSettings(keys=(key,)), entry(OTHER, name=key.name), AT)
    assert KeyFileSettings.model_validate(tomllib.loads(text_of(content)), strict=False) == content


def test_a_missing_file_has_no_keys(tmp_path: Path) -> None:
    assert read_key_file(tmp_path / "keys.toml") == KeyFileSettings()


def test_an_id_is_given_out_once_even_after_it_was_revoked() -> None:
    """Or old events in the audit trail would mean the new holder."""
    content = added(KeyFileSettings(), entry())
    with pytest.raises(KeyFileError, match="--rotate"):
        added(content, entry(CHANGED))
    with pytest.raises(KeyFileError, match="was revoked"):
        added(revoked(content, entry(), AT), entry(CHANGED))


def test_a_change_of_value_lets_the_former_one_count_until_the_overlap_ends() -> None:
    content = rotated(KeyFileSettings(keys=(entry(name="n"),)), "ops", CHANGED.sha256, AT + DAY, None, AT)
    (key,) = content.keys
    assert (key.sha256, key.previous_sha256, key.previous_expires) == (CHANGED.sha256, OPS.sha256, AT + DAY)
    assert key.name == "n"


def test_the_overlap_makes_no_value_live_longer_than_it_would_have() -> None:
    expiring = KeyFileSettings(keys=(entry(expires=AT + DAY / 2),))
    (key,) = rotated(expiring, "ops", CHANGED.sha256, AT + DAY, AT + 90 * DAY, AT).keys
    assert key.previous_expires == AT + DAY / 2
    assert key.expires == AT + 90 * DAY


def test_a_key_that_has_expired_gets_a_new_value_only_with_a_new_end() -> None:
    with pytest.raises(KeyFileError, match="--expires"):
        rotated(KeyFileSettings(keys=(entry(expires=AT),)), "ops", CHANGED.sha256, AT + DAY, None, AT)


def test_an_id_in_both_files_is_a_mistake_and_a_revoked_one_counts_in_neither() -> None:
    with pytest.raises(KeyFileError, match="keep one"):
        counting_keys([entry()], KeyFileSettings(keys=(entry(CHANGED),)))
    assert counting_keys([entry()], revoked(KeyFileSettings(), entry(), AT)) == ()


BAD = {
    "no TOML": "keys = [",
    "no UTF-8": "\udcff",
    "another table": '[[kyes]]\nid = "a"\n',
    "a hash that is none": '[[keys]]\nid = "a"\nsha256 = "abc"\n',
    "the key itself": f'[[keys]]\nid = "ops"\nsha256 = "{OPS.key}"\n',
    "an id twice": f'[[keys]]\nid = "a"\nsha256 = "{OPS.sha256}"\n[[keys]]\nid = "a"\nsha256 = "{OTHER.sha256}"\n',
    "a hash for two ids": f'[[keys]]\nid = "a"\nsha256 = "{OPS.sha256}"\n[[keys]]\nid = "b"\nsha256 = "{OPS.sha256}"\n',
    "a time without a zone": f'[[keys]]\nid = "a"\nsha256 = "{OPS.sha256}"\nexpires = 2030-01-01T00:00:00\n',
    "a name that moves the cursor": f'[[keys]]\nid = "a"\nsha256 = "{OPS.sha256}"\nname = "\\u001b[2J"\n',
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_and_says_nothing_of_a_key(tmp_path: Path, case: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(BAD[case].encode("utf-8", "surrogateescape"))
    with pytest.raises(KeyFileError) as caught:
        read_key_file(path)
    assert OPS.key not in str(caught.value)
    with pytest.raises(ValueError, match=r"keys\.toml"):
        build_access(AccessSettings(folder=tmp_path))


def test_two_commands_at_once_lose_nobodys_change(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    with being_changed(path), pytest.raises(KeyFileError, match="another command"), being_changed(path):
        pass
    with being_changed(path):
        write_key_file(path, KeyFileSettings())
    assert [one.name for one in tmp_path.iterdir()] == ["keys.toml"]


@pytest.mark.identity_case("API key", "a key after `torchgate keys revoke`, the server running on", "401")
async def test_a_running_server_takes_a_revocation_up(server: Server) -> None:
    assert await server.knows(OPS.key)
    write_key_file(server.path, revoked(KeyFileSettings(keys=(entry(),)), entry(), AT))
    await server.look()
    assert not await server.knows(OPS.key)
    assert [(event.activity, event.subject) for event in server.events] == [("update", "API keys")]


@pytest.mark.identity_case("API key", "the former and the new value during the overlap of a rotation", "both count")
@pytest.mark.identity_case("API key", "the former value after the overlap", "401")
async def test_a_running_server_takes_a_rotation_up_and_ends_the_overlap(server: Server) -> None:
    content = rotated(read_key_file(server.path), "ops", CHANGED.sha256, AT + DAY, None, AT)
    write_key_file(server.path, content)
    await server.look()
    assert await server.knows(OPS.key)
    assert await server.knows(CHANGED.key)
    server.clock.at = NOW + 86_400
    assert not await server.knows(OPS.key)
    assert await server.knows(CHANGED.key)


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_file_leaves_the_keys_in_force_and_shows_trouble_until_it_is_mended(
    server: Server, case: str
) -> None:
    server.path.write_bytes(BAD[case].encode("utf-8", "surrogateescape"))
    await server.look()
    await server.look()
    assert await server.knows(OPS.key)
    (trouble,) = server.authentication.troubles()
    assert "stays in force" in trouble
    assert [event.activity for event in server.events] == ["failure"]  # said once, not at each look
    write_key_file(server.path, KeyFileSettings(keys=(entry(OTHER),)))
    await server.look()
    assert server.authentication.troubles() == ()
    assert not await server.knows(OPS.key)
    assert await server.knows(OTHER.key)


async def test_a_file_that_is_gone_for_good_takes_its_keys_with_it(server: Server) -> None:
    """Not at the first look: some programs replace a file by removing it first."""
    server.path.unlink()
    await server.look()
    assert await server.knows(OPS.key)
    await server.look()
    assert not await server.knows(OPS.key)


async def test_roles_of_a_key_come_with_it(server: Server) -> None:
    write_key_file(server.path, KeyFileSettings(keys=(entry(roles=("operator",)),)))
    await server.look()
    principal = await server.authentication.authenticate(Presented(api_key=OPS.key))
    assert principal.roles == {"operator"}


async def test_the_watch_looks_by_itself_between_start_and_stop(tmp_path: Path) -> None:
    server = Server(tmp_path, identity=IdentitySettings(refresh_s=0.1))
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    server.events = []
    server.authentication._watches[0]._on_lifecycle = lambda event: loop.call_soon(changed.set)
    await server.authentication.start()
    write_key_file(server.path, KeyFileSettings(keys=(entry(),)))
    await asyncio.wait_for(changed.wait(), 120)
    assert await server.knows(OPS.key)
    await server.authentication.stop()
    server.close()
