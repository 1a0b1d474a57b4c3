"""A secret in AWS Secrets Manager: its staging labels are our states."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from torchgate.access.secrets.json_value import json_value
from torchgate.access.secrets.quiet_libraries import quiet
from torchgate.access.secrets.reference import SecretReference
from torchgate.access.secrets.secret import UNUSABLE, Secret, SecretUnreadable, SecretValue

_CONNECT_TIMEOUT_S = 2.0
_READ_TIMEOUT_S = 3.0
_ATTEMPTS = 2
_CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
_ABSENT = frozenset({"ResourceNotFoundException", "InvalidRequestException"})
_DENIED = "AccessDeniedException"
_REMEDIES = {
    "ResourceNotFoundException": "There is no such secret, or no version with the label {label}, in region {region}. "
    "Correct the reference or the region (AWS_REGION, or write the whole ARN).",
    "InvalidRequestException": "The secret is marked for deletion, or that version has no value. Restore it, or name "
    "another one.",
    _DENIED: "This server's AWS identity may not read it. Allow it secretsmanager:GetSecretValue on this secret, and "
    "kms:Decrypt on its key where that is your own.",
    "DecryptionFailure": "Its KMS key could not decrypt it. Enable the key, and allow kms:Decrypt.",
    "ThrottlingException": "AWS limits the rate of calls. Raise secret_refresh.interval_s.",
    "UnrecognizedClientException": "AWS does not know this server's credentials. Give the machine a role, or new ones.",
    "InvalidSignatureException": "AWS refuses the signature of this server's credentials. Are key and clock right?",
    "ExpiredTokenException": "This server's AWS credentials have expired. Give the machine a role, or new ones.",
}
"""Error code of AWS → what to do about it; what AWS says itself is left out, because nobody knows what is in it.

Source: Secrets Manager API reference, GetSecretValue, Errors; and Common Errors."""


class AwsSecret:
    """Implements SecretSource by GetSecretValue, asking for each staging label by name.

    AWSCURRENT, AWSPREVIOUS and AWSPENDING are current, previous and next. AWSPENDING is accepted when verifying,
    because the rotation's own test step presents it, and nothing is ever signed or sent with it. A reference that
    names a label of its own (`@LABEL`) has that one value.

    Args:
        reference: to an `aws-secretsmanager`.
        environment: of this process; the SDK reads its own settings from there, too.

    Thread/process: one thread at a time.
    """

    changes = True
    is_near = False

    def __init__(self, reference: SecretReference, environment: Mapping[str, str]) -> None:
        self.reference = str(reference)
        self._wanted = reference
        self._environment = environment
        self._client: Any = None

    def read(self) -> Secret:
        """The values of the labels now."""
        if self._wanted.stage:
            return Secret(self._value(self._wanted.stage))
        remarks: list[str] = []
        current = self._value("AWSCURRENT")
        following = self._beside("AWSPENDING", current, remarks)
        previous = self._beside("AWSPREVIOUS", current, remarks)
        if previous is not None and previous.version == current.version:
            # The label moved between our calls: what was current is previous now.
            current = self._value("AWSCURRENT")
            following = None if following is not None and following.version == current.version else following
        return Secret(current, previous, following, tuple(remarks))

    def _beside(self, label: str, current: SecretValue, remarks: list[str]) -> SecretValue | None:
        """The value of a label that need not be there; a finished rotation leaves AWSPENDING at the current one."""
        try:
            found = self._value(label)
        except SecretUnreadable as error:
            if error.code in {_DENIED, UNUSABLE}:
                remarks.append(f"{label} is not accepted. {error}")
            elif error.code not in _ABSENT:
                raise
            return None
        return None if label == "AWSPENDING" and found.version == current.version else found

    def _value(self, label: str) -> SecretValue:
        answer = self._ask(label)
        text = answer.get("SecretString")
        value = (
            text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(answer.get("SecretBinary", b""))
        )
        value = json_value(value, self._wanted.key)
        made = answer.get("CreatedDate")
        return SecretValue(value, str(answer.get("VersionId", "")), made.timestamp() if made is not None else None)

    def _ask(self, label: str) -> dict[str, Any]:
        client = self._opened()
        from botocore import exceptions

        try:
            answer: dict[str, Any] = client.get_secret_value(SecretId=self._wanted.place, VersionStage=label)
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))[:64]
            remedy = _REMEDIES.get(code, "See the CloudTrail event of this call.")
            region = client.meta.region_name
            sentence = f"AWS answers {code or 'an error'}. {remedy.format(label=label, region=region)}"
            raise SecretUnreadable(sentence, code) from None
        except (exceptions.NoCredentialsError, exceptions.CredentialRetrievalError, exceptions.PartialCredentialsError):
            raise SecretUnreadable(
                "There are no AWS credentials for this server. Give the machine or the container a role, or set the "
                "variables or files that AWS's tools read, for the server's account."
            ) from None
        except exceptions.BotoCoreError as error:
            raise SecretUnreadable(
                f"AWS can't be reached in region {client.meta.region_name} ({type(error).__name__}). Is there a way "
                "out, by HTTPS_PROXY where there is a proxy, and is its certificate known (AWS_CA_BUNDLE)?"
            ) from None
        return answer

    def _opened(self) -> Any:
        if self._client is not None:
            return self._client
        try:
            # Imported here: an extra, and a quarter of a second.
            from botocore import exceptions
            from botocore.config import Config
            from botocore.session import Session
        except ImportError:
            raise SecretUnreadable(
                "Secrets of AWS need a library that is not installed: pip install 'torchgate[aws]'."
            ) from None
        quiet("botocore")
        place = self._wanted.place
        session = Session()
        try:
            self._client = session.create_client(
                "secretsmanager",
                # arn:partition:secretsmanager:REGION:account:secret:name
                region_name=place.split(":")[3] if place.startswith("arn:") and place.count(":") >= 6 else None,
                verify=self._authorities(session),
                config=Config(
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    read_timeout=_READ_TIMEOUT_S,
                    retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                ),
            )
        except exceptions.NoRegionError:
            raise SecretUnreadable("No AWS region is named. Set AWS_REGION, or write the secret's whole ARN.") from None
        except (exceptions.BotoCoreError, ValueError) as error:
            raise SecretUnreadable(
                f"AWS's library can't be set up ({type(error).__name__}). Correct the variables AWS_… and AWS's "
                "settings files of the server's account."
            ) from None
        return self._client

    def _authorities(self, session: Any) -> str | None:
        """The operating system's certificate authorities as a file, where there is one and nobody says otherwise."""
        if any(self._environment.get(name) for name in _CA_VARIABLES) or session.get_config_variable("ca_bundle"):
            return None
        return ssl.get_default_verify_paths().cafile
