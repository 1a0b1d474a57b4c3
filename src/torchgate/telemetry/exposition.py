"""What was counted, in the Prometheus exposition format; names in docs/reference/metrics.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from torchgate.contract.inference import ModelDescription
from torchgate.contract.policy_status import PolicyStatus
from torchgate.contract.quota_use import QuotaTotal
from torchgate.telemetry.chain_writer import AuditStatistics
from torchgate.telemetry.metrics import Counted, Durations, Figures, Key
from torchgate.telemetry.secret_metrics import secret_metrics

_STATES = ("loading", "ready", "failed", "unloading", "unloaded")


class Exposition:
    """Writes figures, and what the process says of itself.

    Args:
        version: of the server.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._figures: Figures | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # reads /proc: nothing of it on Windows
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, figures: Figures) -> tuple[bytes, str]:
        """The text, and its content type."""
        self._figures = figures
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """The metrics now (prometheus_client's protocol)."""
        figures = self._figures
        if figures is None:
            return
        info = GaugeMetricFamily("torchgate_build_info", "1, labelled with the server's version.", labels=("version",))
        info.add_metric((self._version,), 1)
        yield info
        yield from _request_metrics(figures.counted)
        yield CounterMetricFamily(
            "torchgate_counted_refusals", "Refusals beyond an address's bucket, audited as one counted event.",
            value=figures.refusals,
        )  # fmt: skip
        yield from _model_metrics(figures.models)
        yield from _quota_metrics(figures.quotas)
        if figures.audit is not None:
            yield from _audit_metrics(figures.audit)
        if figures.policy is not None:
            yield from _policy_metrics(figures.policy)
        if figures.secrets is not None:
            yield from secret_metrics(figures.secrets)


def _request_metrics(counted: dict[Key, Counted]) -> Iterator[Metric]:
    labels = ("action", "model", "version", "status", "status_class", "code")
    requests = CounterMetricFamily("torchgate_requests", "Answers.", labels=labels)
    rows = CounterMetricFamily("torchgate_rows", "Rows of requests that reached a worker.", labels=labels)
    durations = {
        "duration": _histogram("torchgate_request_duration_seconds", "Arrival to the answer, in seconds."),
        "queue": _histogram("torchgate_queue_seconds", "Waiting for a worker, in seconds; if it reached one."),
        "run": _histogram("torchgate_run_seconds", "Its batch in the worker, in seconds; if it reached one."),
    }
    merged: dict[tuple[str, str, str, str, str], Durations] = {}
    for (action, model, version, status, code), entry in counted.items():
        status_class = f"{status // 100}xx"
        names = (action, model, version, str(status), status_class, code)
        requests.add_metric(names, entry.requests)
        rows.add_metric(names, entry.rows)
        for kind in durations:
            into = merged.setdefault((kind, action, model, version, status_class), Durations())
            seen: Durations = getattr(entry, kind)
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
