"""A reference says where a secret is; what is none is a mistake that repeats nothing of it."""

from __future__ import annotations

import pytest

from torchgate.access.secrets.reference import SecretReference, parse_reference

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/torchgate-AbCdEf"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("file:a/b.txt", SecretReference("file", "a/b.txt")),
        ("file:C:\\keys\\a", SecretReference("file", "C:\\keys\\a")),
        ("file:ä ö/@#", SecretReference("file", "ä ö/@#")),
        ("env:NAME", SecretReference("env", "NAME")),
        ("dpapi:C:\\keys\\a", SecretReference("dpapi", "C:\\keys\\a")),
        ("aws-secretsmanager:prod/torchgate", SecretReference("aws-secretsmanager", "prod/torchgate")),
        (f"aws-secretsmanager:{ARN}#pepper", SecretReference("aws-secretsmanager", ARN, "pepper")),
        ("aws-secretsmanager:a#k@MINE", SecretReference("aws-secretsmanager", "a", "k", "MINE")),
        ("aws-secretsmanager:me@here@AWSCURRENT", SecretReference("aws-secretsmanager", "me@here", "", "AWSCURRENT")),
        ("azure-keyvault:my-vault/name#k", SecretReference("azure-keyvault", "my-vault/name", "k")),
        ("azure-keyvault:v.vault.azure.cn/name", SecretReference("azure-keyvault", "v.vault.azure.cn/name")),
    ],
)
def test_references_name_a_source_and_a_place(text: str, reference: SecretReference) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "hunter2:x",
        "file:",
        "env: ",
        ":x",
        "file:\x00hunter2",
        "env:hunter2=x",
        "env:hunter2 x",
        "aws-secretsmanager:hunter2 x",
        "aws-secretsmanager:hunter2#",
        "aws-secretsmanager:hunter2@",
        "aws-secretsmanager:hunter2@a b",
        "azure-keyvault:hunter2",
        "azure-keyvault:hunter2/",
        "azure-keyvault:hunter2/../x",
        "azure-keyvault:hunter2@evil.example/x",
        "azure-keyvault:evil.example:8443/x",
        "azure-keyvault:-/x",
        "azure-keyvault:vault/name/hunter2",
        "azure-keyvault:https://vault/name",
    ],
)
def test_what_is_no_reference_is_a_mistake_that_does_not_repeat_it(text: str) -> None:
    """Somebody wrote the secret itself; it must not appear in a log."""
    with pytest.raises(ValueError, match="secret reference") as caught:
        parse_reference(text)
    assert "hunter2" not in str(caught.value)
