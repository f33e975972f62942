"""The guard of a process: who calls, and whether they may, decided here, offline, by keys and rules kept up to date.

What was decided is remembered per token and path, so that a call of a token seen before costs two look-ups.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from micro.auth.decisions import HEALTH, OPEN_DEBUG, PUBLIC, Rules, forbid
from micro.auth.driver import AuthDriver, Resource, account_digest, token_digest
from micro.auth.follow import STALE, Following, Revoked
from micro.auth.reading import DEAD_TOKEN, SKEW, KeySet, UnknownKeyError, Verified, borne, issued, key_set, verify
from micro.auth.tokens import PLATFORM, SERVICES
from micro.context import CORE_NAMESPACE, CORE_SERVICES, Account
from micro.errors import ConfigError, PermissionDenied, ServiceError, Unauthenticated, Unavailable
from micro.rpc.guard import Guard, NotReadyError

if TYPE_CHECKING:
    from micro.rpc.caller import Caller

TOKENS = 4096  # verified tokens remembered
DECISIONS = 16_384  # of a token and a path
NAMESPACES = 256  # followed at a time; the one asked about longest ago goes
KEYS_EVERY = 5.0  # seconds between looks for keys that tokens name and nobody knows
PATIENCE = 2.0  # seconds that a call waits for rules


class AuthGuard(Guard):
    """Guards one service's process, and decides for others when it is the proxy's or the gateway's.

    `jwks` are the keys to begin with; they stay good whatever auth says, for they came with the process; given as a
    function they are looked for again whenever there are news of keys. News come from auth by way of `caller`, or from a `driver` in this process. `core` says that the process is one of the
    platform's: then the platform's services are judged by their own rules, and go on without auth until it is up;
    the platform's own accounts pass even when auth is away for long, or it could never come back.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        jwks: str | Callable[[], str],
        *,
        caller: Caller | None = None,
        driver: AuthDriver | None = None,
        core: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if driver is None and caller is not None:
            from micro.auth.remote import RemoteAuth

            driver = RemoteAuth(caller=caller)
        self.name = name
        self.namespace = namespace
        self._core = core
        self._driver = driver
        self._clock = clock
        self._monotonic = monotonic
        self._jwks = jwks
        self._first_keys = self._keys = key_set(jwks if isinstance(jwks, str) else jwks())
        self._keys_next = 0.0
        self._keys_failed = False
        self._keys_lock = asyncio.Lock()
        self._revoked = Revoked(monotonic)
        self._following: dict[str, Following] = {}
        self._seen: dict[bytes, Verified] = {}
        self._allowed: dict[tuple[str | None, str, str, str], bool] = {}
        self._good_until = 0.0  # of what is in `_allowed`
        self._started = 0.0

    async def start(self) -> None:
        """Begin to follow the guard's own namespace; does not wait for it."""
        self._started = self._monotonic()
        if self._driver is not None:
            self._follow(self.namespace)

    async def close(self) -> None:
        """Follow nothing any more; idempotent."""
        following, self._following = list(self._following.values()), {}
        for one in following:
            await one.close()

    # who

    def identify(self, authorization: bytes, *, audience: str = PLATFORM) -> Account:
        """Verify a value of `Authorization`; a token for the platform is good for services as well."""
        found = self._seen.get(authorization)
        if found is None or found.expires + SKEW <= self._clock():
            found = self._verify(authorization)
        account = found.account
        if audience not in account.audience and not (audience == SERVICES and PLATFORM in account.audience):
            raise Unauthenticated(f"the token is for {', '.join(account.audience)}, not for {audience}")
        return account

    def _verify(self, authorization: bytes) -> Verified:
        token = borne(authorization)
        try:
            found = verify(token, self._keys, now=self._clock())
        except UnknownKeyError:
            if self._driver is None or (self._monotonic() < self._keys_next and not self._keys_failed):
                _invalid()
            raise NotReadyError from None
        if self._revoked and self._covered(found.account, found.token_id, found.issued):
            raise Unauthenticated("token is revoked")
        if len(self._seen) >= TOKENS:
            del self._seen[next(iter(self._seen))]
        self._seen[authorization] = found
        return found

    def _covered(self, account: Account, token_id: str, at: int) -> bool:
        ids = (token_id, token_id.partition(".")[0])  # its own, and its login's
        tokens = tuple(token_digest(account.issuer, id) for id in ids)
        return self._revoked.covers(account_digest(account.issuer, account.id), tokens, at)

    # what

    def check(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Ask the rules. For the platform's own services these are the rules of the caller's own namespace."""
        key = (None if account is None else account.token, namespace, service, endpoint)
        if key in self._allowed and self._monotonic() < self._good_until:
            return
        self._decide(account, namespace, service, endpoint)
        if account is not None and not account.token:
            return  # nobody's in particular: a cached answer would be every such account's
        if len(self._allowed) >= DECISIONS:
            self._allowed.clear()
        self._allowed[key] = True
        self._good_until = self._known_until()

    def _decide(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        if endpoint == HEALTH:
            return
        resource = Resource(service, "service", endpoint)
        if self._is_platform(namespace, service):
            self._decide_platform(account, resource)
            return
        named = endpoint.startswith("Debug.")
        if named:
            _member(account, namespace)
        decision = self._rules(namespace, account, named=named).decide(account, resource, named=named)
        if not (decision.allowed or (named and decision.allowed is None)):
            forbid(account, resource, id=resource.name)

    def _is_platform(self, namespace: str, service: str) -> bool:
        if not self._core or service not in CORE_SERVICES:
            return False
        return service == self.name or namespace == CORE_NAMESPACE

    def _decide_platform(self, account: Account | None, resource: Resource) -> None:
        """Let accounts in that no rule naming the service refuses; the handlers ask for more, by membership."""
        service, _, endpoint = resource
        if (service, endpoint) in PUBLIC:
            return
        if account is None:
            raise Unauthenticated("an account is required", id=service)
        if endpoint.startswith("Debug.") and endpoint not in OPEN_DEBUG:
            _member(account, CORE_NAMESPACE)
        if service == "auth" and endpoint.startswith("Rules.") and account.is_admin:
            return  # so that nobody locks himself out
        decision = self._rules(account.issuer, account, named=True).decide(account, resource, named=True)
        if decision.allowed is False:
            forbid(account, resource, id=resource.name)

    def _rules(self, namespace: str, account: Account | None, *, named: bool) -> Rules:
        """Give the rules to decide by; raises NotReadyError when they are not known, or for too long not renewed.

        Without auth the platform must be able to start; but no rules let in only where those that name the service
        are asked (`named`), and elsewhere they would refuse everybody.
        """
        now = self._monotonic()
        found = self._following.get(namespace)
        if found is not None and found.rules is not None and now < found.good_until:
            return found.rules
        if not named:
            raise NotReadyError
        starting = self._core and namespace == CORE_NAMESPACE and now < self._started + STALE
        if (starting and (found is None or found.rules is None)) or (account is not None and account.is_core):
            return Rules(namespace, ())
        raise NotReadyError

    def _known_until(self) -> float:
        if not self._following:
            return self._started + STALE
        ends = [one.good_until for one in self._following.values() if one.rules is not None]
        return min(ends, default=0.0)

    def stands(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Judge anew an account that was let in once: see Guard."""
        if account is not None and account.token:
            if self._revoked and self._covered(account, *issued(account.token)):
                raise Unauthenticated("token is revoked")
            if account.expires + SKEW <= self._clock() and not (account.is_core or self._hears()):
                raise Unauthenticated("token is expired")
        with contextlib.suppress(NotReadyError):  # rules that are not here now are no reason to end anything
            self.check(account, namespace, service, endpoint)

    def _hears(self) -> bool:
        """Tell whether a revocation would be heard of: any namespace's watch tells all."""
        own = self._following.get(self.namespace)
        return own is not None and self._monotonic() < own.good_until

    # news

    async def prepare(self, authorization: bytes | None, namespace: str) -> None:
        """Fetch unknown keys; follow the namespace, and that of the token where the platform decides by it."""
        if self._driver is None:
            raise Unavailable("the rules are not known: nobody to ask")
        wanted = [namespace]
        if authorization is not None:
            try:
                await self._fetch_keys(borne(authorization))
                wanted.append(self._verify(authorization).account.issuer if self._core else namespace)
            except (Unauthenticated, NotReadyError):
                pass  # `identify` says so again, to whom it concerns
        for name in dict.fromkeys(wanted):
            await self._wait_for(self._follow(name))

    def _follow(self, namespace: str) -> Following:
        assert self._driver is not None
        found = self._following.pop(namespace, None)
        if found is None:
            found = Following(
                self._driver,
                namespace,
                self._revoked,
                changed=self._changed,
                new_keys=self._take_keys,
                clock=self._monotonic,
            )
            found.start()
        self._following[namespace] = found  # last: the first is the one asked about longest ago
        if len(self._following) > NAMESPACES:
            oldest = next(name for name in self._following if name != self.namespace)
            gone = self._following.pop(oldest)
            self._changed()
            gone.stop()
        return found

    async def _wait_for(self, one: Following) -> None:
        if one.live.is_set():
            return
        if one.rules is not None and self._monotonic() >= one.good_until:
            raise Unavailable(f"the rules of {one.namespace} are too old: auth is away")
        if one.rules is not None:
            return
        try:
            await asyncio.wait_for(one.live.wait(), PATIENCE)
        except TimeoutError:
            raise Unavailable(f"the rules of {one.namespace} are not known: auth is away") from None

    async def _fetch_keys(self, token: bytes) -> None:
        try:
            verify(token, self._keys, now=self._clock())
            return
        except UnknownKeyError:
            pass
        async with self._keys_lock:
            if self._monotonic() < self._keys_next:
                if self._keys_failed:
                    raise Unavailable("the keys are not known: auth is away")
                return
            assert self._driver is not None
            try:
                self._take_keys(await self._driver.keys())
                self._keys_failed = False
            except ServiceError as err:
                self._keys_failed = True
                raise Unavailable(f"the keys are not known: {err.detail}") from err
            finally:
                self._keys_next = self._monotonic() + (1.0 if self._keys_failed else KEYS_EVERY)

    def _take_keys(self, document: str) -> None:
        if not isinstance(self._jwks, str):
            with contextlib.suppress(ConfigError):  # a file that is damaged takes no key away
                self._first_keys = key_set(self._jwks())
        self._keys = self._first_keys.merged(KeySet(document))
        self._changed()

    def _changed(self) -> None:
        self._seen.clear()
        self._allowed.clear()


def _invalid() -> NoReturn:
    raise Unauthenticated(DEAD_TOKEN) from None


def _member(account: Account | None, namespace: str) -> None:
    if account is None:
        raise Unauthenticated("an account is required")
    if not account.is_platform and account.issuer != namespace:
        raise PermissionDenied("access denied to namespace")
