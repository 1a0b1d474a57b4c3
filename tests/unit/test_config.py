"""File, then environment, then flags; every mistake at once, each with its origin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from tools.reference import setting_texts

from torchgate.access.identity.api_key import new_api_key
from torchgate.config import TorchgateSettings, explain, read_configuration, scalar_places
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import Settings
from torchgate.gate.settings import GateSettings


def _project(folder: Path, text: str) -> Path:
    path = folder / "torchgate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_a_safe_server(tmp_path: Path):
    """Loopback, nothing granted, nobody known."""
    _project(tmp_path, "")
    configuration = read_configuration(tmp_path)
    settings = configuration.settings
    assert settings is not None
    assert settings.gate.bind.startswith("127.0.0.1:")
    assert settings.policy.grants == ()
    assert settings.identity.oidc == ()
    assert not settings.development.enabled
    assert settings.models.allow_code == ()


def test_paths_are_absolute_and_begin_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever the working folder is, then or later."""
    folder = tmp_path / "Ordner mit Ümlaut"
    folder.mkdir()
    _project(folder, '[models]\nfolder = "my models"\n[audit]\nfolder = "trail"\n')
    monkeypatch.chdir(tmp_path)
    settings = read_configuration(Path(folder.name)).settings
    assert settings is not None
    assert settings.models.folder == folder / "my models"
    assert settings.audit_folder == folder / "trail"
    assert settings.state.folder == folder / ".torchgate"


def test_paths_inside_lists_are_absolute_too(tmp_path: Path):
    path = _project(
        tmp_path, '[[identity.oidc]]\nname = "x"\nissuer = "https://x.example"\naudience = ["a"]\njwks_file = "keys"\n'
    )
    settings = read_configuration(path).settings
    assert settings is not None
    assert settings.identity.oidc[0].jwks_file == tmp_path / "keys"


def test_the_environment_wins_over_the_file_and_flags_over_both(tmp_path: Path):
    path = _project(tmp_path, '[gate]\nbind = "127.0.0.1:1"\n')
    environment = {"TORCHGATE_GATE_BIND": "127.0.0.1:2", "TORCHGATE_DEVELOPMENT_ENABLED": "true", "PATH": "x"}
    found = [
        read_configuration(path).settings,
        read_configuration(path, environment).settings,
        read_configuration(path, environment, ["gate.bind=127.0.0.1:3"]).settings,
    ]
    assert [settings.gate.bind for settings in found if settings] == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    assert [settings.development.enabled for settings in found if settings] == [False, True, True]


def test_numbers_of_the_environment_are_numbers(tmp_path: Path):
    path = _project(tmp_path, "")
    settings = read_configuration(path, {"TORCHGATE_IDENTITY_REFUSALS_BURST": "7"}, ["gate.drain_s=2.5"]).settings
    assert settings is not None
    assert (settings.identity.refusals.burst, settings.gate.drain_s) == (7, 2.5)


def test_mistakes_of_all_three_are_found_at_once_with_their_origin(tmp_path: Path):
    path = _project(tmp_path, '[gate]\nbnid = "x"\n\n[polcy]\n')
    environment = {
        "TORCHGATE_GATE_BNID": "x",
        "TORCHGATE_IDENTITY_REFUSALS_BURST": "many",
        "TORCHGATE_WINDOWS_PYTHON": "no section of ours",
    }
    configuration = read_configuration(path, environment, ["audit.sync_interval_s=9", "gate.hosts=x", "nonsense"])
    assert configuration.settings is None
    found = {(finding.file, finding.line) for finding in configuration.findings}
    assert found == {
        (str(path), 2),
        (str(path), 4),
        ("environment variable TORCHGATE_GATE_BNID", 0),
        ("environment variable TORCHGATE_IDENTITY_REFUSALS_BURST", 0),
        ("--set audit.sync_interval_s", 0),
        ("--set gate.hosts", 0),
        ("--set", 0),
    }
    assert any("Did you mean 'policy'?" in finding.sentence for finding in configuration.findings)
    assert any("Did you mean 'TORCHGATE_GATE_BIND'?" in finding.sentence for finding in configuration.findings)


@pytest.mark.parametrize(
    ("table", "secret"),
    [
        ("[secrets]\npepper = ", new_api_key("ops").key),
        ("[gate]\nbind = ", "tgdev_" + "a" * 43),
        ("[gate]\nhosts = ", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
        ("[identity]\nextra = ", "-----BEGIN EC PRIVATE KEY-----"),
        ("[policy]\nhook = ", "https://user:hunter2@example.org:x"),
        ("[secrets]\npepper = ", "hunter2-hunter2"),
    ],
)
def test_a_secret_in_the_file_is_a_mistake_and_never_shown(tmp_path: Path, table: str, secret: str):
    """Somebody pastes the value instead of a reference; the message goes to logs and tickets."""
    path = _project(tmp_path, f'{table}"{secret}"\n' if "hosts" not in table else f'{table}["{secret}"]\n')
    configuration = read_configuration(path)
    assert configuration.settings is None
    assert {finding.line for finding in configuration.findings} == {2}
    assert secret not in "".join(map(str, configuration.findings))
    assert "hunter2" not in "".join(map(str, configuration.findings))


def test_a_rooms_finding_is_located(tmp_path: Path):
    """Rooms know the setting; the file, line or variable is known here."""
    path = _project(tmp_path, '[gate]\n[roles]\nanalyst = [\n  "key:a",\n  "key:b",\n]\n')
    configuration = read_configuration(path, {"TORCHGATE_GATE_BIND": "127.0.0.1:0"})
    located = configuration.locate(Finding("error", "x", setting="roles.analyst.1"))
    assert (located.file, located.line) == (str(path), 5)
    assert configuration.locate(Finding("error", "x", setting="gate.bind")).file.endswith("TORCHGATE_GATE_BIND")
    untouched = Finding("error", "x", file="models/a/model.toml", line=3)
    assert configuration.locate(untouched) == untouched


def test_every_setting_is_explained_with_its_origin(tmp_path: Path):
    path = _project(
        tmp_path, '[gate]\nbind = "127.0.0.1:1"\n[[policy.grants]]\nroles=["a"]\nactions=["infer"]\nmodels=["*"]\n'
    )
    configuration = read_configuration(path, {}, ["gate.drain_s=1"])
    explained = {one.setting: one for one in explain(configuration)}
    assert explained["gate.bind"].origin == "torchgate.toml:2"
    assert explained["gate.drain_s"].origin == "--set gate.drain_s"
    assert explained["gate.backlog"].origin == "default"
    assert explained["gate.backlog"].value == explained["gate.backlog"].default
    assert "infer" in explained["policy.grants"].value
    assert {".".join(map(str, place)) for place, _ in scalar_places()} <= set(explained)


def test_every_single_value_has_one_name_in_the_environment():
    names = ["_".join(map(str, place)).upper() for place, _ in scalar_places()]
    assert len(names) == len(set(names))
    assert "GATE_BIND" in names
    assert not any(name.startswith(("ROLES", "SECRETS")) for name in names)


def _settings_types(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _settings_types(inner)]


def test_every_setting_says_what_it_is():
    """The reference is made of these sentences; tables speak through their own type's docstring."""
    shapes: list[type[Settings]] = [TorchgateSettings]
    silent = []
    while shapes:
        shape = shapes.pop()
        texts = setting_texts(shape)
        for key, field in shape.model_fields.items():
            inner = _settings_types(field.annotation)
            shapes += inner
            silent += [f"{shape.__name__}.{key}"] if not inner and not texts.get(key) else []
    assert "bind" in setting_texts(GateSettings)
    assert silent == []


def test_a_missing_file_is_a_finding(tmp_path: Path):
    configuration = read_configuration(tmp_path)
    assert configuration.settings is None
    assert [finding.file for finding in configuration.findings] == [str(tmp_path / "torchgate.toml")]
    assert msgspec.json.encode(configuration.findings)


def test_who_names_no_project_is_told_how_to_make_one(tmp_path: Path):
    (finding,) = read_configuration(tmp_path).findings
    assert finding.file == str(tmp_path / "torchgate.toml")
    assert "torchgate.toml" not in finding.sentence, "its path stands before it"
    assert finding.remedy == "Name the project's folder, or make a project: torchgate init DIR."


def test_a_file_that_is_too_large_is_told_with_what_it_may_have(tmp_path: Path):
    with (tmp_path / "torchgate.toml").open("wb") as file:
        file.truncate((8 << 20) + 1)
    (finding,) = read_configuration(tmp_path).findings
    assert finding.sentence == "can't be read: it has 8,388,609 bytes, and may have 8,388,608."


@pytest.mark.linux("named pipes in the file system")
def test_a_pipe_in_place_of_the_file_does_not_hang_the_reader(tmp_path: Path):
    os.mkfifo(tmp_path / "torchgate.toml")
    (finding,) = read_configuration(tmp_path).findings
    assert finding.sentence == "can't be read: it is a pipe or a device, and no file."


def test_every_path_of_the_configuration_is_one_that_a_file_can_have(tmp_path: Path):
    _project(tmp_path, '[models]\nfolder = "a\\u0000b"\n[state]\nfolder = "c\\u0000"\n[pool]\nfolder = "\\n"\n')
    findings = read_configuration(tmp_path).findings
    assert {finding.setting for finding in findings} == {"models.folder", "state.folder", "pool.folder"}
    assert all(finding.sentence.startswith("a path has no control characters") for finding in findings)
