"""The engine over workers of this machine, for `serve` and `pool`; a gate never imports it."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial

from torchgate.composition import CannotStart, private_folders
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.clock import monotonic_s
from torchgate.contract.os_services import Children, Sections
from torchgate.engine.catalog import read_catalog, read_model
from torchgate.engine.digest import folder_digest
from torchgate.engine.local_workers import LocalWorkers
from torchgate.engine.pin.lock import LOCK_FILE
from torchgate.engine.pin.surveyor import Surveyor
from torchgate.engine.pin.verification import PinVerification
from torchgate.engine.quotas import Quotas
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.trust import Trust
from torchgate.engine.trusted_code import SignedCode, in_place
from torchgate.engine.worker_environment import worker_environment
from torchgate.life_cycle import LifeCycle
from torchgate.telemetry.instance_lock import InstanceLock
from torchgate.windows_here import no_impersonation_here

_log = logging.getLogger("torchgate.app")


def built_engine(
    configuration: Configuration,
    settings: TorchgateSettings,
    sections: Sections,
    life_cycle: LifeCycle,
    *,
    no_tokens: str = "",
) -> Scheduler:
    """The engine over workers of this machine, not started.

    Args:
        no_tokens: why callers' tokens don't come to this process, whatever the system; empty: they do.
    """
    children = _workers_children(settings.engine.control_group)
    no_tokens = no_impersonation_here(settings.identity.windows) or no_tokens
    catalog, findings = read_catalog(settings.models, no_tokens=no_tokens)
    for finding in findings:
        _log.warning("%s", finding)
    signed = SignedCode(
        Trust(settings.models, configuration.file.parent),
        settings.state.folder / "models",
        private_folders().make_private,
        take_lock=InstanceLock,
    )
    examine_allowed = signed.copied if settings.models.copies else partial(in_place, digest=folder_digest)
    verification = PinVerification(
        configuration.file.parent / LOCK_FILE,
        settings.pin,
        surveyor(settings).survey,
        models=[str(ref) for ref in catalog.entries],
        on_lifecycle=life_cycle.note,
    )
    return Scheduler(
        catalog,
        LocalWorkers(children, sections, settings.engine, on_lifecycle=life_cycle.note),
        settings.engine,
        shares=settings.shares,
        on_lifecycle=life_cycle.note,
        quotas=Quotas(settings.quotas, monotonic_s),
        examine_signed=verification.holding(signed.examine),
        examine_allowed=verification.holding(examine_allowed),
        read=lambda name: read_model(settings.models, name, no_tokens=no_tokens),
        installation=verification,
    )


def surveyor(settings: TorchgateSettings) -> Surveyor:
    """What finds out, by throw-away processes with a worker's environment, what this installation is."""
    threads = settings.engine.threads or os.cpu_count() or 1
    environment = worker_environment(os.environ, settings.engine.worker_environment, threads)
    return Surveyor(lambda: operating_system()[0], environment, settings.pin.timeout_s)


def operating_system() -> tuple[Children, Sections]:
    """What this operating system has for workers, and for memory that is shared with them."""
    # Imported here: each room has its calls on its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.children import WindowsChildren
        from torchgate.windows.section import WindowsSections

        return WindowsChildren(), WindowsSections()
    from torchgate.posix.children import PosixChildren
    from torchgate.posix.section import PosixSections

    return PosixChildren(), PosixSections()


def _workers_children(control_group: str) -> Children:
    """Children that the operating system holds to their limits by all that it has.

    Args:
        control_group: `engine.control_group`.
    """
    if sys.platform == "win32":
        return operating_system()[0]
    from torchgate.posix.children import PosixChildren
    from torchgate.posix.control_groups import open_control_groups
    from torchgate.posix.group_place import NoControlGroups

    try:
        return PosixChildren(groups=open_control_groups(control_group))
    except NoControlGroups as error:
        raise CannotStart(f'engine.control_group: {error}. Name another, or say "auto".') from None
