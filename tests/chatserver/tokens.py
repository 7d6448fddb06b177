"""Tokens and key sets to attack the server with."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a-shared-secret-of-32-bytes-or-more"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def jwk(key: PrivateKey, kid: str | None, **members: Any) -> dict[str, Any]:
    """A public key as it is published."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        published = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        published = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        published = OKPAlgorithm.to_jwk(public, as_dict=True)
    return {**published, **({"kid": kid} if kid else {}), **members}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(claims, key, algorithm, headers=headers)


def forged(header: Any, payload: Any, secret: bytes | None = SECRET.encode()) -> str:
    """A token put together by hand; with an HMAC over it, or none."""
    signing_input = f"{_part(header)}.{_part(payload)}"
    signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest() if secret is not None else b""
    return f"{signing_input}.{_b64(signature)}"


def _part(value: Any) -> str:
    return _b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
