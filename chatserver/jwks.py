"""A published set of public keys (RFC 7517): fetched without blocking, cached, and kept when its source is down."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from policies.errors import Unavailable

MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
"""RFC 7518 3.3."""
FETCH_TIMEOUT_S: Final = 3.0
RETRY_S: Final = 5.0
"""Shortest pause between two fetches, so that made-up key ids and a failing source cost little."""

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm it verifies."""

    kid: str | None
    algorithm: str
    key: PublicKey


class InvalidKeySet(ValueError):
    """The document is not a JWKS."""


def parse_key_set(document: bytes) -> tuple[VerificationKey, ...]:
    """The usable keys of a JWKS.

    A key that cannot verify RS256, ES256 or EdDSA is left out: symmetric and private keys, other curves, RSA below
    2,048 bits, keys meant for encryption.

    Raises:
        InvalidKeySet: when it is not a JWKS at all.
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise InvalidKeySet("not JSON") from error
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise InvalidKeySet("no list of keys")
    keys = (_verification_key(item) for item in listed[:MAX_KEYS] if isinstance(item, dict))
    return tuple(key for key in keys if key is not None)


def _verification_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or "d" in jwk or not isinstance(operations, list) or "verify" not in operations:
        return None
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    declared = jwk.get("alg")
    try:
        # The declared algorithm is compared below: PyJWK must not choose the kind of key by it.
        key = PyJWK({name: value for name, value in jwk.items() if name != "alg"}).key
    except (PyJWTError, ValueError, TypeError, AttributeError, KeyError):
        return None
    algorithm = _algorithm(key)
    if algorithm is None or declared not in (None, algorithm):
        return None
    return VerificationKey(kid, algorithm, key)


def _algorithm(key: object) -> str | None:
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    return None


class KeySet:
    """The keys of one JWKS file or URL.

    A set older than ``cache_s`` is fetched again in the background while it is still used; one older than twice that
    (a server nobody logged in to for a while) is fetched first. A key id that is not in the set causes a fetch too,
    at most one every ``RETRY_S``. All callers share one fetch. While the source is down the last set stays in use.

    Args:
        source: path of a file, or an https URL (http on this machine only).
        cache_s: seconds a set counts as fresh.
        monotonic: seconds of a clock that never goes back.
    Raises:
        ValueError: for a URL that is not https.
    """

    def __init__(self, source: str, cache_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(source)
        self._is_url = parts.scheme in ("http", "https")
        self._is_local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.scheme == "http" and not self._is_local:
            raise ValueError("the JWKS URL must be https")
        self._source = source
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failed = False
        self._fetch: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key that a token's header asks for; None when there is no such key.

        Without a key id there must be exactly one key of that kind.

        Raises:
            Unavailable: when it cannot be told, because the source does not answer.
        """
        if self._fetched_at is None:
            await self._refresh()
        else:
            age = self._monotonic() - self._fetched_at
            if age > 2 * self._cache_s:
                await self._refresh()
            elif age > self._cache_s:
                self._begin_refresh()
        found = self._match(kid, algorithm)
        if found is None:
            await self._refresh()
            found = self._match(kid, algorithm)
        if found is None and self._failed:
            raise Unavailable(
                "The keys that tokens are checked with cannot be fetched.", retry_after_ms=int(RETRY_S * 1000)
            )
        return found

    async def close(self) -> None:
        """Give up a fetch under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._fetch

    def _match(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        fitting = [key for key in self._keys if key.algorithm == algorithm and kid in (None, key.kid)]
        return fitting[0] if len(fitting) == 1 else None

    def _begin_refresh(self) -> asyncio.Task[None] | None:
        if self._fetch is None:
            now = self._monotonic()
            if self._tried_at is not None and now - self._tried_at < RETRY_S:
                return None
            self._tried_at = now
            self._fetch = asyncio.create_task(self._load(), name="jwks")
        return self._fetch

    async def _refresh(self) -> None:
        if (fetch := self._begin_refresh()) is not None:
            # One caller that gives up must not end the fetch of all.
            await asyncio.shield(fetch)

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                document = await (self._get() if self._is_url else asyncio.to_thread(self._read))
            self._keys = parse_key_set(document)
            self._fetched_at = self._monotonic()
            self._failed = False
        except (OSError, httpx.HTTPError, TimeoutError, InvalidKeySet) as error:
            self._failed = True
            log.warning("jwks_unavailable", reason=type(error).__name__, known_keys=len(self._keys))
        finally:
            self._fetch = None

    def _read(self) -> bytes:
        with Path(self._source).open("rb") as file:
            document = file.read(MAX_BYTES + 1)
        if len(document) > MAX_BYTES:
            raise InvalidKeySet("too large")
        return document

    async def _get(self) -> bytes:
        # Redirects are not followed: who may name a key must be the host the operator named.
        async with (
            httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, trust_env=not self._is_local) as client,
            client.stream("GET", self._source, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise InvalidKeySet(f"status {response.status_code}")
            document = bytearray()
            async for chunk in response.aiter_bytes():
                document += chunk
                if len(document) > MAX_BYTES:
                    raise InvalidKeySet("too large")
            return bytes(document)
