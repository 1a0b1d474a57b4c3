"""AWS Secrets Manager as moto plays it, behind a door that can fail as AWS does."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import botocore.session
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


class AwsSecrets:
    """Secrets Manager on this machine; `with` starts and ends it."""

    def __init__(self) -> None:
        self.failing = ""
        self.requests: list[dict[str, Any]] = []
        self.released = threading.Event()
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._door = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._door.daemon_threads = True
        self._thread = threading.Thread(target=self._door.serve_forever, args=(0.05,))

    def __enter__(self) -> AwsSecrets:
        self._moto.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._door.shutdown()
        self._thread.join()
        self._door.server_close()
        self._moto.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._door.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What the SDK of the product is told by, as on any machine."""
        return {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a-made-up-credential",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "nowhere",
        }

    def administrator(self) -> Any:
        """A client that goes past the door."""
        host, port = self._moto.get_host_and_port()
        return botocore.session.Session().create_client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="x",
            aws_secret_access_key="y",
        )

    def reset(self) -> None:
        """No secrets, no failure."""
        self.failing = ""
        self.requests.clear()
        host, port = self._moto.get_host_and_port()
        connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("POST", "/moto-api/reset")
        assert connection.getresponse().status == 200
        connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        rig = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked = json.loads(body)
                rig.requests.append(asked)
                failing = rig.failing
                if failing == "hangs":
                    rig.released.wait(30)
                if failing in {"hangs", "drops"}:
                    self.close_connection = True
                    return
                label = asked.get("VersionStage", "")
                if failing and (":" not in failing or failing.startswith(f"{label}:")):
                    code = failing.rpartition(":")[2]
                    # A store that repeats what it should not: nothing of its sentence may be repeated by us.
                    self._answer(400, json.dumps({"__type": code, "message": "hunter2 in the error's text"}).encode())
                    return
                self._pass(body)

            def _pass(self, body: bytes) -> None:
                host, port = rig._moto.get_host_and_port()
                connection = http.client.HTTPConnection(host, port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request("POST", "/", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                self._answer(answer.status, content)

            def _answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Door
