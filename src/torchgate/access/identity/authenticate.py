"""Who is asking: the one door from what was presented to a principal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from torchgate.access.file_watch import FileWatch
from torchgate.access.identity.api_key import ApiKeys
from torchgate.access.identity.bearer_token import BearerTokens, TwoCredentials
from torchgate.access.identity.development import TOKEN_PREFIX, DevelopmentTokens
from torchgate.access.identity.entra_groups import EntraGroups
from torchgate.access.identity.key_set import IssuerStatus, KeySet
from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.presented import Kind, Presented
from torchgate.access.identity.rejection import reject
from torchgate.contract.errors import InvalidRequest, NoCredential, RejectedCredential
from torchgate.contract.principal import Principal


class Authenticator(Protocol):
    """Proves one kind of credential, other than bearer tokens and API keys; roles are already on its principals."""

    def cached(self, presented: Presented) -> Principal | None:
        """The principal where that takes no I/O, else None; a refusal gives None too."""
        ...

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal.

        Raises:
            RejectedCredential: it is refused; the detail has the class of failure, never a word of the credential.
        """
        ...


class Authentication:
    """Proves who presents a credential; roles are already on the principal.

    Args:
        tokens: bearer tokens.
        api_keys: API keys.
        development: development tokens; false where they don't count.
        fresh: what is kept fresh between start and stop: issuers' keys, files that count, look-ups.
        challenges: schemes that exist here, for WWW-Authenticate.
        others: the authenticators of further kinds of credentials, by kind.
    """

    def __init__(
        self,
        tokens: BearerTokens,
        api_keys: ApiKeys,
        development: DevelopmentTokens,
        *,
        fresh: Sequence[KeySet | FileWatch | LookupThread | EntraGroups],
        challenges: tuple[str, ...],
        others: Mapping[Kind, Authenticator] = MappingProxyType({}),
    ) -> None:
        self._tokens = tokens
        self._api_keys = api_keys
        self._development = development
        self._fresh = tuple(fresh)
        self._key_sets = tuple(each for each in fresh if isinstance(each, KeySet))
        self._watches = tuple(each for each in fresh if isinstance(each, FileWatch))
        self._challenges = challenges
        self._others = others

    async def start(self) -> None:
        """Begin to read the issuers' keys, and to look at files; returns at once."""
        await asyncio.gather(*(each.start() for each in self._fresh))

    async def stop(self, *, heirs: Sequence[Authentication] = ()) -> None:
        """End the background work, but for what heirs have taken over."""
        taken = {id(each) for heir in heirs for each in heir._fresh}
        await asyncio.gather(*(each.stop() for each in self._fresh if id(each) not in taken))

    def inherit(self, former: Authentication) -> None:
        """Take over the keys of issuers whose settings are the same, so that none is out of reach for a moment.

        Only before `start`.
        """
        known = [
            (keys, other) for keys in self._key_sets for other in former._key_sets if keys.settings == other.settings
        ]
        for keys, other in known:
            self._fresh = tuple(other if each is keys else each for each in self._fresh)
            self._tokens.use_keys(other)
        self._tokens.inherit_proofs(former._tokens)
        self._key_sets = tuple(each for each in self._fresh if isinstance(each, KeySet))

    def challenges(self) -> tuple[str, ...]:
        """The schemes of WWW-Authenticate that a caller could use here, e.g. `("Bearer",)`; with parameters, if any."""
        return self._challenges

    def issuers(self) -> tuple[IssuerStatus, ...]:
        """How each issuer's keys are: an issuer out of reach is a finding and a metric, not unreadiness."""
        return tuple(keys.status() for keys in self._key_sets)

    def troubles(self) -> tuple[str, ...]:
        """What is wrong with files that count, so that older content of theirs is in force: the server shows amber."""
        return tuple(watch.trouble for watch in self._watches if watch.trouble)

    def cached(self, presented: Presented) -> Principal | None:
        """The principal where that takes no I/O and no signature, else None: then ask `authenticate`.

        An API key or development token is examined right here; one that is refused gives None too.
        """
        token, key = presented.bearer, presented.api_key
        if presented.proof is not None:
            return None  # each counts once
        if token is not None and key is None and not token.startswith(TOKEN_PREFIX):
            return self._token_cached(token, presented)
        try:
            if token is None and key is None:
                return self._other_cached(presented)
            if presented.has_further_kinds:
                return None  # for `authenticate` to refuse
            return self._without_signature(token, key)
        except RejectedCredential:
            return None

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal of what was presented.

        Raises:
            NoCredential: nothing was.
            InvalidRequest: two kinds were.
            RejectedCredential: it is refused; the detail has the class of failure, never a word of the credential.
            IssuerUnavailable: its issuer's keys can't be had now.
        """
        kinds = presented.kinds()
        if kinds == ("bearer", "certificate") and presented.proof is None:
            return await self._bound_token(presented)
        if len(kinds) > 1:
            raise _two_kinds(len(kinds))
        if not kinds:
            raise NoCredential("This needs a credential and the request has none. Send a bearer token or an API key.")
        if presented.bearer is None and presented.api_key is None:
            return await self._other(kinds[0]).authenticate(presented)
        if presented.proof is not None:
            return await self._tokens.authenticate(
                presented.bearer or "", presented.tls_certificate, proof=presented.proof
            )
        principal = self._without_signature(presented.bearer, presented.api_key)
        if principal is not None:
            return principal
        token = presented.bearer or ""
        certificate = presented.tls_certificate
        return self._tokens.cached(token, certificate) or await self._tokens.authenticate(token, certificate)

    def _token_cached(self, token: str, presented: Presented) -> Principal | None:
        if presented.windows is not None or presented.asserted is not None or presented.negotiate is not None:
            return None  # two kinds
        is_second = presented.certificate is not None
        certificate = presented.certificate if is_second else presented.tls_certificate
        return self._tokens.cached(token, certificate, only_bound=is_second)

    async def _bound_token(self, presented: Presented) -> Principal:
        """A certificate beside a token: where the token is bound to that very one, it is part of the token."""
        try:
            return await self._tokens.authenticate(presented.bearer or "", presented.certificate, only_bound=True)
        except TwoCredentials:
            raise _two_kinds(2) from None

    def _other_cached(self, presented: Presented) -> Principal | None:
        kinds = presented.kinds()
        return self._other(kinds[0]).cached(presented) if len(kinds) == 1 else None

    def _other(self, kind: Kind) -> Authenticator:
        authenticator = self._others.get(kind)
        if authenticator is None:
            raise reject(f"credentials of kind {kind} are not enabled")
        return authenticator

    def _without_signature(self, token: str | None, key: str | None) -> Principal | None:
        """The principal of an API key or development token; None for any other bearer token, two kinds or nothing."""
        if key is not None:
            return None if token is not None else self._api_keys.authenticate(key)
        if token is None or not token.startswith(TOKEN_PREFIX):
            return None
        if not self._development:
            raise reject("development identities are not enabled")
        return self._development.authenticate(token)


def _two_kinds(count: int) -> InvalidRequest:
    return InvalidRequest(f"The request has {count} credentials of different kinds; exactly one is allowed. Send one.")
