"""Who is calling: a user with a token that was not revoked, or the marketplace's back end with an API key."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Final, Generic, TypeVar

from chatserver.auth import Identity, Revoked, TokenVerifier
from chatserver.display_names import DisplayNames
from chatserver.hub.rates import TokenBucket
from chatserver.metrics import Metrics
from policies.errors import Forbidden, RateLimited, TokenExpired, Unauthenticated
from policies.vocabulary import ApiScope, UserId
from storage.api_keys import PREFIX, ApiKey, ApiKeys
from storage.revocations import Revocations

KEY_CHARS: Final = 200
KEY_CACHE_S: Final = 5.0
"""How long a revoked key may go on working, and a new one that was tried too early be refused."""
REVOCATION_CACHE_S: Final = 5.0
REMEMBERED: Final = 10_000
"""Keys, users and addresses remembered; the least recently used one goes first."""
FAILURES_PER_S: Final = 1.0
FAILURE_BURST: Final = 20

Monotonic = Callable[[], float]
K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Answers of a slower source, remembered for a few seconds and asked for once at a time.

    Args:
        source: answers for a key; its errors are passed on and not remembered.
        seconds: how long an answer holds.
        most: answers remembered.
    """

    def __init__(self, source: Callable[[K], Awaitable[V]], seconds: float, most: int, monotonic: Monotonic) -> None:
        self._source = source
        self._seconds = seconds
        self._most = most
        self._monotonic = monotonic
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asked: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: K) -> bool:
        """Whether asking for it now costs the source nothing."""
        known = self._known.get(key)
        return key in self._asked or (known is not None and known[0] > self._monotonic())

    async def get(self, key: K) -> V:
        known = self._known.get(key)
        if known is not None and known[0] > self._monotonic():
            self._known.move_to_end(key)
            return known[1]
        task = self._asked.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(key))
            # Its error belongs to those who wait; when all of them have gone away, to nobody.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asked[key] = task
        # One caller that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self, key: K) -> None:
        """Ask again next time."""
        self._known.pop(key, None)
        self._asked.pop(key, None)

    async def _ask(self, key: K) -> V:
        this = asyncio.current_task()
        try:
            answer = await self._source(key)
            # After ``forget`` this answer may be from before what made it stale.
            if self._asked.get(key) is this:
                self._known[key] = (self._monotonic() + self._seconds, answer)
                self._known.move_to_end(key)
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
            return answer
        finally:
            if self._asked.get(key) is this:
                del self._asked[key]


class FailedAttempts:
    """How many bad credentials an address may still show: a token bucket for each.

    Only failures are counted and only failures are refused, so nobody behind the same proxy is locked out by another's
    guesses. An IPv6 host commands a whole /64, so that counts as one address.
    """

    def __init__(self, rate: float = FAILURES_PER_S, burst: int = FAILURE_BURST, most: int = REMEMBERED) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def count(self, address: str, now: float) -> None:
        """Count a failure.

        Args:
            now: seconds of a clock that never goes back.
        Raises:
            RateLimited: when there were too many.
        """
        network = _network(address)
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(network)
        if wait := bucket.take(now):
            raise RateLimited("Too many bad credentials.", retry_after_ms=max(1, round(wait * 1000)))


@dataclass(frozen=True, slots=True)
class BackEnd:
    """The marketplace's back end, as its API key says. ``key_id`` names the key in logs; it does not open anything."""

    key_id: str
    name: str
    scopes: frozenset[ApiScope]

    def require(self, *scopes: ApiScope) -> None:
        """Check that the key has one of the scopes.

        Raises:
            Forbidden: it has none of them.
        """
        if not self.scopes & set(scopes):
            raise Forbidden("The API key lacks the scope for this.", details={"scopes": [str(each) for each in scopes]})


Caller = Identity | BackEnd


class Authenticator:
    """Says who calls.

    Args:
        verifier: of user tokens.
        keys: where API keys are kept, hashed.
        revocations: where revocations of users are kept.
        names: says which names of buyers and sellers may be shown; by default all.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        keys: ApiKeys,
        revocations: Revocations,
        metrics: Metrics,
        monotonic: Monotonic = time.monotonic,
        names: DisplayNames | None = None,
    ) -> None:
        self._verifier = verifier
        self._names = names
        self._metrics = metrics
        self._monotonic = monotonic
        self._failures = FailedAttempts()
        self._keys: Recent[str, ApiKey | None] = Recent(keys.check, KEY_CACHE_S, REMEMBERED, monotonic)
        self._good_keys: OrderedDict[bytes, None] = OrderedDict()
        self._revoked: Recent[UserId, datetime | None] = Recent(
            revocations.revoked_at, REVOCATION_CACHE_S, REMEMBERED, monotonic
        )

    async def user(self, token: str, address: str) -> Identity:
        """The user a token speaks for.

        Args:
            address: the client's network address, for the limit on failures.
        Raises:
            TokenExpired, Revoked, Unauthenticated: the token is not good any more, or never was.
            RateLimited: the token is bad, as were too many before from that address.
            Unavailable: it cannot be told just now.
        """
        try:
            identity = await self._verifier.verify(token)
        except TokenExpired:
            self._metrics.auth_failed("token_expired")
            raise
        except Unauthenticated:
            self._metrics.auth_failed("token")
            self._count_failure(address)
            raise
        await self.check_revoked(identity)
        return self._without_unfit_name(identity)

    async def check_revoked(self, identity: Identity) -> None:
        """Check that a user's access was not revoked since their token was issued.

        A token without the time of its issue counts as older than any revocation.

        Raises:
            Revoked: it was.
        """
        revoked_at = await self._revoked.get(identity.user_id)
        if revoked_at is not None and identity.issued_by(revoked_at):
            self._metrics.auth_failed("revoked")
            raise Revoked("Access was revoked.")

    def _without_unfit_name(self, identity: Identity) -> Identity:
        """The identity, with no name when others may not see the one of the token. Where there is none in it the id
        stands for it, which is the marketplace's and seen anyway."""
        if self._names is None or identity.role is not None or identity.name == identity.user_id:
            return identity
        return identity if self._names.fit(identity.name) else replace(identity, name="")

    def forget_revocation(self, user_id: UserId) -> None:
        """A user was revoked just now: look it up at the next check."""
        self._revoked.forget(user_id)

    async def caller(self, authorization: str | None, address: str) -> Caller:
        """Who an HTTP request is from, by its Authorization header (RFC 6750 2.1).

        Raises:
            As ``user``.
        """
        scheme, _, credential = (authorization or "").strip().partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated("An Authorization header with a bearer token is needed.")
        if credential.startswith(PREFIX):
            return await self._back_end(credential, address)
        return await self.user(credential, address)

    async def close(self) -> None:
        await self._verifier.close()

    async def _back_end(self, key: str, address: str) -> BackEnd:
        # A million made-up keys are a million different ones: each counts before MongoDB is asked for it. One that was
        # good before does not, or a back end could be locked out by another's guesses.
        digest = hashlib.sha256(key.encode()).digest()
        unheard_of = digest not in self._good_keys and key not in self._keys
        if unheard_of:
            self._count_failure(address)
        found = await self._keys.get(key) if len(key) <= KEY_CHARS else None
        if found is None:
            self._good_keys.pop(digest, None)
            if not unheard_of:
                self._count_failure(address)
            self._metrics.auth_failed("api_key")
            raise Unauthenticated("The API key is not valid.")
        self._good_keys[digest] = None
        self._good_keys.move_to_end(digest)
        if len(self._good_keys) > REMEMBERED:
            self._good_keys.popitem(last=False)
        return BackEnd(found.id, found.name, found.scopes)

    def _count_failure(self, address: str) -> None:
        try:
            self._failures.count(address, self._monotonic())
        except RateLimited:
            self._metrics.auth_failed("limited")
            raise


def _network(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or int(ip) >> 64)
    return address
