"""The model repository, read from disk: what serves, what does not, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.contract.decision import ModelRef
from torchgate.contract.findings import Finding
from torchgate.engine.catalog import NO_VERSION, Catalog, read_catalog
from torchgate.engine.settings import ModelsSettings

SIGNATURE = """
[[inputs]]
name = "x"
datatype = "FP32"
shape = [2, -1]

[[outputs]]
name = "y"
datatype = "BYTES"
shape = []
"""

CODE = "import torchgate\n\n\nclass Some(torchgate.Model):\n    pass\n"


def write(folder: Path, name: str, *, settings: str = SIGNATURE, versions: tuple[str, ...] = ("1",)) -> Path:
    """A model of the class format."""
    for version in versions:
        (folder / name / version).mkdir(parents=True)
        (folder / name / version / "model.py").write_text(CODE, encoding="utf-8")
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "model.toml").write_text(settings, encoding="utf-8")
    return folder / name


def read(folder: Path, *allowed: str) -> tuple[Catalog, list[Finding]]:
    return read_catalog(ModelsSettings(folder=folder, allow_code=allowed or ("some", "other")))


def mistake(catalog: Catalog, name: str, version: str = "1") -> str:
    return catalog.entries[ModelRef(name, version)].mistake


def test_a_sound_model_is_in_the_catalog_as_model_toml_says(tmp_path: Path):
    write(tmp_path, "some", settings="replicas = 2\nthreads = 3\nrequest_parameters = ['k']\n" + SIGNATURE)
    catalog, findings = read(tmp_path)
    assert findings == []
    entry = catalog.entries[ModelRef("some", "1")]
    artifact = entry.artifact
    assert (artifact.format, artifact.entry, artifact.replicas, artifact.threads) == ("class", "model.py:Some", 2, 3)
    assert Path(artifact.folder) == tmp_path / "some" / "1"
    assert (artifact.signature.inputs[0].shape, artifact.signature.outputs[0].datatype) == ((2, -1), "BYTES")
    assert (entry.request_parameters, entry.mistake) == (("k",), "")


def test_a_folder_that_is_missing_is_said_and_nothing_serves(tmp_path: Path):
    catalog, findings = read(tmp_path / "no such")
    assert catalog.entries == {}
    assert [finding.setting for finding in findings] == ["models.folder"]


def test_all_mistakes_of_a_model_toml_are_found_each_with_its_line(tmp_path: Path):
    write(tmp_path, "some", settings='replicas = "two"\nbatch_size = 3\n' + SIGNATURE.replace("FP32", "FLOAT"))
    catalog, findings = read(tmp_path)
    assert {(finding.line, finding.setting) for finding in findings} == {
        (1, "replicas"),
        (2, "batch_size"),
        (6, "inputs.0.datatype"),
    }
    assert "2 more" in mistake(catalog, "some")


def test_outputs_of_floats_can_be_said_to_be_finite_and_nothing_else_can(tmp_path: Path):
    score = '\n[[outputs]]\nname = "score"\ndatatype = "FP32"\nshape = []\nfinite = true\n'
    write(tmp_path, "some", settings=SIGNATURE + score)
    text = SIGNATURE.replace('datatype = "BYTES"', 'datatype = "BYTES"\nfinite = true')
    write(tmp_path, "other", settings=text)
    write(tmp_path, "third", settings=SIGNATURE.replace('datatype = "FP32"', 'datatype = "FP32"\nfinite = true'))
    catalog, findings = read(tmp_path, "some", "other", "third")
    outputs = catalog.entries[ModelRef("some", "1")].artifact.signature.outputs
    assert [output.finite for output in outputs] == [False, True]
    assert "always finite" in mistake(catalog, "other")
    assert "finite is for outputs" in mistake(catalog, "third")
    assert {finding.setting for finding in findings} == {"outputs.0", "inputs"}


def test_a_broken_model_toml_stops_no_other_model(tmp_path: Path):
    write(tmp_path, "some", settings="this is not TOML")
    write(tmp_path, "other")
    catalog, findings = read(tmp_path)
    assert len(findings) == 1
    assert findings[0].line == 1
    assert mistake(catalog, "some")
    assert not mistake(catalog, "other")


def test_a_model_without_model_toml_is_failed(tmp_path: Path):
    (write(tmp_path, "some") / "model.toml").unlink()
    assert "can't be read" in mistake(read(tmp_path)[0], "some")


def test_a_tensor_name_that_is_there_twice_is_a_mistake(tmp_path: Path):
    write(tmp_path, "some", settings=SIGNATURE + SIGNATURE)
    assert "'x' is there twice" in mistake(read(tmp_path)[0], "some")


@pytest.mark.parametrize(
    "name", ["con", "NUL.txt", "Com1", "lpt9.x", "bin", "App_Data", "web.config", "a b", "ümlaut", "a" * 129, "-a"]
)
def test_names_that_windows_or_iis_can_t_serve_are_refused(tmp_path: Path, name: str):
    """What Windows itself would not create, or creates under another name, can't be refused there."""
    try:
        write(tmp_path, name)
    except OSError:
        return
    if not (tmp_path / name).is_dir():
        return
    catalog, findings = read(tmp_path)
    assert catalog.entries == {}
    assert repr(name) in findings[0].sentence


@pytest.mark.linux("Windows drops a trailing dot from a name")
def test_a_name_that_ends_with_a_dot_is_refused(tmp_path: Path):
    write(tmp_path, "some.")
    assert "dot" in read(tmp_path)[1][0].sentence


@pytest.mark.linux("file systems of Windows know no two names that differ in case alone")
def test_names_that_differ_in_case_alone_are_not_both_served(tmp_path: Path):
    write(tmp_path, "Some")
    write(tmp_path, "some")
    catalog, findings = read(tmp_path, "some", "Some")
    assert not mistake(catalog, "Some")
    assert "more than case" in mistake(catalog, "some")
    assert len(findings) == 1


def test_versions_are_whole_numbers_and_the_highest_is_the_default(tmp_path: Path):
    write(tmp_path, "some", versions=("2", "10", "01", "latest"))
    catalog, findings = read(tmp_path)
    assert sorted(ref.version for ref in catalog.entries) == ["10", "2"]
    assert catalog.defaults == {"some": "10"}
    assert [finding.severity for finding in findings] == ["warning", "warning"]


def test_the_default_version_must_be_there(tmp_path: Path):
    write(tmp_path, "some", settings='default_version = "3"\n' + SIGNATURE)
    catalog, findings = read(tmp_path)
    assert (findings[0].line, findings[0].setting) == (1, "default_version")
    assert catalog.defaults == {"some": "3"}, "no other version is served in its place"


def test_a_model_without_any_version_is_shown_as_failed(tmp_path: Path):
    write(tmp_path, "some", versions=())
    catalog, findings = read(tmp_path)
    assert "holds no version" in mistake(catalog, "some", NO_VERSION)
    assert len(findings) == 1


def test_code_that_nobody_allowed_is_not_run(tmp_path: Path):
    write(tmp_path, "unknown")
    catalog, findings = read(tmp_path)
    assert "allow_code" in mistake(catalog, "unknown")
    assert findings[0].setting == "models.allow_code"


@pytest.mark.parametrize(
    ("file", "kind"), [("net.pt2", "export"), ("net.pt", "torchscript"), ("net.ts", "torchscript")]
)
def test_the_format_is_what_the_folder_holds(tmp_path: Path, file: str, kind: str):
    folder = write(tmp_path, "some") / "1"
    (folder / "model.py").unlink()
    (folder / file).write_bytes(b"")
    artifact = read(tmp_path)[0].entries[ModelRef("some", "1")].artifact
    assert (artifact.format, artifact.entry) == (kind, file)


@pytest.mark.parametrize(
    ("settings", "files", "said"),
    [
        ("", {"weights.pkl": ""}, "pickle"),
        ("", {"a.pt2": "", "b.pt2": ""}, "exactly one"),
        ("", {"model.py": "class A: ..."}, "exactly one class"),
        ("", {"model.py": "class A(Model): ...\nclass B(Model): ..."}, "exactly one class"),
        ("", {"model.py": "def ("}, "not Python"),
        pytest.param("", {"model.py": "-" * 100_000 + "1"}, "nested too deeply", id="operators without an end"),
        pytest.param("", {"model.py": f"a{'.b' * 20_000}"}, "nested too deeply", id="attributes without an end"),
        ("", {}, "neither"),
        ('entry = "net.pt2"\n', {"other.pt2": ""}, "no file 'net.pt2'"),
        ('entry = "../../secret.py:A"\n', {"model.py": CODE}, "no file"),
        ('format = "class"\nentry = "model.py"\n', {"model.py": CODE}, "file.py:Class"),
    ],
)
def test_a_version_that_can_t_be_loaded_says_why(tmp_path: Path, settings: str, files: dict[str, str], said: str):
    folder = write(tmp_path, "some", settings=settings + SIGNATURE) / "1"
    (folder / "model.py").unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    catalog, findings = read(tmp_path)
    assert said in mistake(catalog, "some")
    assert said in findings[0].sentence
    assert findings[0].file.endswith("model.toml")


def test_a_model_that_needs_its_callers_rights_is_not_served_with_the_servers(tmp_path: Path):
    write(tmp_path, "some", settings="impersonate = true\n" + SIGNATURE)
    write(tmp_path, "other", settings="impersonate = false\n" + SIGNATURE)
    settings = ModelsSettings(folder=tmp_path, allow_code=("some", "other"))
    for catalog, findings in (read(tmp_path), read_catalog(settings, no_tokens="this system is another")):
        assert "caller's rights" in mistake(catalog, "some")
        assert not mistake(catalog, "other")
        ((severity, line, setting),) = [(one.severity, one.line, one.setting) for one in findings]
        assert (severity, line, setting) == ("error", 1, "impersonate")
    assert "this system is another" in mistake(catalog, "some")


def test_a_model_that_needs_its_callers_rights_is_served_where_it_can_have_them(tmp_path: Path):
    write(tmp_path, "some", settings="impersonate = true\n" + SIGNATURE)
    write(tmp_path, "other", settings=SIGNATURE)
    settings = ModelsSettings(folder=tmp_path, allow_code=("some", "other"))
    catalog, findings = read_catalog(settings, no_tokens="")
    assert not findings
    assert {ref.name: entry.artifact.impersonates for ref, entry in catalog.entries.items()} == {
        "some": True,
        "other": False,
    }


def test_only_code_can_ask_for_its_callers_rights(tmp_path: Path):
    """An exported program has no code of its author's that could, and would run with the server's."""
    folder = write(tmp_path, "some", settings='impersonate = true\nformat = "torchscript"\n' + SIGNATURE) / "1"
    (folder / "model.pt").write_bytes(b"")
    catalog, findings = read_catalog(ModelsSettings(folder=tmp_path, allow_code=("some",)), no_tokens="")
    assert "format 'class'" in mistake(catalog, "some")
    assert [one.setting for one in findings] == ["impersonate"]
