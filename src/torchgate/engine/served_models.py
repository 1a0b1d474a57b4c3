"""Which loading of each version requests go to, and what a bare name means: changed at once, never by halves."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import ModelDescription
from torchgate.engine.served_version import ServedVersion


class ServedModels:
    """What the door sees.

    A bare name means the version that model.toml pins; where it pins none, the highest that is ready.

    Args:
        on_change: called after each change of what a bare name means.

    Process: the event loop only.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.versions: dict[ModelRef, ServedVersion] = {}
        self.defaults: dict[str, str] = {}
        self._pinned: dict[str, str] = {}

    def resolve(self, name: str, version: str | None) -> ModelRef | None:
        """As contract.inference.Engine says."""
        wanted = version if version is not None else self.defaults.get(name)
        if wanted is None:
            return None
        found = self.versions.get(ModelRef(name, wanted))
        return found.ref if found is not None else None

    def descriptions(self) -> tuple[ModelDescription, ...]:
        """Of all versions, by name and version."""
        return tuple([self.versions[ref].description for ref in sorted(self.versions)])

    def of(self, name: str) -> list[ServedVersion]:
        """All versions of a model, the lowest first."""
        found = [version for ref, version in self.versions.items() if ref.name == name]
        return sorted(found, key=lambda one: (len(one.ref.version), one.ref.version))

    def put(self, version: ServedVersion) -> ServedVersion | None:
        """Requests for this version go to this loading from now on; what they went to before, if to any."""
        old = self.versions.get(version.ref)
        self.versions[version.ref] = version
        return old

    def forget(self, ref: ModelRef) -> None:
        """There is no such version any more."""
        self.versions.pop(ref, None)

    def pin(self, name: str, version: str | None) -> None:
        """What model.toml says that a bare name means, if it says so; `settle` makes it so as soon as it is ready."""
        if version is None:
            self._pinned.pop(name, None)
        else:
            self._pinned[name] = version

    def settle(self, name: str) -> None:
        """Give the bare name its meaning, from what is ready now."""
        versions = self.of(name)
        if versions:
            ready = [one.ref.version for one in versions if one.description.state == "ready"]
            self.defaults[name] = self._default(name, ready, versions[-1].ref.version)
        else:
            self.defaults.pop(name, None)
            self._pinned.pop(name, None)
        for one in versions:
            one.mark_default(is_default=one.ref.version == self.defaults[name])
        self._on_change()

    def ready_default(self, name: str) -> str:
        """The version that a bare name means, where it can be served; else empty."""
        ref = self.resolve(name, None)
        return "" if ref is None or self.versions[ref].description.state != "ready" else ref.version

    def _default(self, name: str, ready: list[str], highest: str) -> str:
        pinned = self._pinned.get(name)
        if pinned is None:
            return ready[-1] if ready else highest
        # A pin that can't be served takes nothing away from callers that are being answered.
        before = self.defaults.get(name)
        return before if before in ready and before is not None and pinned not in ready else pinned
