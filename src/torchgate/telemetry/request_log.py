"""The one log line per request."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torchgate.contract.audit_event import RequestEvent

_MESSAGE = "%s %s %d"
_PROBES = frozenset({"/v2/health/ready", "/v2/health/live"})
"""Asked every few seconds by front doors and balancers, which know what to make of a 503."""

_TEXT = 256  # characters of a name or path that are kept


class RequestLog:
    """Writes a line with fixed fields for each request. Never a body, a header, a token or a query string.

    Server errors are `warning`, everything else `info`: a probe that hears "not ready" is an answer and no error.
    Below the logger's level nothing is built.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("torchgate.request")

    def record(self, event: RequestEvent) -> None:
        """Write the line of one request."""
        is_error = event.status >= 500 and not (event.path in _PROBES and event.status == 503)
        level = logging.WARNING if is_error else logging.INFO
        if not self._logger.isEnabledFor(level):
            return
        fields = _fields(event)
        # Made here and not by Logger.log, which walks the stack for the line that called it: it is always this one.
        args = (fields["method"], fields["path"], event.status)
        record = logging.LogRecord(self._logger.name, level, __file__, 0, _MESSAGE, args, None)
        record.fields = fields
        self._logger.handle(record)


def _fields(event: RequestEvent) -> Mapping[str, object]:
    return {
        "request_id": event.request_id,
        "client_request_id": event.client_request_id[:_TEXT],
        "method": event.method[:_TEXT],
        "path": event.path[:_TEXT],
        "peer": event.peer[:_TEXT],
        "front_door": event.front_door,
        "principal": event.principal.key[:_TEXT] if event.principal is not None else "",
        "action": event.action,
        "model": event.model.name if event.model is not None else event.model_name[:_TEXT],
        "version": event.model.version if event.model is not None else "",
        "status": event.status,
        "code": event.code,
        "rows": event.rows,
        "worker": event.worker,
        "queue_s": round(event.queue_s, 6),
        "run_s": round(event.run_s, 6),
        "total_s": round(event.duration_s, 6),
        "request_bytes": event.request_bytes,
        "response_bytes": event.response_bytes,
        "trace_id": event.trace_id,
    }
