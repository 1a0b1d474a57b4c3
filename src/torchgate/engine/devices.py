"""Model versions on one device take turns by weight, as soon as more batches want to run than it has room for.

Above the seam: nothing here knows what stands behind a back end. A batch occupies its version's threads of the
processor, and one place of any other device.
"""

from __future__ import annotations

from collections.abc import Callable

from torchgate.contract.back_end import Artifact
from torchgate.engine.fair_share import FairTime, Share

_PLACES = 2
"""Batches at once on a device that is no processor: one computes while the inputs of the other come."""

_FIRST_GUESS_S = 0.01
"""What a batch takes, before any was measured."""

_MEAN_WEIGHT = 0.1
"""Of the newest batch in the running mean: the last ten or so count."""

Started = tuple[float, int]
"""Of a batch that runs: its estimated time in seconds, and what it occupies."""


class DeviceUser(Share):
    """One loading of a model version on its device.

    Args:
        artifact: the version.
        weight: as Share says.
        on_turn: called when it may start what it was refused; it asks again before it returns.
    """

    __slots__ = ("artifact", "batch_s", "is_active", "is_here", "on_turn", "units")

    def __init__(self, artifact: Artifact, weight: float, on_turn: Callable[[], None]) -> None:
        super().__init__(weight)
        self.artifact = artifact
        self.on_turn = on_turn
        self.units = 1
        self.batch_s = _FIRST_GUESS_S
        self.is_active = False
        """Whether it wants something, or something of it runs."""
        self.is_here = False
        """Whether it has run anything on the device since it was loaded: who has not, takes nobody's room."""


class Device:
    """Gives its room to whoever of those who want it has had least of its time, weighed. Idle room waits for nobody.

    Args:
        cores: of a processor; 0: it is none.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._room = self._used = 0
        self._users: list[DeviceUser] = []
        self._wanting: list[DeviceUser] = []
        self._turn: DeviceUser | None = None
        self._time = FairTime()

    def leave(self, user: DeviceUser) -> None:
        """It is unloaded. Safe to call twice."""
        if user.is_here:
            user.is_here = False
            self._users.remove(user)
            self.withdraw(user)
            self._measure()

    def may_start(self, user: DeviceUser) -> bool:
        """Whether a batch of it may start now; if not, its turn will come."""
        if not user.is_here:
            user.is_here = True
            self._users.append(user)
            self._measure()
        if self._fits(user) and (self._turn is user or not self._wanting):
            return True
        if user not in self._wanting:
            self._enter(user)
            self._wanting.append(user)
        return False

    def start(self, user: DeviceUser) -> Started:
        """A batch of it starts; `end` must follow."""
        self._enter(user)
        self._time.lead(user)
        self._turn = None
        self._used += user.units
        user.begin(user.batch_s)
        return user.batch_s, user.units

    def end(self, user: DeviceUser, started: Started, used_s: float) -> None:
        """A batch has ended, or was lost, after so long. `pass_on` must follow, when it said whether it wants more."""
        estimate_s, units = started
        self._used -= units
        if used_s > 0:
            user.batch_s += (used_s - user.batch_s) * _MEAN_WEIGHT
        user.end(estimate_s, used_s)

    def pass_on(self, user: DeviceUser) -> None:
        """Let those who are next start; this one has just ended something."""
        self._rest(user)
        while self._wanting:
            following = min(self._wanting, key=lambda one: one.rank)
            if not self._fits(following):
                return  # nobody passes it, or one that needs much would never start
            self._wanting.remove(following)
            self._turn = following
            following.on_turn()
            self._turn = None
            self._rest(following)

    def withdraw(self, user: DeviceUser) -> None:
        """It wants to start nothing any more."""
        if user in self._wanting:
            self._wanting.remove(user)
            self.pass_on(user)

    def _fits(self, user: DeviceUser) -> bool:
        return not self._used or self._used + user.units <= self._room

    def _enter(self, user: DeviceUser) -> None:
        if not user.is_active:
            user.is_active = True
            self._time.enter(user)

    def _rest(self, user: DeviceUser) -> None:
        if user.is_active and not user.runs and user not in self._wanting:
            user.is_active = False
            self._time.leave(user)

    def _measure(self) -> None:
        """Room for all, and what each occupies; no version alone is ever held back."""
        if self._cores:
            saying = sum(user.artifact.replicas * user.artifact.threads for user in self._users)
            sharing = sum(user.artifact.replicas for user in self._users if not user.artifact.threads)
            equal = max(1, (self._cores - min(saying, self._cores - 1)) // max(1, sharing))
            for user in self._users:
                user.units = user.artifact.threads or equal
        alone = [user.artifact.replicas * user.units for user in self._users]
        self._room = max([self._cores or _PLACES, *alone])


class Devices:
    """All devices of one engine.

    Args:
        cores: of the processor that workers may use.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._devices: dict[str, Device] = {}

    def of(self, artifact: Artifact) -> Device:
        """The device that a version runs on; `cuda` is `cuda:0`."""
        name = "cuda:0" if artifact.device == "cuda" else artifact.device
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = Device(self._cores if name == "cpu" else 0)
        return device
