"""API keys of the marketplace's back end. Only their SHA-256 is kept: a key has 256 bits of its own, so nothing slower
than a plain hash is needed against guessing, and what is stored is of no use to whoever reads it."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from policies.instant import instant
from policies.vocabulary import ApiScope
from storage.client import Database

PREFIX: Final = "dck_"
"""Lets secret scanners recognise a leaked key."""
SECRET_BYTES: Final = 32
_ID_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key. ``id`` names it in lists and logs; it does not open anything."""

    id: str
    name: str
    scopes: frozenset[ApiScope]
    created_at: datetime
    revoked_at: datetime | None = None


class ApiKeys:
    """Keeps API keys. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._keys = database.collection("api_keys")

    async def create(self, name: str, scopes: Iterable[ApiScope], secret: bytes, now: datetime) -> tuple[ApiKey, str]:
        """Make a key.

        Args:
            name: what it is for, for the operator.
            scopes: what it may do.
            secret: 32 fresh random bytes.
            now: the time.

        Returns:
            What is known of it, and the key itself, which nobody can ask for again.
        """
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a key is made from {SECRET_BYTES} bytes")
        key = PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        digest = _digest(key).hex()
        made = ApiKey(digest[:_ID_CHARS], name, frozenset(scopes), instant(now))
        await self._keys.insert_one(
            {
                "_id": digest,
                "name": name,
                "scopes": sorted(scope.value for scope in made.scopes),
                "created_at": made.created_at,
            }
        )
        return made, key

    async def check(self, key: str) -> ApiKey | None:
        """What a presented key may do; None for one that is unknown or revoked."""
        return await self.find(_digest(key))

    async def find(self, digest: bytes) -> ApiKey | None:
        """``check`` for callers that keep no keys, only their SHA-256. How long it takes says nothing about any key:
        what is compared is a hash, which nobody can choose."""
        found = await self._keys.find_one({"_id": digest.hex()})
        if found is None:
            return None
        known = _decode(found)
        return None if known.revoked_at is not None else known

    async def revoke(self, key_id: str, now: datetime) -> bool:
        """Take a key back. False when there is none of this id, or it was revoked already."""
        if len(key_id) != _ID_CHARS:
            return False
        query = {"_id": {"$gte": key_id, "$lt": key_id + "g"}, "revoked_at": {"$exists": False}}  # "g" is after hex
        return await self._keys.update_one(query, {"$set": {"revoked_at": instant(now)}}) == 1

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first."""
        return tuple(_decode(found) for found in await self._keys.find({}, sort=[("created_at", 1), ("_id", 1)]))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _decode(document: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=document["_id"][:_ID_CHARS],
        name=document["name"],
        scopes=frozenset(ApiScope(scope) for scope in document["scopes"]),
        created_at=document["created_at"],
        revoked_at=document.get("revoked_at"),
    )
