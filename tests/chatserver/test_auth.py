"""User tokens: what is accepted, and every attack that must not be."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from chatserver.auth import NAME_CHARS, TOKEN_CHARS, TokenRules, TokenVerifier, mint
from chatserver.settings import Settings
from policies.errors import TokenExpired, Unauthenticated
from policies.vocabulary import Role
from tests.chatserver.moving_time import NOW, HandClock
from tests.chatserver.tokens import EC_KEY, ED_KEY, RSA_KEY, SECRET, forged, jwk, jwks, pem, signed

NOW_S = int(NOW.timestamp())
HEADER = {"alg": "HS256", "typ": "JWT"}


def claims(**changed: Any) -> dict[str, Any]:
    """Claims of an acceptable token; a change to None removes the claim."""
    good = {"sub": "buyer-1", "aud": "dispute-chat", "exp": NOW_S + 3600, "iat": NOW_S}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def verifier(**rules: Any) -> TokenVerifier:
    return TokenVerifier(TokenRules(**{"secret": SECRET, **rules}), HandClock())


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(RSA_KEY, "r1"), jwk(EC_KEY, "e1"), jwk(ED_KEY, "d1")))
    return path


async def test_a_users_token_says_who_they_are() -> None:
    identity = await verifier().verify(signed(claims(name="Ada", jti="t-1")))
    assert identity.user_id == "buyer-1"
    assert identity.name == "Ada"
    assert identity.role is None
    assert identity.expires_at == NOW + timedelta(hours=1)
    assert identity.issued_at == NOW
    assert identity.token_id == "t-1"


@pytest.mark.parametrize("role", ["agent", "senior_agent", "auditor"])
async def test_staff_roles_come_from_the_token(role: str) -> None:
    assert (await verifier().verify(signed(claims(role=role)))).role is Role(role)


async def test_optional_claims_may_be_missing() -> None:
    identity = await verifier().verify(signed(claims(iat=None)))
    assert (identity.issued_at, identity.token_id, identity.name) == (None, None, "buyer-1")


async def test_an_audience_may_be_one_of_several() -> None:
    await verifier().verify(signed(claims(aud=["shop", "dispute-chat"])))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("  Ada Lovelace ", "Ada Lovelace"),
        ("A\u202eda\x00\n", "Ada"),
        ("ن\u200cم", "ن\u200cم"),
        ("x" * 200, "x" * NAME_CHARS),
        ("\u200e\n", "buyer-1"),
        (17, "buyer-1"),
    ],
    ids=["spaces", "controls", "joiner", "long", "nothing left", "no text"],
)
async def test_a_name_is_made_fit_to_show(name: object, shown: str) -> None:
    assert (await verifier().verify(signed(claims(name=name)))).name == shown


@pytest.mark.parametrize("sub", ["u", "u" * 128, "auth0|5f7", "Zoë Müller", "a/b?c#d"])
async def test_a_marketplaces_ids_are_taken_as_they_are(sub: str) -> None:
    assert (await verifier().verify(signed(claims(sub=sub)))).user_id == sub


REFUSED_CLAIMS: dict[str, dict[str, Any]] = {
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject too long": {"sub": "u" * 129},
    "numeric subject": {"sub": 7},
    "subject with a separator": {"sub": "a\x1fb"},
    "subject with a line break": {"sub": "a\nb"},
    "half a surrogate pair": {"sub": "a\ud800"},
    "the server's own name": {"sub": "system"},
    "no audience": {"aud": None},
    "another audience": {"aud": "shop"},
    "other audiences": {"aud": ["shop", "mail"]},
    "audience by prefix": {"aud": "dispute-chat-admin"},
    "audience as an object": {"aud": {"dispute-chat": True}},
    "no expiry": {"exp": None},
    "expiry as text": {"exp": str(NOW_S + 60)},
    "expiry as truth": {"exp": True},
    "expiry beyond the calendar": {"exp": 10**18},
    "expiry beyond a float": {"exp": 10**400},
    "not valid yet": {"nbf": NOW_S + 6},
    "issued in the future": {"iat": NOW_S + 6},
    "issue time as text": {"iat": "yesterday"},
    "role of a party": {"role": "buyer"},
    "role of the server": {"role": "system"},
    "unknown role": {"role": "admin"},
    "empty role": {"role": ""},
    "roles as a list": {"role": ["agent"]},
}


@pytest.mark.parametrize("changed", REFUSED_CLAIMS.values(), ids=REFUSED_CLAIMS.keys())
async def test_refused_claims(changed: dict[str, Any]) -> None:
    # By hand: the library that signs would refuse some of these itself.
    with pytest.raises(Unauthenticated):
        await verifier().verify(forged(HEADER, claims(**changed)))


FORGERIES: dict[str, str] = {
    "alg none": forged({"alg": "none"}, claims(), None),
    "alg None": forged({"alg": "None"}, claims(), None),
    "alg none, still signed": forged({"alg": "none"}, claims()),
    "alg empty": forged({"alg": ""}, claims()),
    "alg missing": forged({"typ": "JWT"}, claims()),
    "alg as a list": forged({"alg": ["HS256"]}, claims()),
    "no signature": forged(HEADER, claims(), None),
    "another secret": forged(HEADER, claims(), b"another-secret-of-32-bytes-or-more"),
    "another hash": signed(claims(), SECRET * 2, "HS512"),
    "the hash of the secret renamed": forged({"alg": "HS384"}, claims()),
    "a public key, none configured": signed(claims(), RSA_KEY, "RS256"),
    "a key in the header": signed(claims(), RSA_KEY, "RS256", jwk=jwk(RSA_KEY, None)),
    "a key's address in the header": signed(claims(), RSA_KEY, "RS256", jku="http://127.0.0.1:1/jwks"),
    "an unknown critical header": forged({**HEADER, "crit": ["x"], "x": 1}, claims()),
    "a detached payload": forged({**HEADER, "b64": False, "crit": ["b64"]}, claims()),
    "claims that are a list": forged(HEADER, [claims()]),
    "claims that are no JSON": forged(HEADER, b"{"),
    "claims that are no text": forged(HEADER, b"\xff\xfe"),
    "claims nested without end": forged(HEADER, b"[" * 5000),
    "not a number as expiry": forged(HEADER, b'{"sub":"u","aud":"dispute-chat","exp":NaN}'),
    "no end": forged(HEADER, b'{"sub":"u","aud":"dispute-chat","exp":Infinity}'),
    "a header that is no object": forged([], claims()),
    "a key id that is no text": forged({**HEADER, "kid": 7}, claims()),
    "two parts": "a.b",
    "five parts, encrypted": "a.b.c.d.e",
    "empty": "",
    "no ASCII": "é.é.é",
    "too long": "a" * (TOKEN_CHARS + 1),
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
async def test_forgeries(token: str) -> None:
    with pytest.raises(Unauthenticated):
        await verifier().verify(token)


async def test_a_changed_payload_is_refused() -> None:
    head, _, signature = signed(claims()).split(".")
    other = signed(claims(sub="seller-1")).split(".")[1]
    with pytest.raises(Unauthenticated):
        await verifier().verify(f"{head}.{other}.{signature}")


async def test_a_token_of_the_longest_length_is_looked_at() -> None:
    filler = TOKEN_CHARS - len(signed(claims(pad="x" * 3)))
    token = signed(claims(pad="x" * (3 + filler * 3 // 4)))
    assert TOKEN_CHARS - 4 <= len(token) <= TOKEN_CHARS
    await verifier().verify(token)


async def test_expiry_counts_from_the_second_it_names_with_some_leeway() -> None:
    clock = HandClock()
    checks = TokenVerifier(TokenRules(secret=SECRET, leeway_s=5), clock)
    token = signed(claims(exp=NOW_S + 60))
    clock.advance(64.999)
    await checks.verify(token)
    clock.advance(0.001)
    with pytest.raises(TokenExpired):
        await checks.verify(token)


async def test_leeway_covers_a_clock_that_is_behind() -> None:
    await verifier(leeway_s=5).verify(signed(claims(nbf=NOW_S + 5, iat=NOW_S + 5)))


@pytest.mark.parametrize("changed", [{"aud": "shop"}, {"sub": ""}, {"role": "admin"}])
async def test_expired_means_that_nothing_else_is_wrong(changed: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        await verifier().verify(signed(claims(exp=NOW_S - 60, **changed)))


async def test_a_forged_token_is_never_called_expired() -> None:
    with pytest.raises(Unauthenticated):
        await verifier().verify(forged(HEADER, claims(exp=NOW_S - 60), b"another-secret-of-32-bytes-or-more"))


async def test_the_issuer_is_checked_where_one_is_required() -> None:
    checks = verifier(issuer="https://shop.example")
    await checks.verify(signed(claims(iss="https://shop.example")))
    for wrong in ("https://evil.example", None):
        with pytest.raises(Unauthenticated):
            await checks.verify(signed(claims(iss=wrong)))
    await verifier().verify(signed(claims(iss="anything")))


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA_KEY, "RS256", "r1"), (EC_KEY, "ES256", "e1"), (ED_KEY, "EdDSA", "d1")]
)
async def test_published_keys_verify_their_own_algorithm(key: Any, algorithm: str, kid: str, key_file: Path) -> None:
    checks = verifier(jwks=str(key_file))
    assert (await checks.verify(signed(claims(), key, algorithm, kid=kid))).user_id == "buyer-1"
    assert (await checks.verify(signed(claims(), key, algorithm))).user_id == "buyer-1"
    await checks.close()


async def test_key_confusion_is_refused(key_file: Path) -> None:
    public_only = TokenVerifier(TokenRules(jwks=str(key_file)), HandClock())
    attacks = [
        forged({"alg": "HS256", "kid": "r1"}, claims(), pem(RSA_KEY)),
        forged({"alg": "HS256", "kid": "r1"}, claims(), json.dumps(jwk(RSA_KEY, "r1")).encode()),
        forged({"alg": "HS256"}, claims(), b""),
        signed(claims(), EC_KEY, "ES256", kid="r1"),
        signed(claims(), RSA_KEY, "RS512", kid="r1"),
        signed(claims(), RSA_KEY, "PS256", kid="r1"),
        signed(claims(), EC_KEY, "ES256", kid="unknown"),
        forged({"alg": "none", "kid": "r1"}, claims(), None),
    ]
    for token in attacks:
        with pytest.raises(Unauthenticated):
            await public_only.verify(token)
        with pytest.raises(Unauthenticated):
            await verifier(jwks=str(key_file)).verify(token)


def test_an_unsafe_secret_is_refused_at_the_start() -> None:
    TokenVerifier(TokenRules(secret="s" * 32), HandClock())
    for secret in ("s" * 31, pem(RSA_KEY).decode()):
        with pytest.raises(ValueError, match="secret"):
            TokenVerifier(TokenRules(secret=secret), HandClock())


def test_a_key_set_over_plain_http_is_refused() -> None:
    with pytest.raises(ValueError, match="https"):
        TokenVerifier(TokenRules(jwks="http://keys.example/jwks"), HandClock())


def test_rules_come_from_the_settings() -> None:
    settings = Settings(jwt_secret=SecretStr(SECRET), jwt_jwks="k.json", jwt_issuer="me", jwt_leeway_s=1)
    assert TokenRules.of(settings) == TokenRules(SECRET, "k.json", 300.0, "me", 1)


async def test_a_minted_token_is_accepted() -> None:
    token = mint(
        SECRET,
        "agent-1",
        now=NOW,
        ttl=timedelta(minutes=5),
        name="Grace",
        role=Role.AGENT,
        issuer="me",
        token_id="t",
    )
    identity = await verifier(issuer="me").verify(token)
    assert (identity.user_id, identity.name, identity.role, identity.token_id) == ("agent-1", "Grace", Role.AGENT, "t")
    assert identity.expires_at == NOW + timedelta(minutes=5)


def test_minted_tokens_differ() -> None:
    assert mint(SECRET, "u", now=NOW, ttl=timedelta(1)) != mint(SECRET, "u", now=NOW, ttl=timedelta(1))


@pytest.mark.parametrize(
    "wrong",
    [{"secret": "short"}, {"user_id": ""}, {"user_id": "system"}, {"role": Role.BUYER}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_nothing_is_minted_that_the_server_would_refuse(wrong: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"secret": SECRET, "user_id": "u", "now": NOW, "ttl": timedelta(1), **wrong}
    with pytest.raises(ValueError, match=r"secret|user id|role"):
        mint(**asked)
