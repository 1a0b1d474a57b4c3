"""Turns a bearer token (a signed JWT) into a principal; whatever is wrong with it, the answer is "refused"."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence

import msgspec

from torchgate.access.identity.bound_tokens import Binding, bound_to, is_proven
from torchgate.access.identity.dpop import Proofs
from torchgate.access.identity.entra_claims import check_key_issuer
from torchgate.access.identity.entra_groups import EntraGroups
from torchgate.access.identity.jws import VerificationKey, is_signed
from torchgate.access.identity.key_set import KeySet
from torchgate.access.identity.presented import Proof
from torchgate.access.identity.rejection import reject
from torchgate.access.identity.token_principal import TokenPrincipals
from torchgate.access.identity.token_rules import check_claims, check_header
from torchgate.access.identity.token_text import take_apart
from torchgate.access.oidc_settings import OidcSettings
from torchgate.contract.errors import CredentialProblem
from torchgate.contract.principal import Principal

_log = logging.getLogger("torchgate.access")


class TwoCredentials(Exception):
    """A good token came beside another credential that is no part of it."""


class Issuer(msgspec.Struct, frozen=True):
    """One issuer: its settings, its keys, how its claims become principals, and how left-out groups are learnt."""

    settings: OidcSettings
    keys: KeySet
    principals: TokenPrincipals
    groups: EntraGroups | None = None


class _Verified(msgspec.Struct, frozen=True):
    """A token that was believed, by which key, who it is, and what it is bound to, if anything."""

    principal: Principal
    expires_at: float
    key: VerificationKey
    keys: KeySet
    binding: Binding


class BearerTokens:
    """Examines bearer tokens, and remembers those that it believed.

    Args:
        issuers: all that count, each issuer's URL once.
        max_token_bytes: longer ones are refused unread.
        max_verified: how many are remembered; the oldest goes first.
        with_roles: gives a principal its roles.
        wall_clock: Unix seconds.
        proofs: examines what came with bound tokens; None: no issuer's settings let proofs count.

    Thread/process: one event loop.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        max_token_bytes: int,
        max_verified: int,
        with_roles: Callable[[Principal], Principal],
        wall_clock: Callable[[], float],
        proofs: Proofs | None = None,
    ) -> None:
        self._proofs = proofs
        self._issuers: dict[str, Issuer] = {
            accepted: issuer for issuer in issuers for accepted in issuer.settings.accepted_issuers()
        }
        self._max_token_bytes = max_token_bytes
        self._max_verified = max_verified
        self._with_roles = with_roles
        self._wall_clock = wall_clock
        self._verified: dict[bytes, _Verified] = {}

    def use_keys(self, keys: KeySet) -> None:
        """Let an issuer's keys be these, which were read for the same settings."""
        for accepted, issuer in self._issuers.items():
            if issuer.settings == keys.settings:
                self._issuers[accepted] = msgspec.structs.replace(issuer, keys=keys)

    def inherit_proofs(self, former: BearerTokens) -> None:
        """Remember the proofs that have counted: a change of the policy lets none count again."""
        if self._proofs is not None and former._proofs is not None:
            self._proofs = former._proofs

    def cached(self, token: str, certificate: bytes | None = None, *, only_bound: bool = False) -> Principal | None:
        """The principal of a token that was believed before and still counts: not expired, its key not withdrawn.

        Args:
            token, certificate, only_bound: as in `authenticate`.
        """
        verified = self._remembered(token)
        if verified is None or verified.binding.key:
            return None
        if verified.binding.certificate:
            return verified.principal if is_proven(verified.binding.certificate, certificate) else None
        return None if only_bound else verified.principal

    def _remembered(self, token: str) -> _Verified | None:
        if len(token) > self._max_token_bytes:
            return None
        digest = self._digest(token)
        verified = self._verified.get(digest)
        if verified is None:
            return None
        if self._wall_clock() >= verified.expires_at or not verified.keys.holds(verified.key):
            del self._verified[digest]
            return None
        return verified

    async def authenticate(
        self,
        token: str,
        certificate: bytes | None = None,
        *,
        only_bound: bool = False,
        proof: Proof | None = None,
    ) -> Principal:
        """The principal of a token.

        Args:
            token: as presented.
            certificate: of the client, DER, proven on this connection: what a token may be bound to.
            only_bound: the certificate is a credential too, so that the token must be bound to it.
            proof: of the key that the token must be bound to; None: it came as a bearer token.

        Raises:
            RejectedCredential: it is not a good token; the detail says of which class the failure is.
            TwoCredentials: it is good, and not bound to the certificate that is a credential too.
            IssuerUnavailable: it may be, but the keys of its issuer can't be had now.
        """
        try:
            verified = None if proof is None else self._remembered(token)
            if verified is not None and proof is not None:
                self._examine_proof(proof, token, verified.binding, verified.keys.settings)
                return verified.principal
            return await self._examined(token, certificate, only_bound, proof)
        except (CredentialProblem, TwoCredentials):
            raise
        except Exception as error:  # noqa: BLE001 - a token is the caller's: whatever it breaks, it is refused
            _log.warning("A bearer token was refused because examining it raised %s.", type(error).__name__)
            raise reject(f"unexpected {type(error).__name__}") from None

    def _examine_proof(self, proof: Proof | None, token: str, binding: Binding, issuer: OidcSettings) -> None:
        """Nothing, where a token came as what it is: bound to a key with a proof of it, or neither."""
        if proof is None and not binding.key:
            if issuer.dpop == "required":
                raise reject("a token that is bound to no key, where all must be")
            return
        if proof is None or self._proofs is None:
            raise reject("bound token sent as bearer")
        if not binding.key:
            raise reject("DPoP: the token is bound to no key")
        self._proofs.examine(proof, token, binding.key, issuer.clock_skew_s)

    async def _examined(
        self, token: str, certificate: bytes | None, only_bound: bool, proof: Proof | None
    ) -> Principal:
        parts = take_apart(token, self._max_token_bytes)
        named = parts.claims.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None:
            raise reject("issuer")
        kid, algorithm = check_header(parts.header, issuer.settings)
        key = await issuer.keys.find(kid, algorithm)
        if issuer.settings.profile == "entra":
            check_key_issuer(key, parts.claims, issuer.settings)
        if not is_signed(parts.signing_input, parts.signature, key):
            raise reject("signature")
        check_claims(parts.claims, issuer.settings, self._wall_clock())
        binding = bound_to(parts.claims, takes_proofs=issuer.settings.dpop != "off")
        if binding.certificate and not is_proven(binding.certificate, certificate):
            raise reject("bound token sent as bearer")
        if only_bound and not binding.certificate:
            raise TwoCredentials
        self._examine_proof(proof, token, binding, issuer.settings)
        principal, good_for_s = await _with_groups(issuer.principals.principal(parts.claims), issuer)
        principal = self._with_roles(principal)
        until = min(float(parts.claims["exp"]), self._wall_clock() + good_for_s)
        self._remember(token, _Verified(principal, until, key, issuer.keys, binding))
        return principal

    def _remember(self, token: str, verified: _Verified) -> None:
        if verified.expires_at <= self._wall_clock():
            return  # good only by the allowance for clocks: examined each time
        if len(self._verified) >= self._max_verified:
            self._verified.pop(next(iter(self._verified)))
        self._verified[self._digest(token)] = verified

    @staticmethod
    def _digest(token: str) -> bytes:
        """What a token is remembered by, so that memory holds no credentials; surrogates can't be in a good one."""
        return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def _with_groups(principal: Principal, issuer: Issuer) -> tuple[Principal, float]:
    """The principal with groups that its token leaves out, where they are looked up; and for how many seconds."""
    if principal.groups_known or issuer.groups is None:
        return principal, math.inf
    groups = await issuer.groups.find(principal.claims)
    if groups is not None:
        marks = {f"{principal.issuer}:group:{group}" for group in groups}
        principal = msgspec.structs.replace(principal, marks=principal.marks | marks, groups_known=True)
    return principal, issuer.groups.good_for_s(groups)
