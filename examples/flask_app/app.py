"""A Flask application behind Torchgate: its routes know who asks, and ask models for them.

    python examples/flask_app/app.py

It prints where the token of a development identity lies; then:

    curl -H "Authorization: Bearer TOKEN" -H "Content-Type: application/json" \
         -d '{"numbers": [1, 2, 3]}' http://127.0.0.1:8081/double

Behind IIS's FastCGI, wfastcgi calls `app.app`: docs/how-to/guard-a-flask-app.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import flask

import torchgate

app = flask.Flask(__name__)
gate = torchgate.Gate(Path(__file__).parent, engine="pool" if os.environ.get("APP_POOL") else "own", public=["/about"])
gate.guard_flask(app)


@app.get("/about")
def about() -> str:
    """Anybody may see this: it is named public above."""
    return "Doubles numbers, for analysts."


@app.get("/me")
def me() -> dict[str, Any]:
    """The caller, whom Torchgate has proven."""
    principal = torchgate.blocking_caller().principal
    return {"key": principal.key, "name": principal.name, "roles": sorted(principal.roles)}


@app.post("/double")
def double() -> dict[str, Any]:
    """A model's answer for this caller: by its rights, within its quotas, in the audit trail under its name."""
    numbers = flask.request.get_json().get("numbers", [])
    caller = torchgate.blocking_caller()
    outputs = caller.infer("doubler", {"x": [[number] for number in numbers]})
    return {"for": caller.principal.name, "doubled": outputs["y"].ravel().tolist()}


@app.get("/report")
def report() -> dict[str, Any]:
    """What the policy says decides: whoever may not read the server's metrics gets 403 from the next line."""
    decision = torchgate.blocking_caller().authorise("metrics")
    return {"allowed by": decision.rule}


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8081")))
