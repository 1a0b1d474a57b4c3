"""`torchgate policy`: what the policy of a project says, without a server."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from torchgate.access.build import build_access, build_policy
from torchgate.access.identity.presented import Presented
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.policy.cases import (
    Answered,
    Asked,
    CaseSettings,
    CasesSettings,
    action_of,
    answer,
    facts_of,
    mismatch,
    moment_of,
)
from torchgate.access.policy.hook import HookRunner, load_hook
from torchgate.access.policy.rules import Policy
from torchgate.access.policy.somebody import development_identity, somebody_known, somebody_with_roles
from torchgate.access.settings import AccessSettings
from torchgate.access.windows_build import resolved_sids
from torchgate.config import Configuration, read_configuration
from torchgate.contract.credential_files import read_credential
from torchgate.contract.decision import Action, ModelRef, Resource, names_every_version
from torchgate.contract.errors import CredentialProblem
from torchgate.contract.principal import Principal
from torchgate.contract.settings_file import read_settings
from torchgate.engine.catalog import read_catalog
from torchgate.terminal import WrongUse, fail, note, say
from torchgate.windows_here import windows_accounts


class _Questioned(msgspec.Struct, frozen=True):
    """A project's policy, ready to be asked.

    Args:
        settings: of access.
        sids: of Windows names in roles, where this system can resolve them.
        policy: the rules.
        hook: runs the user's function.
        defaults: model → the version that a request without one gets.
        versions: all that there are.
    """

    settings: AccessSettings
    sids: Mapping[str, str]
    policy: Policy
    hook: HookRunner | None
    defaults: Mapping[str, str]
    versions: frozenset[ModelRef]

    def resource(self, model: str, version: str, action: Action) -> Resource:
        """What a request for this model and version is about; as the gate's door settles it."""
        ref = ModelRef(model, version or self.defaults.get(model, ""))
        if ref in self.versions:
            return Resource(model=ref, is_every_version=names_every_version(action, version))
        return Resource(name=model, version=version)


def explain_policy(parsed: argparse.Namespace) -> int:
    """Print the decision and how each rule reads the question; 0 whatever the decision is."""
    action, at, name, version = _question(parsed)
    configuration = _configuration(parsed)
    if configuration is None:
        return 1
    try:
        project = _questioned(configuration)
        principal = _principal(parsed, project)
        resource = project.resource(name, version, action)
        asked = Asked(principal, action, resource, at, facts_of(parsed.rows, parsed.bytes))
    except ValueError as error:
        return fail(str(error))
    answered = _answered(project, asked)
    if parsed.json:
        say(msgspec.json.encode({**_of_asked(asked), **_of_answered(answered)}).decode())
        return 0
    say(f"roles: {', '.join(sorted(principal.roles)) or 'none'}")
    if principal.denied_roles - principal.roles:
        say(f"for denials alone: {', '.join(sorted(principal.denied_roles - principal.roles))}")
    if resource.model is not None:
        say(f"model: {resource.model}{', all its versions' if resource.is_every_version else ''}")
    elif resource.name:
        say("model: not in the models folder; a caller who may use or read it gets 404, anybody else 403")
    for line in answered.lines():
        say(line)
    return 0


def _question(parsed: argparse.Namespace) -> tuple[Action, float, str, str]:
    """What is asked, when, of which model and version, so far as the command line says it.

    Raises:
        WrongUse: it contradicts itself, or names an action or a moment that can't be.
    """
    if parsed.groups_unknown and not (parsed.principal or parsed.member):
        raise WrongUse("--groups-unknown is about WHO or MEMBER: say --principal or --member with it.")
    name, colon, version = parsed.model.partition(":")
    if colon and parsed.version:
        raise WrongUse("the version is given twice, after the model's name and by --version; give it once.")
    try:
        at = time.time() if parsed.at is None else moment_of(parsed.at)
        return action_of(parsed.action), at, name, parsed.version or version
    except ValueError as error:
        raise WrongUse(f"{str(error).rstrip('.')}.") from None


def _of_asked(asked: Asked) -> dict[str, object]:
    """The question as `--json` has it."""
    principal, resource = asked.principal, asked.resource
    model = resource.model
    return {
        "roles": sorted(principal.roles),
        "roles_for_denials_alone": sorted(principal.denied_roles - principal.roles),
        "action": str(asked.action),
        "model": model.name if model is not None else resource.name,
        "version": model.version if model is not None else resource.version,
        "is_known_model": model is not None,
        "is_every_version": resource.is_every_version,
        "at": asked.at,
        "facts": asked.facts,
    }


def _of_answered(answered: Answered) -> dict[str, object]:
    """The answer as `--json` has it."""
    return {
        "decision": answered.decision,
        "rules": answered.explanation.readings,
        "hook": answered.hook,
    }


def test_policy(parsed: argparse.Namespace) -> int:
    """Ask a person's own cases and print each that is not answered as it should be; 1 where there is one."""
    configuration = _configuration(parsed)
    if configuration is None:
        return 1
    cases, findings = read_settings(parsed.file, CasesSettings)
    for finding in findings:
        note(str(finding))
    if cases is None:
        return 1
    try:
        project = _questioned(configuration)
    except ValueError as error:
        return fail(str(error))
    tried = [_tried(project, case) for case in cases.cases]
    wrong = sum(bool(one.wrong) for one in tried)
    if parsed.json:
        say(msgspec.json.encode([one.as_json() for one in tried]).decode())
        return 1 if wrong else 0
    for line in (line for one in tried for line in one.lines()):
        say(line)
    right = len(tried) - wrong
    say(f"{parsed.file}: {'passed' if not wrong else 'NOT passed'}: {right} as expected, {wrong} not.")
    return 1 if wrong else 0


class _Tried(msgspec.Struct, frozen=True):
    """One case, asked.

    Args:
        wrong: what is wrong with its answer; empty: nothing.
        asked, answered: None where the case can't be asked.
    """

    case: CaseSettings
    wrong: str
    asked: Asked | None = None
    answered: Answered | None = None

    def lines(self) -> Iterator[str]:
        """As a person reads it: nothing where it is as expected."""
        if self.wrong:
            yield f"WRONG {self.case.name}: {self.wrong}."
        if self.wrong and self.asked is not None and self.answered is not None:
            yield f"  roles: {', '.join(sorted(self.asked.principal.roles)) or 'none'}"
            yield from (f"  {line}" for line in self.answered.lines())

    def as_json(self) -> dict[str, object]:
        """The case, what was expected, and what came of it."""
        shown: dict[str, object] = {"name": self.case.name, "expect": self.case.expect, "wrong": self.wrong}
        if self.asked is not None and self.answered is not None:
            shown |= {**_of_asked(self.asked), **_of_answered(self.answered)}
        return shown


def _tried(project: _Questioned, case: CaseSettings) -> _Tried:
    try:
        asked = _asked(project, case)
    except ValueError as error:
        return _Tried(case, str(error))
    answered = _answered(project, asked)
    return _Tried(case, mismatch(case, answered.decision), asked, answered)


def _asked(project: _Questioned, case: CaseSettings) -> Asked:
    if case.members is None:
        principal = somebody_with_roles(project.settings, case.roles or ())
    else:
        principal = somebody_known(project.settings, case.members, project.sids, groups_known=case.groups_known)
    action = action_of(case.action)
    at = time.time() if case.at is None else moment_of(case.at)
    resource = project.resource(case.model, case.version, action)
    return Asked(principal, action, resource, at, facts_of(case.rows, case.bytes))


def _answered(project: _Questioned, asked: Asked) -> Answered:
    return asyncio.run(answer(project.policy, project.hook, asked))


def _configuration(parsed: argparse.Namespace) -> Configuration | None:
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    for finding in configuration.findings:
        note(str(finding))
    return configuration if configuration.settings is not None else None


def _questioned(configuration: Configuration) -> _Questioned:
    """The project's policy.

    Raises:
        ValueError: the hook can't be loaded, or a Windows name can't be resolved.
    """
    settings = configuration.access_settings()
    hook, origin = None, ""
    if settings.policy.hook is not None:
        function, origin = load_hook(settings.policy.hook, settings.folder)
        policy = settings.policy
        hook = HookRunner(function, timeout_s=policy.hook_timeout_s, threads=policy.hook_threads, origin=origin)
    accounts = windows_accounts()
    sids = {} if accounts is None else resolved_sids(settings, accounts)
    if configuration.settings is None:
        raise ValueError("the configuration has mistakes")
    catalog, _ = read_catalog(configuration.settings.models)
    defaults = {name: version for name, version in catalog.defaults.items() if version is not None}
    return _Questioned(settings, sids, build_policy(settings, origin), hook, defaults, frozenset(catalog.entries))


def _principal(parsed: argparse.Namespace, project: _Questioned) -> Principal:
    """Who is asked about.

    Raises:
        ValueError: that can't be told.
    """
    if parsed.token_file is not None:
        return asyncio.run(_proven(_token(parsed.token_file), project.settings))
    if parsed.roles is not None:
        return somebody_with_roles(project.settings, [name.strip() for name in parsed.roles.split(",") if name.strip()])
    members = parsed.member or [parsed.principal]
    name = members[0].removeprefix("development:")
    if not parsed.member and ":" not in name:
        return development_identity(project.settings, name)
    return somebody_known(project.settings, members, project.sids, groups_known=not parsed.groups_unknown)


def _token(path: Path) -> str:
    try:
        return read_credential(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} can't be read: {why}. Name the file where the bearer token is.") from None


async def _proven(token: str, settings: AccessSettings) -> Principal:
    """Who has a token, verified as a server would.

    Raises:
        ValueError: it is refused; the sentence says of which class the failure is.
    """
    neighbours = AccessNeighbours(windows_accounts=windows_accounts())
    authentication, authorisation = build_access(settings, neighbours=neighbours)
    await authentication.start()
    try:
        return await authentication.authenticate(Presented(bearer=token))
    except CredentialProblem as problem:
        raise ValueError(f"the token is refused: {problem.detail or problem.sentence}") from None
    finally:
        await authentication.stop()
        authorisation.stop()
