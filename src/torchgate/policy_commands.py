"""`torchgate policy`: what the policy of a project says, without a server."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Mapping
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
from torchgate.contract.decision import Action, ModelRef, Resource, names_every_version
from torchgate.contract.errors import CredentialProblem
from torchgate.contract.principal import Principal
from torchgate.contract.settings_file import read_settings
from torchgate.engine.catalog import read_catalog
from torchgate.terminal import fail, note, say
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
    configuration = _configuration(parsed)
    if configuration is None:
        return 1
    try:
        project = _questioned(configuration)
        principal = _principal(parsed, project)
        action = action_of(parsed.action)
        name, colon, version = parsed.model.partition(":")
        if colon and parsed.version:
            raise ValueError("the version is given twice, after the model's name and by --version; give it once")
        resource = project.resource(name, parsed.version or version, action)
        at = time.time() if parsed.at is None else moment_of(parsed.at)
        asked = Asked(principal, action, resource, at, facts_of(parsed.rows, parsed.bytes))
    except ValueError as error:
        return fail(str(error))
    say(f"roles: {', '.join(sorted(principal.roles)) or 'none'}")
    if principal.denied_roles - principal.roles:
        say(f"for denials alone: {', '.join(sorted(principal.denied_roles - principal.roles))}")
    if resource.model is not None:
        say(f"model: {resource.model}{', all its versions' if resource.is_every_version else ''}")
    elif resource.name:
        say("model: not in the models folder; a caller who may use or read it gets 404, anybody else 403")
    for line in _answered(project, asked).lines():
        say(line)
    return 0


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
    wrong = 0
    for case in cases.cases:
        lines = _wrong_lines(project, case)
        wrong += bool(lines)
        for line in lines:
            say(line)
    right = len(cases.cases) - wrong
    say(f"{parsed.file}: {'passed' if not wrong else 'NOT passed'}: {right} as expected, {wrong} not.")
    return 1 if wrong else 0


def _wrong_lines(project: _Questioned, case: CaseSettings) -> list[str]:
    """What is wrong with a case's answer, and why it is as it is; empty: nothing."""
    try:
        asked = _asked(project, case)
    except ValueError as error:
        return [f"WRONG {case.name}: {error}."]
    answered = _answered(project, asked)
    wrong = mismatch(case, answered.decision)
    if not wrong:
        return []
    roles = ", ".join(sorted(asked.principal.roles)) or "none"
    return [f"WRONG {case.name}: {wrong}.", f"  roles: {roles}", *(f"  {line}" for line in answered.lines())]


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
        return path.read_bytes().decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read: {type(error).__name__}") from None


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
