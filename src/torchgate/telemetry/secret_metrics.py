"""Metrics of the secrets: how old what counts is, and whether it can be read again; never a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from torchgate.contract.secret_status import SecretStatus

_STATES = ("current", "previous", "next")


def secret_metrics(statuses: Iterable[SecretStatus]) -> Iterator[Metric]:
    """By the names in `[secrets]`, as many as the settings have; a store's versions are in the log, not in labels."""
    labels = ("secret",)
    age = GaugeMetricFamily(
        "torchgate_secret_age_seconds", "Since its values were last read well, in seconds.", labels=labels
    )
    failing = GaugeMetricFamily("torchgate_secret_failing", "1 while its last refresh has failed.", labels=labels)
    failures = CounterMetricFamily("torchgate_secret_refresh_failures", "Refreshes that failed.", labels=labels)
    expires = GaugeMetricFamily(
        "torchgate_secret_expires_seconds",
        "Until its current value expires, in seconds; below 0: nothing accepts it.",
        labels=labels,
    )
    values = GaugeMetricFamily(
        "torchgate_secret_values", "1 for each state in which it has a value.", labels=("secret", "state")
    )
    for status in statuses:
        name = (status.name,)
        age.add_metric(name, status.age_s)
        failing.add_metric(name, float(bool(status.failure)))
        failures.add_metric(name, status.failures)
        if status.expires_in_s is not None:
            expires.add_metric(name, status.expires_in_s)
        for state in _STATES:
            values.add_metric((status.name, state), float(state in status.versions))
    yield from (age, failing, failures, expires, values)
