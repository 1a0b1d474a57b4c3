"""Metrics of the gate's process in the Prometheus exposition format; names in docs/reference/metrics.md.

Labels are bounded: by the routes, models and codes that exist, never by principal, address or a name that a
caller made up. Counting is ours, because it costs a tenth of the library's (its counters lock, and its histograms
search their buckets one by one); the exposition is prometheus_client's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from torchgate.contract.audit_event import RefusalsEvent, RequestEvent
from torchgate.contract.inference import ModelDescription
from torchgate.contract.policy_status import PolicyStatus
from torchgate.contract.quota_use import QuotaTotal
from torchgate.contract.secret_status import SecretStatus
from torchgate.telemetry.chain_writer import AuditStatistics
from torchgate.telemetry.secret_metrics import secret_metrics

DURATION_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds. OpenTelemetry's advice for HTTP servers (0.005 to 10), with finer steps below, where small models
answer, and two above, up to the usual deadlines."""

_STATES = ("loading", "ready", "failed", "unloading", "unloaded")
_MAX_LABEL_SETS = 10_000
"""Combinations of labels that are counted apart; what comes beyond them is counted under `other`. A server with
50 model versions has some hundred."""

_Key = tuple[str, str, str, int, str]  # action, model, version, status, code
_OTHER: _Key = ("other", "", "", 0, "other")


class _Durations:
    """A histogram of seconds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as the exposition has them."""
        sofar, result = 0, []
        for bound, count in zip((*map(str, DURATION_BUCKETS), "+Inf"), self.counts, strict=True):
            sofar += count
            result.append((bound, float(sofar)))
        return result


class _Counted:
    """All that is counted of one combination of labels."""

    __slots__ = ("duration", "queue", "requests", "rows", "run")

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.duration = _Durations()
        self.queue = _Durations()
        self.run = _Durations()


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
        self._counted: dict[_Key, _Counted] = {}
        self._refusals = 0
        self._models = models
        self._audit = audit
        self._policy = policy
        self._version = version
        self._secrets = secrets
        self._quotas: Sequence[QuotaTotal] = ()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # reads /proc: nothing of it on Windows
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

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
        self._quotas = quotas
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """The metrics now (prometheus_client's protocol)."""
        info = GaugeMetricFamily("torchgate_build_info", "1, labelled with the server's version.", labels=("version",))
        info.add_metric((self._version,), 1)
        yield info
        yield from _request_metrics(self._counted)
        yield CounterMetricFamily(
            "torchgate_counted_refusals", "Refusals beyond an address's bucket, audited as one counted event.",
            value=self._refusals,
        )  # fmt: skip
        yield from _model_metrics(self._models())
        yield from _quota_metrics(self._quotas)
        if self._audit is not None:
            yield from _audit_metrics(self._audit())
        if self._policy is not None:
            yield from _policy_metrics(self._policy())
        if self._secrets is not None:
            yield from secret_metrics(self._secrets())

    def _new(self, key: _Key) -> _Counted:
        if len(self._counted) >= _MAX_LABEL_SETS:
            key = _OTHER
        return self._counted.setdefault(key, _Counted())


def _request_metrics(counted: dict[_Key, _Counted]) -> Iterator[Metric]:
    labels = ("action", "model", "version", "status", "status_class", "code")
    requests = CounterMetricFamily("torchgate_requests", "Answers.", labels=labels)
    rows = CounterMetricFamily("torchgate_rows", "Rows of requests that reached a worker.", labels=labels)
    durations = {
        "duration": _histogram("torchgate_request_duration_seconds", "Arrival to the answer, in seconds."),
        "queue": _histogram("torchgate_queue_seconds", "Waiting for a worker, in seconds; if it reached one."),
        "run": _histogram("torchgate_run_seconds", "Its batch in the worker, in seconds; if it reached one."),
    }
    merged: dict[tuple[str, str, str, str, str], _Durations] = {}
    for (action, model, version, status, code), entry in counted.items():
        status_class = f"{status // 100}xx"
        names = (action, model, version, str(status), status_class, code)
        requests.add_metric(names, entry.requests)
        rows.add_metric(names, entry.rows)
        for kind in durations:
            into = merged.setdefault((kind, action, model, version, status_class), _Durations())
            seen: _Durations = getattr(entry, kind)
            into.counts = [mine + more for mine, more in zip(into.counts, seen.counts, strict=True)]
            into.total_s += seen.total_s
    for (kind, *names_of_duration), histogram in merged.items():
        if kind == "duration" or any(histogram.counts):
            durations[kind].add_metric(names_of_duration, histogram.buckets(), histogram.total_s)
    yield requests
    yield rows
    yield from durations.values()


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=("action", "model", "version", "status_class"))


def _model_metrics(models: Iterable[ModelDescription]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "torchgate_model_state", "1 for the state that a model version is in.", labels=("model", "version", "state")
    )
    workers = GaugeMetricFamily(
        "torchgate_model_ready_workers", "Workers that can take a batch.", labels=("model", "version")
    )
    circuits = GaugeMetricFamily(
        "torchgate_model_open_circuits",
        "Principals that are refused because their requests ended the version's workers again and again.",
        labels=("model", "version"),
    )
    for model in models:
        name, version = model.ref.name, model.ref.version
        for known in _STATES:
            state.add_metric((name, version, known), 1.0 if model.state == known else 0.0)
        workers.add_metric((name, version), model.ready_workers)
        circuits.add_metric((name, version), model.open_circuits)
    yield state
    yield workers
    yield circuits


def _quota_metrics(quotas: Sequence[QuotaTotal]) -> Iterator[Metric]:
    """By quota and unit, as many as the settings have; holders are counted and never named."""
    labels = ("quota", "unit")
    refusals = CounterMetricFamily("torchgate_quota_refusals", "Requests refused by a quota.", labels=labels)
    for total in quotas:
        refusals.add_metric((total.quota, total.unit), total.refusals)
    yield refusals
    for field, name, text in (
        ("limit", "torchgate_quota_limit", "As set: per minute, or at a time."),
        ("holders", "torchgate_quota_holders", "Who have used some that has not come back."),
        ("exhausted", "torchgate_quota_exhausted_holders", "Holders for whom there is no room for one more."),
        ("highest_use", "torchgate_quota_highest_use_ratio", "Of one holder; 1 is all that there is at once."),
    ):
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for total in quotas:
            gauge.add_metric((total.quota, total.unit), float(getattr(total, field)))
        yield gauge


def _policy_metrics(policy: PolicyStatus) -> Iterator[Metric]:
    info = GaugeMetricFamily("torchgate_policy_info", "1, labelled with the policy in force.", labels=("version",))
    info.add_metric((policy.version,), 1)
    yield info
    yield GaugeMetricFamily(
        "torchgate_policy_troubles", "What is wrong with policy, hook or files of keys; above 0 the server is amber.",
        value=len(policy.troubles),
    )  # fmt: skip
    yield GaugeMetricFamily(
        "torchgate_policy_since_timestamp_seconds", "When the policy in force came into force.", value=policy.since
    )
    reloads = CounterMetricFamily("torchgate_policy_reloads", "Changes of the policy.", labels=("result",))
    reloads.add_metric(("in_force",), policy.reloads)
    reloads.add_metric(("refused",), policy.refused_reloads)
    yield reloads


def _audit_metrics(audit: AuditStatistics) -> Iterator[Metric]:
    yield CounterMetricFamily("torchgate_audit_events", "Events in the audit trail.", value=audit.written)
    yield CounterMetricFamily(
        "torchgate_audit_refused_events", "Events that the trail could not take; no answer left for them.",
        value=audit.refused,
    )  # fmt: skip
    for name, text, value in (
        ("torchgate_audit_available", "1 while the trail can be written; 0: nothing is answered.", audit.is_available),
        ("torchgate_audit_waiting_events", "Events that wait for the disk now.", audit.waiting),
        ("torchgate_audit_unsynced_seconds", "Age of the oldest event not on disk, in seconds.", audit.unsynced_s),
        ("torchgate_audit_unsigned_events", "Events that no checkpoint covers yet.", audit.unsigned),
    ):
        yield GaugeMetricFamily(name, text, value=float(value))
