"""Metrics of the gate's process in the Prometheus exposition format; names in docs/reference/metrics.md.

Labels are bounded: by the routes, models and codes that exist, never by principal, address or a name that a
caller made up. Counting is ours, because it costs a tenth of the library's (its counters lock, and its histograms
search their buckets one by one); the exposition is prometheus_client's, imported with the first scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torchgate.contract.audit_event import RefusalsEvent, RequestEvent
from torchgate.contract.inference import ModelDescription
from torchgate.contract.policy_status import PolicyStatus
from torchgate.contract.quota_use import QuotaTotal
from torchgate.contract.secret_status import SecretStatus
from torchgate.telemetry.chain_writer import AuditStatistics

if TYPE_CHECKING:
    from torchgate.telemetry.exposition import Exposition

DURATION_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds. OpenTelemetry's advice for HTTP servers (0.005 to 10), with finer steps below, where small models
answer, and two above, up to the usual deadlines."""

_MAX_LABEL_SETS = 10_000
"""Combinations of labels that are counted apart; what comes beyond them is counted under `other`. A server with
50 model versions has some hundred."""

Key = tuple[str, str, str, int, str]  # action, model, version, status, code
_OTHER: Key = ("other", "", "", 0, "other")


class Durations:
    """A histogram of seconds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as the exposition has them."""
        sofar, result = 0, []
        for bound, count in zip((*map(str, DURATION_BUCKETS), "+Inf"), self.counts, strict=True):
            sofar += count
            result.append((bound, float(sofar)))
        return result


class Counted:
    """All that is counted of one combination of labels."""

    __slots__ = ("duration", "queue", "requests", "rows", "run")

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.duration = Durations()
        self.queue = Durations()
        self.run = Durations()


class Figures(NamedTuple):
    """All that a scrape is told.

    Args:
        counted: by labels.
        refusals: beyond an address's bucket.
        models: all versions.
        quotas: as the pool counts them.
        audit, policy, secrets: None where there is none.
    """

    counted: dict[Key, Counted]
    refusals: int
    models: Iterable[ModelDescription]
    quotas: Sequence[QuotaTotal]
    audit: AuditStatistics | None
    policy: PolicyStatus | None
    secrets: Iterable[SecretStatus] | None


class Metrics:
    """Counts what it is told, and asks the others when it is scraped. On the event loop only.

    Args:
        models: all model versions now.
        audit: how the trail is doing now; None where there is none.
        policy: how the policy is now; None where there is none.
        version: of the server.
        secrets: how each secret is doing now; None where nobody keeps any.
    """

    def __init__(
        self,
        models: Callable[[], Iterable[ModelDescription]],
        audit: Callable[[], AuditStatistics] | None = None,
        *,
        policy: Callable[[], PolicyStatus] | None = None,
        version: str = "",
        secrets: Callable[[], Iterable[SecretStatus]] | None = None,
    ) -> None:
        self._counted: dict[Key, Counted] = {}
        self._refusals = 0
        self._models = models
        self._audit = audit
        self._policy = policy
        self._version = version
        self._secrets = secrets
        self._exposition: Exposition | None = None

    def record(self, event: RequestEvent) -> None:
        """Count one answer."""
        model = event.model
        key = (event.action, model.name if model else "", model.version if model else "", event.status, event.code)
        counted = self._counted.get(key) or self._new(key)
        counted.requests += 1
        counted.duration.observe(event.duration_s)
        if event.worker:
            counted.rows += event.rows
            counted.queue.observe(event.queue_s)
            counted.run.observe(event.run_s)

    def record_refusals(self, event: RefusalsEvent) -> None:
        """Count refusals that are not audited one by one."""
        self._refusals += event.count

    def render(self, quotas: Sequence[QuotaTotal] = ()) -> tuple[bytes, str]:
        """The exposition, and its content type.

        Args:
            quotas: as the pool counts them now.
        """
        if self._exposition is None:
            # Not before: a server that nobody scrapes, and a gate that is to answer soon, do without the library.
            from torchgate.telemetry.exposition import Exposition

            self._exposition = Exposition(self._version)
        figures = Figures(
            self._counted,
            self._refusals,
            self._models(),
            quotas,
            None if self._audit is None else self._audit(),
            None if self._policy is None else self._policy(),
            None if self._secrets is None else self._secrets(),
        )
        return self._exposition.render(figures)

    def _new(self, key: Key) -> Counted:
        if len(self._counted) >= _MAX_LABEL_SETS:
            key = _OTHER
        return self._counted.setdefault(key, Counted())
