"""From a version's folder to a loading that may serve: vouched for, loaded, and its golden answer examined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from torchgate.contract.back_end import BackEnd
from torchgate.engine.catalog import CatalogEntry
from torchgate.engine.digest import DigestRefused, fingerprint
from torchgate.engine.golden import Golden, GoldenMistake, golden_mistake, read_golden
from torchgate.engine.served_version import ServedVersion
from torchgate.engine.trusted_code import Examined

_log = logging.getLogger("torchgate.engine")

_CHANGED = "its files changed while it was loaded. Load it again when they are complete."


class BringUp:
    """Brings versions up, each by itself.

    Args:
        back_end: what loads them.
        examine: what to load of an entry, on a thread, before anything of it runs; raises DigestRefused or OSError.
        digest: of a folder, on a thread; raises the same.
        refusal: why nothing may be loaded here, once that is known; empty where it may be.
    """

    def __init__(
        self,
        back_end: BackEnd,
        examine: Callable[[CatalogEntry], Examined],
        digest: Callable[[Path], str],
        refusal: Callable[[], Awaitable[str]],
    ) -> None:
        self._back_end = back_end
        self._examine = examine
        self._digest = digest
        self._refusal = refusal

    async def digest(self, version: ServedVersion) -> str:
        """Of what lies on disk.

        Raises:
            DigestRefused, OSError: it can't be vouched for.
        """
        return await asyncio.to_thread(self._digest, Path(version.entry.artifact.folder))

    async def __call__(self, version: ServedVersion) -> str:
        """Bring it up; why it can't serve, or empty. Whatever goes wrong is its own state, and no other version's."""
        try:
            reason = await self._bring_up(version)
        except (DigestRefused, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - one version's trouble must be its state alone
            _log.exception("%s can't be loaded.", version.ref)
            reason = f"an error of this server: {error!r}"
        if reason:
            version.change("failed", reason, 0)
            await self._back_end.deactivate(version.artifact.activation)
            await version.remove_copy()
        else:
            version.prove()
        return reason

    async def _bring_up(self, version: ServedVersion) -> str:
        # Looked at before it is read: whatever changes from here on is noticed.
        before = await asyncio.to_thread(fingerprint, Path(version.entry.artifact.folder))
        found = await asyncio.to_thread(self._examine, version.entry)
        folder = Path(found.folder)
        seen, golden = await asyncio.to_thread(_look, folder)
        if found.folder == version.entry.artifact.folder:
            seen = before
        version.description = msgspec.structs.replace(version.description, digest=found.digest, reason="")
        artifact = version.artifact = msgspec.structs.replace(
            version.artifact, digest=found.digest, folder=found.folder, fingerprint=seen
        )
        refusal = await self._refusal()
        if refusal:
            return refusal
        await self._back_end.activate(artifact, version.told)
        if version.failure:
            return version.failure
        if isinstance(golden, GoldenMistake):
            return f"{golden}."
        if golden is not None:
            mistake = await golden_mistake(golden, artifact, self._back_end)
            if mistake:
                return f"{mistake}."
        return _CHANGED if await asyncio.to_thread(fingerprint, folder) != seen else ""


def _look(folder: Path) -> tuple[str, Golden | GoldenMistake | None]:
    seen = fingerprint(folder)
    try:
        return seen, read_golden(folder)
    except GoldenMistake as mistake:
        return seen, mistake
