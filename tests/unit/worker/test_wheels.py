"""What a wheel's RECORD proves, on installations as pip and uv leave them."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.contract.survey import Wheel
from torchgate.worker.wheels import altered_files, installed_wheels, record_digest


def record_hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"


WHEEL = f"""pack/__init__.py,{record_hash(b"x = 1")},5
pack/"odd, name".py,{record_hash(b"")},0
pack-1.0.dist-info/METADATA,{record_hash(b"meta")},4
pack-1.0.dist-info/RECORD,,
""".replace('pack/"odd, name".py', '"pack/odd, name.py"')

PIP = f"""../../../bin/pack,{record_hash(b"#!/home/ann/.venv/bin/python")},223
pack-1.0.dist-info/INSTALLER,{record_hash(b"pip")},4
pack-1.0.dist-info/METADATA,{record_hash(b"meta")},4
pack-1.0.dist-info/RECORD,,
pack-1.0.dist-info/REQUESTED,{record_hash(b"")},0
pack-1.0.dist-info/direct_url.json,{record_hash(b"file:///home/ann")},9
pack/__init__.py,{record_hash(b"x = 1")},5
pack/__pycache__/__init__.cpython-311.pyc,,
"pack/odd, name.py",{record_hash(b"")},0
"""

WINDOWS = f"""..\\..\\Scripts\\pack.exe,{record_hash(b"MZ")},223\r
Scripts/pack.exe,{record_hash(b"MZ")},223\r
C:/tools/pack.exe,{record_hash(b"MZ")},223\r
pack-1.0.dist-info\\INSTALLER,{record_hash(b"uv")},4\r
pack-1.0.dist-info\\METADATA,{record_hash(b"meta")},4\r
pack-1.0.dist-info\\RECORD,,\r
pack\\__init__.py,{record_hash(b"x = 1")},5\r
"pack\\odd, name.py",{record_hash(b"")},0\r
"""


@pytest.mark.parametrize("record", [PIP, WINDOWS])
def test_one_wheel_has_one_number_whoever_installed_it_wherever(record: str):
    assert record_digest(record) == record_digest(WHEEL) != ""


@given(st.sampled_from(WHEEL.splitlines()[:3]), st.sampled_from("0aZ_"))
def test_another_build_of_any_file_has_another_number(line: str, letter: str):
    path, digest, length = line.rsplit(",", 2)
    other = f"{path},{digest[:-1]}{letter if digest[-1] != letter else 'b'},{length}"
    assert record_digest(WHEEL.replace(line, other)) != record_digest(WHEEL)
    assert record_digest(WHEEL.replace(line + "\n", "")) != record_digest(WHEEL)


def test_what_has_no_record_has_no_number():
    assert record_digest(None) == ""


def install(site: Path, name: str, version: str, content: bytes = b"x = 1") -> None:
    """As an installer leaves it."""
    info = site / f"{name.lower()}-{version}.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}.py").write_bytes(content)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{name}.py,{record_hash(content)},{len(content)}\n", encoding="utf-8")


def found_in(*sites: Path) -> list[Distribution]:
    return [PathDistribution(info) for site in sites for info in sorted(site.glob("*.dist-info"))]


def test_of_two_installations_of_one_name_the_one_that_is_imported_counts(tmp_path: Path):
    install(tmp_path / "first ü", "Zope.Interface", "2")
    install(tmp_path / "second", "zope_interface", "1")
    wheels = installed_wheels(found_in(tmp_path / "first ü", tmp_path / "second"))
    assert {name: wheel.version for name, wheel in wheels.items()} == {"zope-interface": "2"}


def test_what_a_broken_installation_left_is_passed_by(tmp_path: Path):
    (tmp_path / "-orch-2.0.dist-info").mkdir()
    (tmp_path / "bare-1.0.dist-info").mkdir()
    (tmp_path / "bare-1.0.dist-info" / "METADATA").write_text("Name: bare\n", encoding="utf-8")
    found = [PathDistribution(info) for info in sorted(tmp_path.iterdir())]
    assert installed_wheels(found) == {"bare": Wheel("", "")}


def test_files_are_what_their_wheel_brought_or_are_named(tmp_path: Path):
    install(tmp_path, "good", "1")
    install(tmp_path, "bad", "1")
    install(tmp_path, "gone", "1")
    assert list(altered_files(found_in(tmp_path))) == []
    (tmp_path / "bad.py").write_bytes(b"x = 2")
    (tmp_path / "gone.py").unlink()
    altered = list(altered_files(found_in(tmp_path)))
    assert altered[0] == "bad: bad.py (altered)"
    assert altered[1].startswith("gone: gone.py (")
    assert len(altered) == 2


def test_a_hash_of_no_known_kind_proves_nothing(tmp_path: Path):
    install(tmp_path, "odd", "1")
    (tmp_path / "odd-1.dist-info" / "RECORD").write_text("odd.py,rot13=abc,5\n", encoding="utf-8")
    assert list(altered_files(found_in(tmp_path))) == ["odd: odd.py (its hash 'rot13' is none that we know)"]


def test_this_interpreters_own_wheels_are_listed_sorted():
    wheels = installed_wheels()
    assert list(wheels) == sorted(wheels)
    assert wheels["torch"].record.startswith("sha256:")
