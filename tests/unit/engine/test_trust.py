"""Whose signature lets a model's code run. The attacker may write anything into the repository, and has no key."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64encode
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.signed_models import SignedModels

from torchgate.engine.digest import DigestRefused, file_digests
from torchgate.engine.model_signature import LONGEST_SIGNATURE_BYTES, SIGNATURE_FILE, NoSignature, read_envelope
from torchgate.engine.settings import ModelsSettings, SignerSettings
from torchgate.engine.signer_keys import public_reference
from torchgate.engine.trust import Trust


@pytest.fixture
def models(tmp_path: Path) -> SignedModels:
    made = SignedModels(tmp_path)
    made.sign()
    return made


def refusal(models: SignedModels, /, **signer: object) -> str:
    with pytest.raises(DigestRefused) as caught:
        models.signer(**signer)
    return str(caught.value)


def test_what_a_known_signer_signed_is_vouched_for_by_its_id(models: SignedModels):
    assert models.signer() == "release"


def test_what_the_operator_may_change_in_model_toml_leaves_the_signature_good(models: SignedModels):
    file = models.folder / "some" / "model.toml"
    text = 'replicas = 3\nthreads = 2\ndefault_version = "1"\n' + file.read_text(encoding="utf-8")
    file.write_text(text + "\n[batching]\nmax_batch_delay_s = 0.1\n[limits]\nmax_run_s = 3\n", encoding="utf-8")
    assert models.signer() == "release"


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("\n[[inputs]]", 'entry = "other.py:Some"\n[[inputs]]', "entry"),
        ("\n[[inputs]]", "idempotent = false\n[[inputs]]", "idempotent"),
        ("\n[[inputs]]", 'request_parameters = ["path"]\n[[inputs]]', "request_parameters"),
        ("\n[[inputs]]", '[parameters]\nfile = "/etc/passwd"\n[[inputs]]', "parameters"),
        ("FP32", "FP64", "inputs"),
        ("\n[[inputs]]", "[batching]\nmax_batch_size = 0\n[[inputs]]", "max_batch_size"),
    ],
)
def test_an_attacker_who_changes_how_signed_code_is_run_is_found(
    models: SignedModels, before: str, after: str, named: str
):
    folder = models.folder / "some"
    shutil.copy(folder / "1" / "model.py", folder / "1" / "other.py")
    models.sign()
    file = folder / "model.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(before, after, 1), encoding="utf-8")
    assert f"model.toml says {named} = " in refusal(models)


TUNED = """
[tuned.1]
choice = "{choice}"
torch = "2.13.0"
machine = "linux"
made_of = "ab"
package_sha256 = "{package}"
threads = 1
rows = [1]
median_ms = {{ eager = [1.0] }}
tolerance = {{ FP32 = 1e-4 }}
difference = 0.0
measured_on = 2030-01-01
"""


@pytest.mark.parametrize("choice", ["channels_last", "aoti"])
def test_tuning_changes_what_runs_so_that_it_must_be_signed(models: SignedModels, choice: str):
    file = models.folder / "some" / "model.toml"
    file.write_text(file.read_text(encoding="utf-8") + TUNED.format(choice=choice, package="cd"), encoding="utf-8")
    assert "model.toml says tuned = " in refusal(models)
    models.sign()
    assert models.signer() == "release"


def test_a_tuning_that_chose_nothing_leaves_the_signature_good(models: SignedModels):
    file = models.folder / "some" / "model.toml"
    file.write_text(file.read_text(encoding="utf-8") + TUNED.format(choice="eager", package=""), encoding="utf-8")
    assert models.signer() == "release"


def test_an_attacker_who_adds_a_compiled_package_is_found(models: SignedModels):
    file = models.folder / "some" / "1" / "tuned" / "aoti.pt2"
    file.parent.mkdir()
    file.write_bytes(b"evil native code")
    assert "file 'tuned/aoti.pt2' was added" in refusal(models)


def test_an_attacker_who_alters_one_byte_of_the_weights_is_found(models: SignedModels):
    file = models.folder / "some" / "1" / "weights.bin"
    file.write_bytes(b"W" + file.read_bytes()[1:])
    assert "not what 'release' signed: file 'weights.bin' was altered" in refusal(models)


@pytest.mark.parametrize("added", ["sitecustomize.py", "__pycache__/model.cpython-311.pyc", "torch.py", "MODEL.sig.py"])
def test_an_attacker_who_adds_a_file_that_python_would_import_is_found(models: SignedModels, added: str):
    file = models.folder / "some" / "1" / added
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"evil")
    assert f"file '{added}' was added" in refusal(models)


def test_an_attacker_who_takes_a_file_away_is_found(models: SignedModels):
    (models.folder / "some" / "1" / "weights.bin").unlink()
    assert "file 'weights.bin' is missing" in refusal(models)


def test_an_attacker_who_renames_a_file_by_case_alone_is_found(models: SignedModels):
    folder = models.folder / "some" / "1"
    content = (folder / "weights.bin").read_bytes()
    (folder / "weights.bin").unlink()  # no rename: some file systems take it for the same name and do nothing
    (folder / "Weights.bin").write_bytes(content)
    assert "file 'Weights.bin' was added" in refusal(models)


@pytest.mark.linux("names that differ in case alone")
def test_two_files_whose_names_differ_in_case_alone_are_refused_even_signed(models: SignedModels):
    (models.folder / "some" / "1" / "Weights.bin").write_bytes(b"which one will a worker on Windows open?")
    models.sign()
    assert "differ in case alone" in refusal(models)


def test_a_model_that_was_signed_does_not_run_under_another_name(models: SignedModels):
    shutil.copytree(models.folder / "some", models.folder / "payroll")
    with pytest.raises(DigestRefused, match="the signature is of some:1"):
        models.signer("payroll")


def test_an_old_version_that_was_signed_does_not_run_as_a_newer_one(models: SignedModels):
    shutil.copytree(models.folder / "some" / "1", models.folder / "some" / "2")
    entry = models.entry("some", "2")
    with pytest.raises(DigestRefused, match="the signature is of some:1"):
        models.trust().signer(entry, file_digests(Path(entry.artifact.folder)))


def test_an_attacker_who_signs_with_a_key_of_their_own_is_refused(models: SignedModels):
    models.sign(key=models.foreign_key)
    assert "no known signer made" in refusal(models)


def test_an_attacker_who_puts_their_key_into_the_signature_gains_nothing(models: SignedModels):
    models.sign(key=models.foreign_key)
    pem = models.foreign_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    models.edit_bundle(
        lambda value: value["verificationMaterial"].update(publicKey={"hint": "release", "raw": pem.decode()})
    )
    assert "no known signer made" in refusal(models)


def test_an_attacker_who_edits_the_signed_statement_is_refused(models: SignedModels):
    (models.folder / "some" / "1" / "more.py").write_bytes(b"evil")
    models.edit_statement(
        lambda statement: statement["predicate"]["resources"].append(
            {"name": "more.py", "algorithm": "sha256", "digest": "0" * 64}
        )
    )
    assert "no known signer made" in refusal(models)


def test_a_second_signature_beside_the_good_one_is_refused(models: SignedModels):
    models.edit_bundle(lambda value: value["dsseEnvelope"]["signatures"].insert(0, {"sig": "AAAA", "keyid": "x"}))
    assert "with 2 signatures; there must be one" in refusal(models)


def test_no_signature_in_the_envelope_is_refused(models: SignedModels):
    models.edit_bundle(lambda value: value["dsseEnvelope"].update(signatures=[]))
    assert "with 0 signatures" in refusal(models)


def test_an_envelope_over_another_type_is_refused(models: SignedModels):
    models.edit_bundle(lambda value: value["dsseEnvelope"].update(payloadType="text/plain"))
    assert "over 'text/plain'" in refusal(models)


def test_an_attacker_who_claims_an_algorithm_without_a_key_gains_nothing(models: SignedModels):
    models.edit_bundle(lambda value: value["dsseEnvelope"]["signatures"][0].update(alg="none", sig=""))
    assert "no known signer made" in refusal(models)


@pytest.mark.parametrize("length", [0, 1, 500, -2])
def test_a_signature_that_was_cut_off_is_refused(models: SignedModels, length: int):
    file = models.folder / "some" / "1" / SIGNATURE_FILE
    file.write_bytes(file.read_bytes()[:length])
    assert "is no signature" in refusal(models)


def test_a_signature_file_that_would_fill_our_memory_is_not_read_whole(models: SignedModels):
    with (models.folder / "some" / "1" / SIGNATURE_FILE).open("wb") as file:
        file.truncate(LONGEST_SIGNATURE_BYTES + 1)
    assert f"may have {LONGEST_SIGNATURE_BYTES:,}" in refusal(models)


def test_a_signature_nested_so_deeply_that_a_parser_gives_up_is_refused(models: SignedModels):
    (models.folder / "some" / "1" / SIGNATURE_FILE).write_bytes(b'{"dsseEnvelope":' + b"[" * 100_000)
    assert "is no signature" in refusal(models)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
    lambda value: json.dumps({"dsseEnvelope": value}).encode()
))  # fmt: skip
def test_whatever_the_signature_file_holds_the_answer_is_a_refusal(content: bytes, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "any-signature"
    folder.mkdir(exist_ok=True)
    (folder / SIGNATURE_FILE).write_bytes(content)
    with pytest.raises(NoSignature):
        read_envelope(folder)


def test_a_signer_that_signs_digests_of_a_weak_kind_is_refused(models: SignedModels):
    models.edit_statement(
        lambda statement: statement["predicate"]["resources"][0].update(algorithm="md5"), key=models.key
    )
    assert "only sha256 is believed" in refusal(models)


def test_something_else_that_our_signer_signed_does_not_count_as_a_model(models: SignedModels):
    models.edit_statement(
        lambda statement: statement.update(predicateType="https://slsa.dev/provenance/v1"), key=models.key
    )
    assert "statement of another kind" in refusal(models)
    models.edit_statement(lambda statement: statement["predicate"].pop("torchgate"), key=models.key)
    assert "names no model of ours" in refusal(models)


def test_a_file_signed_twice_over_with_two_digests_is_refused(models: SignedModels):
    def twice(statement: dict) -> None:
        first = dict(statement["predicate"]["resources"][0], digest="0" * 64)
        statement["predicate"]["resources"].insert(0, first)

    models.edit_statement(twice, key=models.key)
    assert "twice" in refusal(models)


def test_a_signer_vouches_for_the_models_alone_that_it_may_sign(models: SignedModels):
    assert models.signer(models=("other", "some")) == "release"
    assert "which may sign other alone" in refusal(models, models=("other",))


def test_a_signer_vouches_until_the_end_of_its_last_day(models: SignedModels):
    assert models.signer(valid_until=date(2030, 1, 15)) == "release"
    models.today = date(2030, 1, 16)
    assert "valid until 2030-01-15" in refusal(models, valid_until=date(2030, 1, 15))


def test_the_newer_of_two_keys_of_one_signer_counts_where_the_older_has_expired(models: SignedModels):
    reference = public_reference(models.key.public_key())
    both = (
        SignerSettings(id="old", public_key=reference, valid_until=date(2020, 1, 1)),
        SignerSettings(id="new", public_key=reference),
    )
    trust = Trust(ModelsSettings(folder=models.folder, signers=both), models.folder, lambda: models.today)
    entry = models.entry()
    assert trust.signer(entry, file_digests(Path(entry.artifact.folder))) == "new"


def test_a_server_that_knows_no_signers_says_so(models: SignedModels):
    entry = models.entry()
    with pytest.raises(DigestRefused, match=r"models\.signers names nobody"):
        Trust(ModelsSettings(), models.folder).signer(entry, file_digests(Path(entry.artifact.folder)))


def test_a_version_without_signature_is_refused_by_the_catalog_with_both_remedies(models: SignedModels):
    models.write("plain")
    mistake = models.entry("plain").mistake
    assert "nobody signed or allowed" in mistake
    assert "torchgate models sign" in mistake
    assert "models.allow_code" in mistake


def test_a_key_of_a_file_may_be_p256_as_other_signing_tools_make_them(models: SignedModels):
    key = ec.generate_private_key(ec.SECP256R1())
    models.sign(key=key)
    (models.folder / "release.pub").write_bytes(pem(key.public_key()))
    signer = SignerSettings(id="release", public_key="file:release.pub")
    trust = Trust(ModelsSettings(folder=models.folder, signers=(signer,)), models.folder)
    entry = models.entry()
    assert trust.mistakes == []
    assert trust.signer(entry, file_digests(Path(entry.artifact.folder))) == "release"


def pem(key: object) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("ed25519:AAAA", "32 bytes"),
        ("ed25519:!", "32 bytes"),
        ("ssh-ed25519 AAAA", "must be 'ed25519:"),
        ("", "must be 'ed25519:"),
        ("file:missing.pub", "can't be read"),
        ("file:rsa.pub", "another kind of key"),
        ("file:p384.pub", "another kind of key"),
        ("file:garbage.pub", "can't be read"),
        (f"ed25519:{b64encode(bytes(33)).decode()}", "32 bytes"),
    ],
)
def test_a_public_key_that_is_none_vouches_for_nothing_and_is_said(tmp_path: Path, reference: str, why: str):
    (tmp_path / "rsa.pub").write_bytes(pem(rsa.generate_private_key(65537, 2048).public_key()))
    (tmp_path / "p384.pub").write_bytes(pem(ec.generate_private_key(ec.SECP384R1()).public_key()))
    (tmp_path / "garbage.pub").write_bytes(os.urandom(100))
    trust = Trust(ModelsSettings(signers=(SignerSettings(id="a", public_key=reference),)), tmp_path)
    assert [index for index, _ in trust.mistakes] == [0]
    assert why in trust.mistakes[0][1]


def test_the_signature_says_what_it_is_of_for_whoever_reads_it(models: SignedModels):
    value = json.loads((models.folder / "some" / "1" / SIGNATURE_FILE).read_bytes())
    assert value["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    payload = read_envelope(models.folder / "some" / "1").payload
    statement = json.loads(payload)
    assert statement["subject"][0]["name"] == "some:1"
    assert [one["name"] for one in statement["predicate"]["resources"]] == ["model.py", "weights.bin"]
    assert statement["predicate"]["torchgate"]["model"] == "some"
