"""The table of routes as an OpenAPI document, so that the two can't disagree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torchgate.gate.route import Route

_PROBLEM = {
    "description": "A failure.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {"type": "string"},
                    "code": {"type": "string"},
                    "request_id": {"type": "string"},
                },
            }
        }
    },
}


def openapi_document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Torchgate", "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    names = [name for name in ("model", "version", "request", "rest") if f"{{{name}}}" in route.pattern]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": [] if route.is_public else [{"bearer": []}, {"apiKey": []}],
        "responses": {"200": {"description": "The answer."}, "default": _PROBLEM},
    }
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operation
