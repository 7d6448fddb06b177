"""What the marketplace is to be told: written with the change that it tells of, delivered by the worker afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.vocabulary import DisputeId, WebhookType
from storage.client import Database, Session


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One event of a dispute. ``n`` counts a dispute's events from 1: they are delivered in this order."""

    dispute: DisputeId
    n: int
    type: WebhookType
    data: Mapping[str, Any]
    at: datetime

    @property
    def id(self) -> str:
        """The same for every delivery of this event, so that a receiver knows it again."""
        return f"{self.dispute}:{self.n}"


class Outbox:
    """Keeps events until they are delivered."""

    def __init__(self, database: Database) -> None:
        self._outbox = database.collection("outbox")

    async def put(self, events: Sequence[OutboxEvent], session: Session) -> None:
        """Add events, within the transaction that makes them happen."""
        if events:
            await self._outbox.insert_many([encode_event(event) for event in events], ordered=True, session=session)


def encode_event(event: OutboxEvent) -> dict[str, Any]:
    return {
        "_id": event.id,
        "dispute": event.dispute,
        "n": event.n,
        "type": event.type.value,
        "data": dict(event.data),
        "at": event.at,
        "waiting": True,  # until it is queued for the webhooks
    }


def decode_event(document: Mapping[str, Any]) -> OutboxEvent:
    return OutboxEvent(
        dispute=document["dispute"],
        n=document["n"],
        type=WebhookType(document["type"]),
        data=document["data"],
        at=document["at"],
    )
