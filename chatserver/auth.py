"""User tokens (JWT): what makes one acceptable, and whom it speaks for. ``chatserver.access`` asks all else."""

import json
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from jwt.exceptions import InvalidKeyError, PyJWTError

from chatserver.clock import Clock
from chatserver.jwks import KeySet
from chatserver.settings import MIN_SECRET_BYTES, Settings
from policies.errors import TokenExpired, Unauthenticated
from policies.identifiers import is_id, is_user_id
from policies.vocabulary import STAFF, Role, UserId

AUDIENCE: Final = "dispute-chat"
TOKEN_CHARS: Final = 8192
"""Longest token that is looked at."""
NAME_CHARS: Final = 128
"""Longest name that is kept; the rest is cut off."""
_JOINERS: Final = "\u200c\u200d"
_ASYMMETRIC: Final = frozenset({"RS256", "ES256", "EdDSA"})


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as their token says. ``role`` is None for buyers and sellers: those follow from the order. ``name`` is
    empty when others may not see the one of the token."""

    user_id: UserId
    name: str
    role: Role | None
    expires_at: datetime
    issued_at: datetime | None = None
    token_id: str | None = None

    def issued_by(self, time: datetime) -> bool:
        """Whether the token was issued up to a time. One that does not say when counts as older than any."""
        return self.issued_at is None or self.issued_at <= time


class Revoked(Unauthenticated):
    """The token was good until its user's access was revoked."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What makes a token acceptable.

    ``secret`` verifies HS256, the keys of ``jwks`` (file or https URL) verify RS256, ES256 and EdDSA; an empty one
    verifies nothing. ``issuer``: the required ``iss``, or empty. Durations are seconds.
    """

    secret: str = ""
    jwks: str = ""
    jwks_cache_s: float = 300.0
    issuer: str = ""
    leeway_s: float = 5.0

    @classmethod
    def of(cls, settings: Settings) -> "TokenRules":
        return cls(
            secret=settings.jwt_secret.get_secret_value(),
            jwks=settings.jwt_jwks,
            jwks_cache_s=settings.jwt_jwks_cache_s,
            issuer=settings.jwt_issuer,
            leeway_s=settings.jwt_leeway_s,
        )


class TokenVerifier:
    """Checks user tokens.

    The algorithm follows from the kind of key, never from the token alone: HS256 is only tried with the shared secret,
    and a public key only verifies the one algorithm of its kind (RFC 8725 3.1).

    Raises:
        ValueError: for a secret that is too short or is a public key, or a JWKS URL that is not https.
    """

    def __init__(self, rules: TokenRules, clock: Clock, keys: KeySet | None = None) -> None:
        if rules.secret:
            _check_secret(rules.secret)
        self._rules = rules
        self._clock = clock
        self._leeway = timedelta(seconds=rules.leeway_s)
        self._keys = keys if keys is not None or not rules.jwks else KeySet(rules.jwks, rules.jwks_cache_s)
        self._jws = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})

    async def verify(self, token: str) -> Identity:
        """The user a token speaks for.

        Raises:
            TokenExpired: when everything else about it is right.
            Unauthenticated: when it is not acceptable.
            Unavailable: when the public keys cannot be fetched.
        """
        key, algorithm = await self._key(token)
        try:
            payload = self._jws.decode(token, key, algorithms=[algorithm])
            claims = json.loads(payload)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise Unauthenticated("The token is not valid.") from error
        if not isinstance(claims, dict):
            raise Unauthenticated("The token is not valid.")
        return self._identity(claims)

    async def close(self) -> None:
        if self._keys is not None:
            await self._keys.close()

    async def _key(self, token: str) -> tuple[Any, str]:
        if len(token) > TOKEN_CHARS:
            raise Unauthenticated("The token is too long.")
        try:
            header = self._jws.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise Unauthenticated("The token is not valid.") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm == "HS256" and self._rules.secret:
            return self._rules.secret, "HS256"
        if self._keys is not None and algorithm in _ASYMMETRIC:
            found = await self._keys.find(kid, algorithm)
            if found is not None:
                return found.key, found.algorithm
        raise Unauthenticated("The token is not signed with a known key.")

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        """Every claim is checked before the expiry, so that ``token_expired`` means: a new token will do."""
        audience = claims.get("aud")
        if audience != AUDIENCE and not (isinstance(audience, list) and AUDIENCE in audience):
            raise Unauthenticated(f"The token's audience is not {AUDIENCE}.")
        if self._rules.issuer and claims.get("iss") != self._rules.issuer:
            raise Unauthenticated("The token's issuer is not accepted.")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not is_user_id(subject):
            raise Unauthenticated("The token's subject is not a user id.")
        role = claims.get("role")
        if role is not None and (not isinstance(role, str) or role not in STAFF):
            raise Unauthenticated("The token's role is not a staff role.")
        expires_at = _time(claims, "exp")
        if expires_at is None:
            raise Unauthenticated("The token has no expiry.")
        now = self._clock.now()
        issued_at, not_before = _time(claims, "iat"), _time(claims, "nbf")
        if any(at is not None and at > now + self._leeway for at in (issued_at, not_before)):
            raise Unauthenticated("The token is not valid yet.")
        if now - self._leeway >= expires_at:
            raise TokenExpired("The token has expired.")
        token_id = claims.get("jti")
        return Identity(
            user_id=UserId(subject),
            name=_name(claims.get("name")) or subject,
            role=Role(role) if role is not None else None,
            expires_at=expires_at,
            issued_at=issued_at,
            token_id=token_id if isinstance(token_id, str) and is_id(token_id) else None,
        )


def mint(
    secret: str,
    user_id: str,
    *,
    now: datetime,
    ttl: timedelta,
    name: str | None = None,
    role: Role | None = None,
    issuer: str = "",
    token_id: str | None = None,
) -> str:
    """An HS256 token for a user, as the marketplace would make it.

    Args:
        token_id: its ``jti``; a random one by default.
    Raises:
        ValueError: for a secret, user id or role that the server would not accept.
    """
    _check_secret(secret)
    if not is_user_id(user_id):
        raise ValueError("not a user id")
    if role is not None and role not in STAFF:
        raise ValueError("not a staff role")
    claims: dict[str, Any] = {
        "sub": user_id,
        "aud": AUDIENCE,
        "iat": int(now.timestamp()),
        "exp": int((now + ttl).timestamp()),
        "jti": token_id or uuid.uuid4().hex,
    }
    optional = {"name": name, "role": role.value if role else None, "iss": issuer or None}
    claims |= {claim: value for claim, value in optional.items() if value is not None}
    return jwt.encode(claims, secret, algorithm="HS256")


def _check_secret(secret: str) -> None:
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"the JWT secret must have at least {MIN_SECRET_BYTES} bytes")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except InvalidKeyError as error:
        raise ValueError("the JWT secret must not be a public key or certificate") from error


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    """A claim's time (RFC 7519 2, NumericDate)."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"The token's {name} is not a time.")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unauthenticated(f"The token's {name} is not a time.") from error


def _name(value: object) -> str:
    """A name to show: without control and direction characters (joiners stay, scripts need them), and not too long."""
    if not isinstance(value, str):
        return ""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    shown = "".join(char for char in value if char in _JOINERS or unicodedata.category(char) not in hidden)
    return shown.strip()[:NAME_CHARS]
