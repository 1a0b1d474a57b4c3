"""What is scraped is what happened, and no caller can make the set of labels grow."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.audit_event import RefusalsEvent
from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import ModelDescription, ModelState
from torchgate.contract.secret_status import SecretStatus
from torchgate.contract.tensors import Signature
from torchgate.telemetry.chain_writer import AuditStatistics
from torchgate.telemetry.metrics import DURATION_BUCKETS, Metrics


def _description(name: str, state: ModelState, workers: int) -> ModelDescription:
    return ModelDescription(
        ModelRef(name, "1"), "", "torchgate_export", Signature((), ()), 8, 0.001, 10.0, (), state, ready_workers=workers
    )


def _metrics() -> Metrics:
    return Metrics(
        lambda: (_description("digits", "ready", 2), _description("broken", "failed", 0)),
        lambda: AuditStatistics(10, 3, 2, 0.5, 7, False),
        version="9.9",
    )


def _samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    families = text_string_to_metric_families(body.decode("utf-8"))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    found = [
        value
        for (sample, have), value in _samples(metrics).items()
        if sample == name and labels.items() <= dict(have).items()
    ]
    assert found, (name, labels)
    return sum(found)


def test_secrets_are_shown_by_age_state_and_failure_and_never_by_version_or_place() -> None:
    healthy = SecretStatus("proxy", "file:place", {"current": "v2", "previous": "v1"}, 3.0, 10.0)
    failing = SecretStatus("graph", "env:place", {"current": "v3"}, 900.0, 60.0, "Out of reach.", 4, -5.0)
    metrics = Metrics(tuple, secrets=lambda: (healthy, failing))
    assert _value(metrics, "torchgate_secret_age_seconds", secret="proxy") == 3.0
    assert _value(metrics, "torchgate_secret_values", secret="proxy", state="previous") == 1.0
    assert _value(metrics, "torchgate_secret_values", secret="proxy", state="next") == 0.0
    assert _value(metrics, "torchgate_secret_failing", secret="proxy") == 0.0
    assert _value(metrics, "torchgate_secret_failing", secret="graph") == 1.0
    assert _value(metrics, "torchgate_secret_refresh_failures_total", secret="graph") == 4.0
    assert _value(metrics, "torchgate_secret_expires_seconds", secret="graph") == -5.0
    body = metrics.render()[0].decode("utf-8")
    assert not any(word in body for word in ("v2", "v3", "place", "Out of reach"))


def test_answers_are_counted_by_action_status_and_code() -> None:
    metrics = _metrics()
    for _ in range(3):
        metrics.record(make_event())
    metrics.record(make_refusal())
    assert _value(metrics, "torchgate_requests_total", action="infer", status="200", status_class="2xx", code="") == 3
    assert _value(metrics, "torchgate_requests_total", action="infer", status="403", code="forbidden") == 1
    assert _value(metrics, "torchgate_rows_total", model="digits", version="1") == 9


@pytest.mark.parametrize(("seconds", "first_bucket"), [(0.0, 0.0005), (0.0005, 0.0005), (0.00051, 0.001), (60.0, 60.0)])
def test_duration_falls_into_its_bucket(seconds: float, first_bucket: float) -> None:
    """A bucket counts what is at most its bound, as Prometheus defines `le`."""
    metrics = _metrics()
    metrics.record(make_event(duration_s=seconds))
    for bound in DURATION_BUCKETS:
        count = _value(metrics, "torchgate_request_duration_seconds_bucket", le=str(bound))
        assert count == (1 if bound >= first_bucket else 0)
    assert _value(metrics, "torchgate_request_duration_seconds_bucket", le="+Inf") == 1
    assert _value(metrics, "torchgate_request_duration_seconds_sum") == pytest.approx(seconds)


def test_duration_beyond_the_last_bucket_is_counted() -> None:
    metrics = _metrics()
    metrics.record(make_event(duration_s=1000.0))
    assert _value(metrics, "torchgate_request_duration_seconds_bucket", le="60.0") == 0
    assert _value(metrics, "torchgate_request_duration_seconds_count") == 1


def test_answers_of_one_status_class_share_a_histogram() -> None:
    metrics = _metrics()
    metrics.record(make_event(status=500, code="model_error"))
    metrics.record(make_event(status=504, code="deadline_exceeded"))
    assert _value(metrics, "torchgate_request_duration_seconds_count", status_class="5xx") == 2
    assert _value(metrics, "torchgate_queue_seconds_count", status_class="5xx", model="digits") == 2


def test_queue_and_run_count_only_what_reached_a_worker() -> None:
    metrics = _metrics()
    metrics.record(make_refusal(queue_s=0.0, run_s=0.0))
    assert not any(name.startswith("torchgate_queue_seconds") for name, _ in _samples(metrics))
    metrics.record(make_event())
    assert _value(metrics, "torchgate_run_seconds_sum") == pytest.approx(0.01)


def test_models_and_audit_are_asked_at_each_scrape() -> None:
    metrics = _metrics()
    assert _value(metrics, "torchgate_model_state", model="digits", state="ready") == 1
    assert _value(metrics, "torchgate_model_state", model="broken", state="ready") == 0
    assert _value(metrics, "torchgate_model_ready_workers", model="digits") == 2
    assert _value(metrics, "torchgate_model_open_circuits", model="digits") == 0
    assert _value(metrics, "torchgate_audit_available") == 0
    assert _value(metrics, "torchgate_audit_events_total") == 10
    assert _value(metrics, "torchgate_audit_refused_events_total") == 3
    assert _value(metrics, "torchgate_audit_unsynced_seconds") == 0.5
    assert _value(metrics, "torchgate_build_info", version="9.9") == 1


def test_counted_refusals_are_summed() -> None:
    metrics = _metrics()
    metrics.record_refusals(RefusalsEvent(0.0, "10.0.0.1", "direct", 500, 60.0))
    metrics.record_refusals(RefusalsEvent(60.0, "10.0.0.2", "direct", 5, 60.0))
    assert _value(metrics, "torchgate_counted_refusals_total") == 505


def test_names_that_callers_make_up_become_no_labels() -> None:
    """An attacker asks for a thousand models that do not exist, by a thousand paths, as a thousand principals."""
    metrics = _metrics()
    metrics.record(make_refusal(model=None, model_name="first", path="/first"))
    before = len(_samples(metrics))
    for number in range(1000):
        metrics.record(make_refusal(model=None, model_name=f"m{number}", path=f"/{number}", peer=f"p{number}"))
    assert len(_samples(metrics)) == before


def test_two_instances_share_nothing() -> None:
    first, second = _metrics(), _metrics()
    first.record(make_event())
    assert not any(name == "torchgate_requests_total" for name, _ in _samples(second))
