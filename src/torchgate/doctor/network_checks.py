"""Ports, issuers of tokens, and the pool."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

from torchgate.access.issuer_examination import examine_issuer
from torchgate.composition import local_pipes, pool_address
from torchgate.config import PoolSettings
from torchgate.contract.counted import counted
from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.contract.inference import ModelDescription
from torchgate.contract.local_pipes import ForeignOwner, LocalPipes, NobodyListens, PeerChannel, PeerRefused
from torchgate.contract.machine import PortHolder
from torchgate.doctor.places import reason, unwritable
from torchgate.doctor.world import World
from torchgate.engine.link.pool_link import PoolLink
from torchgate.engine.link.remote_engine import RemoteEngine
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.settings import UNIX_PREFIX, host_and_port, is_unix
from torchgate.project import ProjectError, RunningServer, running_server

_ATTACH_S = 5.0


def port(world: World) -> Iterator[Diagnosis]:
    """Whether the server could listen where it is told to."""
    gate = world.settings.gate
    variable = FRONT_DOORS[gate.front_door].port_variable
    if variable:
        yield skipped(f"IIS chooses the port and says it by {variable}.", place="gate.front_door")
    elif gate.front_door == "fastcgi":
        yield skipped("wfastcgi has no port.", place="gate.front_door")
    elif is_unix(gate.bind):
        yield from _unix(world, gate.bind)
    else:
        host, number = host_and_port(gate.bind)
        yield from _tcp(world, host, number)


def _unix(world: World, bind: str) -> Iterator[Diagnosis]:
    folder = (world.folder / bind.removeprefix(UNIX_PREFIX)).parent
    if why := unwritable(folder):
        remedy = "Give the folder to this account, or name another."
        yield red(f"no socket can be made in {folder}: {why}.", "a folder to write to", remedy, place="gate.bind")
    else:
        yield ok(f"a socket can be made in {folder}.", place="gate.bind")


def _tcp(world: World, host: str, number: int) -> Iterator[Diagnosis]:
    if number == 0:
        yield skipped("the server takes a free port.", place="gate.bind")
        return
    holders: tuple[PortHolder, ...] = ()
    with contextlib.suppress(OSError):
        holders = world.machine.port_holders(number)
    ours = _running(world)
    if ours is not None and any(holder.pid in (0, ours.pid) for holder in holders):
        yield ok(f"our own server (process {ours.pid}) listens on {host}:{number}.", place="gate.bind")
        return
    if why := _not_bindable(host, number):
        by = f" by {', '.join(map(str, holders))}" if holders else ""
        remedy = "Stop what listens there, or choose another gate.bind."
        seen = f"{host}:{number} can't be listened on: {why}{f'; it is held{by}' if by else ''}."
        yield red(seen, "a free address", remedy, place="gate.bind")
    else:
        yield ok(f"{host}:{number} is free.", place="gate.bind")
    try:
        reserved = world.machine.reservations(number)
    except (OSError, TimeoutError) as error:
        yield skipped(f"reservations of ports can't be seen: {reason(error)}.", place="gate.bind")
        return
    if reserved:
        yield amber(f"{reserved}.", "a port that is nobody's", "Choose another gate.bind.", place="gate.bind")


def _not_bindable(host: str, number: int) -> str:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            # As the server's own: on Windows nobody else's port is taken, elsewhere one that rests is.
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        return reason(error)
    return ""


def _running(world: World) -> RunningServer | None:
    try:
        return running_server(world.settings.state.folder)
    except ProjectError:
        return None


def issuers(world: World) -> Iterator[Diagnosis]:
    """Every issuer of tokens: its keys, and its clock."""
    if not world.settings.identity.oidc:
        yield skipped("there are no issuers: [[identity.oidc]] is empty.")
        return
    for one in asyncio.run(_examined(world)):
        yield from one


async def _examined(world: World) -> list[tuple[Diagnosis, ...]]:
    settings = world.settings.identity.oidc
    return await asyncio.gather(*(examine_issuer(one, world.folder) for one in settings))


def pool(world: World) -> Iterator[Diagnosis]:
    """Whether a gate of this account would find its pool."""
    settings = world.settings
    pipes = local_pipes()
    if settings.pool == PoolSettings() and not (settings.state.folder / "pool.lock").exists():
        yield skipped("[pool] is empty, and no pool has been started: `torchgate serve` needs none.")
        return
    yield from asyncio.run(_pool(world, pipes))


async def _pool(world: World, pipes: LocalPipes) -> tuple[Diagnosis, ...]:
    address, owner = pool_address(world.settings), world.settings.pool.owner_account or pipes.own_account
    place = str(address.folder)
    failures: list[OSError] = []

    async def connect(link: PoolLink) -> PeerChannel:
        try:
            return await pipes.connect(address, link, owner=owner)
        except OSError as error:
            failures.append(error)
            raise

    engine = RemoteEngine(connect, program=world.version)
    engine.start()
    try:
        attached = await engine.wait_attached(_ATTACH_S)
        models = list(engine.models()) if attached else []
    finally:
        await engine.stop()
    if not attached:
        return (_no_pool(failures[-1] if failures else None, owner, place),)
    return (ok(f"the pool answers, and holds {counted(len(models), 'model version')}.", place=place), *_models(models))


def _no_pool(error: OSError | None, owner: str, place: str) -> Diagnosis:
    if isinstance(error, NobodyListens):
        remedy = "Start it: `torchgate pool`, or its service. Until then a gate answers 503."
        return red("no pool listens here.", "a running pool", remedy, place=place)
    if isinstance(error, PeerRefused):
        remedy = "Name this account in [pool] gates, and start the pool again."
        return red("the pool does not admit this account.", "this account in [pool] gates", remedy, place=place)
    if isinstance(error, ForeignOwner):
        remedy = "Name the pool's account in [pool] owner; if it is none of yours, end that process."
        return red("what listens here belongs to another account.", f"owner {owner}", remedy, place=place)
    words = "it does not answer" if error is None else reason(error)
    return red(f"the pool can't be reached: {words}.", "a pool that answers", "Look into the pool's log.", place=place)


def _models(models: list[ModelDescription]) -> Iterator[Diagnosis]:
    for model in models:
        if model.state == "failed":
            seen = f"{model.ref} is failed: {model.reason}"
            yield amber(seen, "ready", "Correct that, then `torchgate models load`.", place=str(model.ref))
