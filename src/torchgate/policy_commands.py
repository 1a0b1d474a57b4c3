"""`torchgate policy`: what the rules of a project say, without a server."""

from __future__ import annotations

import argparse
import os
import time

from torchgate.access.build import build_policy
from torchgate.access.policy.decide import Question
from torchgate.access.policy.explain import explain
from torchgate.access.policy.roles import Roles, parse_member
from torchgate.access.settings import AccessSettings
from torchgate.config import read_configuration
from torchgate.contract.decision import Action, Resource
from torchgate.contract.principal import Principal
from torchgate.contract.settings_file import nearest
from torchgate.terminal import fail, note, say


def explain_policy(parsed: argparse.Namespace) -> int:
    """Print the decision and how each rule reads the question; 0 whatever the decision is."""
    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    if configuration.settings is None:
        for finding in configuration.findings:
            note(str(finding))
        return 1
    settings = configuration.access_settings()
    try:
        action = _action(parsed.action)
        roles, denied_roles = _roles(parsed, settings)
    except ValueError as error:
        return fail(str(error))
    has_hook = settings.policy.hook is not None
    question = Question(roles, denied_roles, action, Resource(name=parsed.model), at=time.time())
    explanation = explain(build_policy(settings), question, has_hook=has_hook)
    say(f"roles: {', '.join(sorted(roles)) or 'none'}")
    for line in explanation.lines():
        say(line)
    return 0


def _action(text: str) -> Action:
    known = [str(action) for action in Action]
    if text not in known:
        raise ValueError(f"{text!r} is not an action. {nearest(text, known)}")
    return Action(text)


def _roles(parsed: argparse.Namespace, settings: AccessSettings) -> tuple[frozenset[str], frozenset[str]]:
    """The roles of who is asked about, and those that count for denials alone."""
    if parsed.roles is not None:
        names = frozenset(filter(None, (name.strip() for name in parsed.roles.split(","))))
        known = {*settings.roles, *(role for one in settings.development.identities for role in one.roles)}
        for name in sorted(names - known):
            raise ValueError(
                f"there is no role {name!r}. {nearest(name, sorted(known)) if known else 'There are none.'}"
            )
        return names, frozenset()
    who = parsed.principal
    name = who.removeprefix("development:")
    if ":" not in name:
        identities = {one.name: one.roles for one in settings.development.identities}
        if name not in identities:
            raise ValueError(
                f"{who!r} is neither a development identity ({', '.join(identities) or 'there are none'}) nor a role "
                "member such as key:ID or ISSUER:role:X."
            )
        return frozenset(identities[name]), frozenset()
    parse_member(who)
    issuer = who.partition(":")[0]
    principal = Principal(key=who, name=who, method="bearer", issuer=issuer, marks=frozenset({who}))
    principal = Roles(settings.roles).given_to(principal)
    return principal.roles, principal.denied_roles
