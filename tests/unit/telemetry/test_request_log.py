"""One line per request, with its fields and nothing that must not be in a log."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.telemetry.log_setup import set_up_logging
from torchgate.telemetry.request_log import RequestLog
from torchgate.telemetry.settings import TelemetrySettings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    logger = logging.getLogger("torchgate")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def _logged(stream: io.StringIO, **settings: str) -> RequestLog:
    set_up_logging(TelemetrySettings.model_validate(settings), stream)
    return RequestLog()


def test_line_is_json_with_fixed_fields_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    _logged(stream).record(make_event(client_request_id="mine"))
    entry = json.loads(stream.getvalue())
    assert entry["level"] == "info"
    assert entry["logger"] == "torchgate.request"
    assert entry["time"].endswith("Z")
    expected = {
        "request_id": "01JD4W6Q3M8ZK2V7T9X5B1C0RA", "client_request_id": "mine", "model": "digits", "version": "1",
        "principal": "entra|https://issuer.example|ada", "status": 200, "code": "", "worker": "digits:1/0#4",
        "queue_s": 0.001, "run_s": 0.01, "total_s": 0.0123, "rows": 3,
    }  # fmt: skip
    assert entry.items() >= expected.items()


def test_refusal_without_principal_has_its_line() -> None:
    stream = io.StringIO()
    _logged(stream).record(
        make_refusal(principal=None, model=None, model_name="secret", status=401, code="no_credential")
    )
    entry = json.loads(stream.getvalue())
    assert (entry["principal"], entry["model"], entry["status"]) == ("", "secret", 401)


def test_server_error_is_a_warning() -> None:
    stream = io.StringIO()
    log = _logged(stream, log_level="warning")
    log.record(make_event())
    log.record(make_event(status=503, code="unavailable", path="/v2/health/ready"))  # a probe's answer, no error
    log.record(make_event(status=503, code="overloaded"))
    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == [503]


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_no_caller_can_forge_a_line(log_format: str) -> None:
    """An attacker puts line ends, escapes and half characters into path and names."""
    stream = io.StringIO()
    log = _logged(stream, log_format=log_format)
    log.record(make_event(path="/x\n2026 info forged\r\x1b[2J\u2028\ud800", client_request_id="a\nb", method="G\nET"))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert not any(char in text for char in "\r\x1b")


def test_people_get_words() -> None:
    stream = io.StringIO()
    _logged(stream, log_format="human").record(make_refusal())
    assert "403" in stream.getvalue()
    assert "code=forbidden" in stream.getvalue()


def test_exception_has_its_traceback_in_one_json_line() -> None:
    stream = io.StringIO()
    set_up_logging(TelemetrySettings(), stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("torchgate.gate").exception("It failed.")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_nothing_fails_without_standard_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """As IIS starts a process: stderr is None."""
    monkeypatch.setattr(sys, "stderr", None)
    set_up_logging(TelemetrySettings())
    logging.getLogger("torchgate").error("nobody hears it")
    RequestLog().record(make_event())


def test_setting_up_twice_writes_each_line_once() -> None:
    stream = io.StringIO()
    set_up_logging(TelemetrySettings(), stream)
    _logged(stream).record(make_event())
    assert len(stream.getvalue().splitlines()) == 1
