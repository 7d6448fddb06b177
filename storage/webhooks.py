"""The marketplace's endpoints for webhooks, and their secrets.

A secret signs what is sent, so the server has to be able to read it: it is kept as it is. Whoever can read the database
can sign; what they could sign about is in the database too. It is shown once, when it is made, and never again.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from policies.errors import Conflict, Unavailable
from policies.instant import instant
from policies.vocabulary import WebhookType
from storage.client import Database

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
SECRET_BYTES: Final = 32
ENDPOINTS: Final = 20
"""Most endpoints of a deployment: each event is queued for every one that wants it."""
LIVE_SECRETS: Final = 4
"""Most secrets of an endpoint that hold at the same time: each one is a signature in every request."""
_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret. ``expires_at``: it was replaced, and no longer signs from then on."""

    value: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where events are sent. No ``types``: all of them; a newer release may know more of them than this one.

    ``disabled_because`` says why nothing is sent, where it was not an operator's wish. ``enabled_at``: since when it
    is, this time.
    """

    id: str
    url: str
    description: str
    types: tuple[str, ...]
    enabled: bool
    disabled_because: str | None
    created_at: datetime
    enabled_at: datetime
    secrets: tuple[Secret, ...] = field(repr=False)

    def wants(self, event_type: str) -> bool:
        return not self.types or event_type in self.types

    def signing(self, now: datetime) -> list[str]:
        """The secrets that hold, the newest first."""
        return [secret.value for secret in self.secrets if secret.holds(now)]


class Webhooks:
    """Keeps endpoints. Every method raises ``policies.errors.Unavailable`` when there is no answer in time."""

    def __init__(self, database: Database) -> None:
        self._endpoints = database.collection("webhooks")
        self._streams = database.collection("webhook_streams")
        self._deliveries = database.collection("webhook_deliveries")

    async def create(
        self, url: str, types: Iterable[WebhookType], description: str, secret: bytes, now: datetime
    ) -> tuple[Endpoint, str]:
        """Add an endpoint. It is sent what happens from now on.

        Args:
            url: where to send; whoever calls has checked it.
            types: what to send; empty for everything.
            description: for the operator.
            secret: 32 fresh random bytes.
            now: the time.

        Returns:
            The endpoint, and its secret, which nobody can ask for again.

        Raises:
            Conflict: there are as many as there may be.
        """
        at = instant(now)
        if len(await self.list()) >= ENDPOINTS:
            raise Conflict(f"There are {ENDPOINTS} webhooks already.", details={"limit": ENDPOINTS})
        made = _make_secret(secret, at)
        endpoint = Endpoint(
            id="wh_" + hashlib.sha256(secret).hexdigest()[:16],
            url=url,
            description=description,
            types=tuple(sorted({each.value for each in types})),
            enabled=True,
            disabled_because=None,
            created_at=at,
            enabled_at=at,
            secrets=(made,),
        )
        await self._endpoints.insert_one(_encode(endpoint))
        return endpoint, made.value

    async def get(self, endpoint: str) -> Endpoint | None:
        """The endpoint, or None where there is none."""
        found = await self._endpoints.find_one({"_id": endpoint, "removed": False})
        return None if found is None else decode_endpoint(found)

    async def list(self) -> tuple[Endpoint, ...]:
        """All endpoints, oldest first."""
        found = await self._endpoints.find({"removed": False}, sort=[("created_at", 1), ("_id", 1)])
        return tuple(decode_endpoint(document) for document in found)

    async def change(
        self,
        endpoint: str,
        now: datetime,
        *,
        url: str | None = None,
        types: Iterable[WebhookType] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Endpoint | None:
        """Change what is given; the endpoint as it is then, None where there is none.

        What waits is sent to the new URL. While an endpoint is disabled its events wait; enabling it sends them.
        """
        values: dict[str, Any] = {"url": url, "description": description}
        if types is not None:
            values["types"] = sorted({each.value for each in types})
        given = {name: value for name, value in values.items() if value is not None}
        if enabled is not None:
            await self._switch(endpoint, enabled, None, now)
        if given:
            await self._endpoints.update_one({"_id": endpoint, "removed": False}, {"$set": given})
        return await self.get(endpoint)

    async def disable(self, endpoint: str, because: str, now: datetime) -> None:
        """Stop sending, for a reason that the operator is told."""
        await self._switch(endpoint, False, because, now)

    async def rotate(self, endpoint: str, secret: bytes, now: datetime, overlap: timedelta) -> tuple[Endpoint, str]:
        """Give an endpoint a new secret.

        Args:
            endpoint: the endpoint, which exists.
            secret: 32 fresh random bytes.
            now: the time.
            overlap: how long the secrets until now go on to sign beside the new one; those that are being replaced
                already keep an earlier end.

        Returns:
            The endpoint, and the new secret, which nobody can ask for again.

        Raises:
            KeyError: there is no such endpoint.
            Conflict: too many secrets hold at the same time already.
        """
        at = instant(now)
        made, end = _make_secret(secret, at), at + overlap
        for _ in range(_ATTEMPTS):
            found = await self._endpoints.find_one({"_id": endpoint, "removed": False})
            if found is None:
                raise KeyError(endpoint)
            replaced = [
                Secret(old.value, old.created_at, min(old.expires_at or end, end))
                for old in decode_endpoint(found).secrets
            ]
            kept = [old for old in replaced if old.holds(at)]
            if len(kept) >= LIVE_SECRETS:
                raise Conflict(
                    f"{LIVE_SECRETS} secrets hold already; rotate without overlap, or wait until one ends.",
                    details={"limit": LIVE_SECRETS},
                )
            update = {"$set": {"secrets": [_encode_secret(each) for each in (made, *kept)]}}
            if await self._endpoints.update_one({"_id": endpoint, "secrets": found["secrets"]}, update):
                changed = await self.get(endpoint)
                if changed is None:
                    raise KeyError(endpoint)
                return changed, made.value
        raise Unavailable("This webhook is being changed by too many at once.", retry_after_ms=1000)

    async def remove(self, endpoint: str) -> bool:
        """Forget an endpoint with all that waits for it. False where there is none.

        It is marked first: from then on nothing is queued for it, so nothing can be left behind.
        """
        if not await self._endpoints.update_one({"_id": endpoint}, {"$set": {"removed": True}}):
            return False
        await self._streams.delete_many({"endpoint": endpoint})
        await self._deliveries.delete_many({"endpoint": endpoint})
        return await self._endpoints.delete_one({"_id": endpoint}) == 1

    async def _switch(self, endpoint: str, enabled: bool, because: str | None, now: datetime) -> None:
        values: dict[str, Any] = {"enabled": enabled, "disabled_because": because}
        if enabled:
            values["enabled_at"] = instant(now)
        await self._endpoints.update_one({"_id": endpoint, "removed": False, "enabled": not enabled}, {"$set": values})


def _make_secret(secret: bytes, at: datetime) -> Secret:
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret is made from {SECRET_BYTES} bytes")
    return Secret(SECRET_PREFIX + base64.b64encode(secret).decode(), at)


def _encode(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "_id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "types": list(endpoint.types),
        "enabled": endpoint.enabled,
        "disabled_because": endpoint.disabled_because,
        "created_at": endpoint.created_at,
        "enabled_at": endpoint.enabled_at,
        "secrets": [_encode_secret(secret) for secret in endpoint.secrets],
        "removed": False,
        "queued": 0,
    }


def _encode_secret(secret: Secret) -> dict[str, Any]:
    return {"value": secret.value, "created_at": secret.created_at, "expires_at": secret.expires_at}


def decode_endpoint(document: Mapping[str, Any]) -> Endpoint:
    """The endpoint that a document holds."""
    return Endpoint(
        id=document["_id"],
        url=document["url"],
        description=document["description"],
        types=tuple(document["types"]),
        enabled=document["enabled"],
        disabled_because=document["disabled_because"],
        created_at=document["created_at"],
        enabled_at=document["enabled_at"],
        secrets=tuple(Secret(each["value"], each["created_at"], each["expires_at"]) for each in document["secrets"]),
    )
