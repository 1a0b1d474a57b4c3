"""Secrets of AWS Secrets Manager, by the real SDK against moto: labels are states, and failures are sentences."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("moto", reason="needs moto")
pytest.importorskip("botocore", reason="needs botocore")

from tests.rigs.aws_secrets import REGION, AwsSecrets

from torchgate.access.secrets.aws import AwsSecret
from torchgate.access.secrets.reference import parse_reference
from torchgate.access.secrets.secret import Secret, SecretUnreadable

NAME = "prod/torchgate"


@pytest.fixture(scope="module")
def store() -> Iterator[AwsSecrets]:
    with AwsSecrets() as store:
        yield store


@pytest.fixture
def aws(store: AwsSecrets, monkeypatch: pytest.MonkeyPatch) -> Any:
    store.reset()
    for name in list(os.environ):
        if name.upper().startswith("AWS_") or name.upper().endswith(("_PROXY", "_CA_BUNDLE")):
            monkeypatch.delenv(name)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    return store.administrator()


def source(reference: str = NAME) -> AwsSecret:
    return AwsSecret(parse_reference(f"aws-secretsmanager:{reference}"), os.environ)


def values(secret: Secret) -> dict[str, bytes]:
    return {state: one.value for state, one in secret.by_state()}


def test_a_rotation_goes_from_next_to_current_to_previous(aws: Any) -> None:
    made = aws.create_secret(Name=NAME, SecretString="hunter1")
    secret = source()
    first = secret.read()
    assert values(first) == {"current": b"hunter1"}
    assert first.versions() == f"current {made['VersionId']}"
    pending = aws.put_secret_value(SecretId=NAME, SecretString="hunter2", VersionStages=["AWSPENDING"])
    assert values(secret.read()) == {"current": b"hunter1", "next": b"hunter2"}
    aws.update_secret_version_stage(
        SecretId=NAME,
        VersionStage="AWSCURRENT",
        MoveToVersionId=pending["VersionId"],
        RemoveFromVersionId=made["VersionId"],
    )
    assert values(secret.read()) == {"current": b"hunter2", "previous": b"hunter1"}


def test_a_value_put_at_once_makes_the_old_one_previous_and_the_one_before_it_counts_no_more(aws: Any) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1")
    secret = source()
    aws.put_secret_value(SecretId=NAME, SecretString="hunter2")
    assert values(secret.read()) == {"current": b"hunter2", "previous": b"hunter1"}
    aws.put_secret_value(SecretId=NAME, SecretString="hunter3")
    assert values(secret.read()) == {"current": b"hunter3", "previous": b"hunter2"}


def test_labels_are_asked_for_by_name(aws: Any, store: AwsSecrets) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1")
    source().read()
    assert [asked["VersionStage"] for asked in store.requests] == ["AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"]


def test_a_label_of_ones_own_has_one_value(aws: Any) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1")
    aws.put_secret_value(SecretId=NAME, SecretString="hunter2", VersionStages=["BLUE"])
    assert values(source(f"{NAME}@BLUE").read()) == {"current": b"hunter2"}
    with pytest.raises(SecretUnreadable, match="no version with the label GREEN"):
        source(f"{NAME}@GREEN").read()


def test_a_key_of_a_json_object_and_bytes_are_values_too(aws: Any) -> None:
    aws.create_secret(Name=NAME, SecretString=json.dumps({"pepper": "hunter1 é", "other": 1}))
    assert values(source(f"{NAME}#pepper").read()) == {"current": "hunter1 é".encode()}
    aws.create_secret(Name="bytes", SecretBinary=b"\x00\xff")
    assert values(source("bytes").read()) == {"current": b"\x00\xff"}
    with pytest.raises(SecretUnreadable, match="no JSON object"):
        source("bytes#pepper").read()


@pytest.mark.parametrize(
    ("text", "key", "sentence"),
    [
        ("hunter2", "pepper", "no JSON object"),
        ('["hunter2"]', "pepper", "no JSON object"),
        ('{"pepper": "hunter2"', "pepper", "no JSON object"),
        ('{"peper": "hunter2"}', "pepper", "no text under the key 'pepper'"),
        ('{"pepper": 2}', "pepper", "no text under the key"),
        ('{"pepper": ""}', "pepper", "no text under the key"),
        ('{"pepper": {"hunter2": "hunter2"}}', "pepper", "no text under the key"),
    ],
)
def test_a_value_that_is_not_as_the_reference_says_is_told_without_it(
    aws: Any, text: str, key: str, sentence: str
) -> None:
    aws.create_secret(Name=NAME, SecretString=text)
    with pytest.raises(SecretUnreadable, match=sentence) as caught:
        source(f"{NAME}#{key}").read()
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_value_beside_the_current_one_that_cannot_be_used_is_left_out_and_told(aws: Any) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1, from the time before it was JSON")
    aws.put_secret_value(SecretId=NAME, SecretString='{"pepper": "hunter2"}')
    found = source(f"{NAME}#pepper").read()
    assert values(found) == {"current": b"hunter2"}
    assert len(found.remarks) == 1
    assert found.remarks[0].startswith("AWSPREVIOUS is not accepted.")
    assert "hunter" not in found.remarks[0]


def test_a_value_of_64_kilobytes_is_read_whole(aws: Any) -> None:
    aws.create_secret(Name=NAME, SecretString="x" * 65_536)
    assert len(source().read().current.value) == 65_536


def test_a_secret_that_is_not_there_or_deleted_is_told_with_the_remedy(aws: Any) -> None:
    with pytest.raises(SecretUnreadable, match=f"ResourceNotFoundException.*in region {REGION}"):
        source().read()
    aws.create_secret(Name=NAME, SecretString="hunter1")
    secret = source()
    secret.read()
    aws.delete_secret(SecretId=NAME)
    with pytest.raises(SecretUnreadable, match="Restore it"):
        secret.read()
    aws.restore_secret(SecretId=NAME)
    assert values(secret.read()) == {"current": b"hunter1"}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("AccessDeniedException", "Allow it secretsmanager:GetSecretValue"),
        ("ThrottlingException", "Raise secret_refresh.interval_s"),
        ("DecryptionFailure", "kms:Decrypt"),
        ("ExpiredTokenException", "have expired"),
        ("SomethingNew", "CloudTrail"),
    ],
)
def test_an_error_of_the_store_is_told_in_our_words(aws: Any, store: AwsSecrets, code: str, sentence: str) -> None:
    """The sentence of the store itself is not repeated: who knows what is in it."""
    aws.create_secret(Name=NAME, SecretString="hunter1")
    store.failing = code
    with pytest.raises(SecretUnreadable, match=sentence) as caught:
        source().read()
    assert code in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_a_previous_value_that_may_not_be_read_is_left_out_and_told(aws: Any, store: AwsSecrets) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1")
    aws.put_secret_value(SecretId=NAME, SecretString="hunter2")
    store.failing = "AWSPREVIOUS:AccessDeniedException"
    found = source().read()
    assert values(found) == {"current": b"hunter2"}
    assert "AWSPREVIOUS is not accepted" in found.remarks[0]


def test_a_previous_value_that_is_out_of_reach_fails_the_read_so_that_it_goes_on_to_count(
    aws: Any, store: AwsSecrets
) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1")
    aws.put_secret_value(SecretId=NAME, SecretString="hunter2")
    store.failing = "AWSPREVIOUS:ThrottlingException"
    with pytest.raises(SecretUnreadable, match="Throttling"):
        source().read()


def test_an_outage_is_told_and_is_over_when_the_store_is_back(aws: Any, store: AwsSecrets) -> None:
    aws.create_secret(Name=NAME, SecretString="hunter1")
    secret = source()
    secret.read()
    store.failing = "drops"
    with pytest.raises(SecretUnreadable, match="can't be reached"):
        secret.read()
    store.failing = ""
    assert values(secret.read()) == {"current": b"hunter1"}


def test_a_server_without_credentials_or_region_is_told_so(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SecretUnreadable, match="no AWS credentials"):
        source().read()
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SecretUnreadable, match="Set AWS_REGION"):
        source().read()


def test_an_arn_brings_its_region(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = aws.create_secret(Name=NAME, SecretString="hunter1")["ARN"]
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert REGION in arn
    assert values(source(arn).read()) == {"current": b"hunter1"}


def test_whatever_level_others_have_set_the_library_logs_no_value(aws: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The SDK logs whole bodies at DEBUG; a user's hook may have set that level for everything."""
    caplog.set_level(logging.DEBUG)
    aws.create_secret(Name=NAME, SecretString="hunter1-canary")
    caplog.clear()
    source().read()
    assert "hunter1-canary" not in caplog.text
