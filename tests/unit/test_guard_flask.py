"""A real Flask application with a real gate around it, whose project has no models: nothing here needs a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from tests.rigs.keyed_project import KeyedProject

import torchgate
from torchgate.wsgi_process import GateProcess


class Guarded:
    """The application, and a client of it."""

    def __init__(self, project: KeyedProject, *settings: str) -> None:
        self.app = flask.Flask("guarded")
        gate = torchgate.Gate(project.folder, public=["/about"], settings=settings)
        gate.guard_flask(self.app)
        self.key = {"X-API-Key": project.keys["ada"]}
        self.client = self.app.test_client()
        self.app.add_url_rule("/about", view_func=lambda: "hello", endpoint="about")
        self.app.add_url_rule("/me", view_func=lambda: torchgate.blocking_caller().principal.key, endpoint="me")
        self.app.add_url_rule("/metered", view_func=self._metered)
        self.app.add_url_rule("/caught", view_func=self._caught)
        self.app.add_url_rule("/broken", view_func=lambda: {}["no such key"], endpoint="broken")

    def close(self) -> None:
        """End the gate."""
        assert isinstance(self.app.wsgi_app, GateProcess)
        self.app.wsgi_app.close()

    def ask(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and body."""
        answer = self.client.get(path, headers=headers)
        return answer.status_code, answer.get_data(as_text=True)

    def _metered(self) -> str:
        torchgate.blocking_caller().authorise("metrics")
        return "allowed"

    def _caught(self) -> str:
        try:
            return self._metered()
        except torchgate.Forbidden:
            return "told otherwise"


@pytest.fixture
def project(tmp_path: Path) -> KeyedProject:
    """One key, no models."""
    (tmp_path / "models").mkdir()
    return KeyedProject.write(tmp_path, {}, ("ada",))


@pytest.fixture
def guarded(project: KeyedProject) -> Iterator[Guarded]:
    """Behind our own socket."""
    made = Guarded(project)
    yield made
    made.close()


def test_its_routes_have_proven_callers_and_what_they_are_refused_is_the_gates_answer(
    guarded: Guarded, project: KeyedProject
):
    assert guarded.ask("/about") == (200, "hello")
    assert guarded.ask("/me")[0] == 401
    assert guarded.ask("/me", {"X-API-Key": "nobody's"})[0] == 401
    assert guarded.ask("/me", guarded.key) == (200, "key:ada")
    status, body = guarded.ask("/metered", guarded.key)
    assert (status, '"code":"forbidden"' in body) == (403, True)
    assert guarded.ask("/caught", guarded.key) == (200, "told otherwise")
    status, body = guarded.ask("/broken", guarded.key)
    assert (status, "no such key" in body) == (500, False)
    assert guarded.ask("/nowhere", guarded.key)[0] == 404, "Flask's own, of a known caller"
    assert guarded.ask("/nowhere")[0] == 401, "which paths there are is nobody's business"
    guarded.close()
    statuses = [event["http_response"]["code"] for event in project.audit_events() if "http_response" in event]
    assert sorted(statuses) == [200, 200, 401, 401, 401, 403, 403, 403, 404, 500]
    assert guarded.ask("/about")[0] == 503, "closed is closed"


@pytest.mark.identity_case("mounted WSGI application", "anything, where its front door is proven by headers", "503")
@pytest.mark.parametrize("front_door", ["ancm", "proxy"])
def test_behind_a_door_that_headers_prove_nothing_is_answered(
    project: KeyedProject, front_door: str, capsys: pytest.CaptureFixture[str]
):
    """WSGI makes one of `X-Remote-User` and `X_Remote_User`."""
    made = Guarded(project, f"gate.front_door={front_door}")
    assert made.ask("/about")[0] == 503
    assert "WSGI mixes those of the client" in capsys.readouterr().err
    made.close()
