"""Users whom IIS names to FastCGI: the name becomes a SID before anything is compared; groups stay unknown."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from torchgate.access.identity.account_names import cleaned_name
from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.presented import Presented
from torchgate.access.identity.rejection import RETRY_AFTER_S, reject
from torchgate.access.identity.windows_token import WINDOWS_ISSUER, sid_refusal
from torchgate.access.policy.windows_members import account_name_mistake
from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.clock import Clock
from torchgate.contract.errors import CredentialProblem, IssuerUnavailable
from torchgate.contract.principal import Principal
from torchgate.contract.windows_tokens import WindowsAccounts

_REMEMBERED_S = 900.0  # after which a name is asked again: it may belong to another account by then
_REFUSED_S = 60.0
_TIMEOUT_S = 5.0  # for one look-up on a request's way; a domain controller in reach answers in milliseconds
MAX_REMEMBERED = 10_000


class _Known(msgspec.Struct, frozen=True):
    """What a name means: a principal, or why there is none."""

    principal: Principal | None
    refusal: str
    until: float


class AssertedAccounts:
    """Makes principals of names that IIS says, each looked up once in a while, on a thread of its own.

    Args:
        settings: whose names count.
        with_roles: gives a principal its roles.
        accounts: asked on the thread.
        thread: for these questions alone.
        clock: seconds, monotonic.
        timeout_s: for one question.
    """

    def __init__(
        self,
        settings: WindowsSettings,
        *,
        with_roles: Callable[[Principal], Principal],
        accounts: WindowsAccounts,
        thread: LookupThread,
        clock: Clock,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._with_roles = with_roles
        self._accounts = accounts
        self._thread = thread
        self._clock = clock
        self._timeout_s = timeout_s
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asked: dict[str, asyncio.Future[_Known]] = {}

    def cached(self, presented: Presented) -> Principal | None:
        """The principal, where its name was looked up lately."""
        known = None if presented.asserted is None else self._known.get(presented.asserted.user.casefold())
        return None if known is None or self._clock() >= known.until else known.principal

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal.

        Raises:
            RejectedCredential: the name is nobody's, or counts for nobody.
            IssuerUnavailable: Windows can't say now whose it is.
        """
        if presented.asserted is None:
            raise reject("no user is asserted")
        name = presented.asserted.user
        if account_name_mistake(name):
            raise reject("an asserted user that is not written as DOMAIN\\name, or has lost letters")
        known = self._known.get(name.casefold())
        if known is None or self._clock() >= known.until:
            known = await self._looked_up(name)
        if known.principal is None:
            raise reject(known.refusal)
        return known.principal

    async def _looked_up(self, name: str) -> _Known:
        """What the name means, asked once for all who wait."""
        future = self._asked.get(name.casefold())
        if future is None:
            future = self._ask(name)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise _cannot_say("no answer in time") from None

    def _ask(self, name: str) -> asyncio.Future[_Known]:
        loop, folded = asyncio.get_running_loop(), name.casefold()
        future: asyncio.Future[_Known] = loop.create_future()

        def settle(known: _Known | None, failure: str) -> None:
            self._asked.pop(folded, None)
            if known is not None:
                self._remember(folded, known)
                future.set_result(known)
            else:
                future.set_exception(_cannot_say(failure))
                future.exception()  # whoever asked may be gone

        def ask() -> None:
            known, failure = None, ""
            try:
                known = self._known_of(name)
            except Exception as error:  # noqa: BLE001 - whatever it is, the request gets an answer
                failure = type(error).__name__
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(functools.partial(settle, known, failure))

        if not self._thread.ask(ask):
            raise _cannot_say("too many names are being looked up")
        self._asked[folded] = future
        return future

    def _known_of(self, name: str) -> _Known:
        """On the thread."""
        now = self._clock()
        try:
            account = self._accounts.by_name(name)
        except LookupError:
            return _Known(None, "an asserted user whom Windows does not know", now + _REFUSED_S)
        if account.kind == "group":
            return _Known(None, "an asserted user that is a group", now + _REFUSED_S)
        is_own = account.sid == self._accounts.own_sid()
        if refusal := sid_refusal(account.sid, self._settings, is_own_account=is_own):
            return _Known(None, refusal, now + _REFUSED_S)
        principal = Principal(
            key=account.sid,
            name=cleaned_name(account.name),
            method="windows",
            issuer=WINDOWS_ISSUER,
            marks=frozenset({f"sid:{account.sid}"}),
            groups_known=False,
        )
        return _Known(self._with_roles(principal), "", now + _REMEMBERED_S)

    def _remember(self, folded: str, known: _Known) -> None:
        self._known[folded] = known
        self._known.move_to_end(folded)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def _cannot_say(failure: str) -> CredentialProblem:
    return IssuerUnavailable(
        "Windows can't say now whose account this is. Try again later.",
        detail=f"Windows account look-up: {failure}",
        retry_after_s=RETRY_AFTER_S,
    )
