"""What `check` says of `[gate.tls]`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.rigs.certificates import DAY, SERVER, LocalAuthority, Wish, name_of, now

from torchgate.gate.settings import GateSettings
from torchgate.gate.tls_checks import tls_findings
from torchgate.gate.tls_settings import TlsSettings

AT = now()
ROOT = LocalAuthority("Root", AT)


class Open:
    """Files that others may read, or not."""

    def __init__(self, readers: str = "") -> None:
        self._readers = readers

    def write_new(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)

    def readers(self, file: Path) -> str:
        return self._readers


def findings(folder: Path, hosts: tuple[str, ...] = (), readers: str = "") -> list[tuple[str, str]]:
    tls = TlsSettings(certificate_file=folder / "server.pem", key_file=folder / "server.key")
    found = tls_findings(GateSettings(tls=tls, hosts=hosts), Open(readers))
    return [(finding.severity, finding.sentence) for finding in found]


def test_a_good_pair_is_no_finding(tmp_path: Path):
    ROOT.server("models.example", "*.plant.example", "10.0.0.1").write(tmp_path, "server")
    assert findings(tmp_path, ("Models.example", "a.plant.example", "10.0.0.1")) == []
    assert list(tls_findings(GateSettings(), Open())) == []


def test_a_name_that_the_certificate_lacks_is_found(tmp_path: Path):
    ROOT.server("models.example", "*.plant.example").write(tmp_path, "server")
    for host in ("other.example", "a.b.plant.example", "plant.example"):
        ((severity, sentence),) = findings(tmp_path, (host,))
        assert (severity, f"'{host}'" in sentence) == ("warning", True)


@pytest.mark.parametrize(("days", "said"), [(10, "ends"), (-1, "ended")])
def test_a_certificate_at_its_end_is_found(tmp_path: Path, days: int, said: str):
    wish = Wish(subject=name_of("s"), usage=SERVER, starts=AT - 5 * DAY, ends=AT + days * DAY)
    ROOT.issue(wish).write(tmp_path, "server")
    ((severity, sentence),) = findings(tmp_path)
    assert (severity, said in sentence) == ("warning", True)


def test_missing_and_open_files_are_errors(tmp_path: Path):
    assert {severity for severity, _ in findings(tmp_path)} == {"error"}
    ROOT.server("s").write(tmp_path, "server")
    assert findings(tmp_path, readers="everyone")[0][0] == "error"
    (tmp_path / "server.pem").write_bytes(b"x")
    assert "PEM" in findings(tmp_path)[0][1]


@pytest.mark.parametrize("keys", [{}, {"key_file": "k", "key_secret": "s"}])
def test_the_key_stands_in_exactly_one_place(keys: dict[str, str]):
    with pytest.raises(ValidationError, match="exactly one"):
        TlsSettings.model_validate({"certificate_file": "c", **keys}, strict=False)
