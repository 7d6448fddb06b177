"""What is to be sent to each webhook, and what became of it.

The outbox holds the events, each written in the transaction of what it tells. ``queue_new`` makes of every new one a
delivery for each endpoint that wants it. The deliveries of one dispute at one endpoint are a stream. A stream that has
something to send has a document, which says when it is due; a worker that sends holds its claim, so that a stream is
sent by one worker at a time and in order, whatever becomes of the other streams.

A stream's ``version`` grows with everything that is added to it. A worker that found nothing more to send lets the
stream go only if it still has the version that was read before looking, so what was added meanwhile is not left lying.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pymongo import UpdateOne

from policies.instant import instant
from storage.chain import KEY_SEPARATOR
from storage.client import Database, Document, Session
from storage.places import decode_place, encode_place
from storage.webhooks import Endpoint, decode_endpoint

EVENTS_AT_ONCE: Final = 200
"""Events that one transaction queues."""
LOGGED_ATTEMPTS: Final = 50
"""A delivery's log keeps its latest attempts."""


class DeliveryState(StrEnum):
    """What becomes of a delivery."""

    PENDING = "pending"
    """It waits for its turn, or for its next attempt."""
    DELIVERED = "delivered"
    PARKED = "parked"
    """It was tried for as long as it may be; those after it go on. It can be replayed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: when it began, how it ended, and how long it took in milliseconds."""

    at: datetime
    status: int | None
    error: str | None
    took_ms: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint.

    Args:
        event: its id, the same at every endpoint and for every attempt.
        stream: what it is in order with: a dispute.
        n: its place there.
        due_at: when it is sent at the earliest.
        begun_at: when it was queued, or replayed.
        attempts: failed ones since then.
        ended_at: when it was delivered or parked.
        log: its latest attempts, oldest first.
        revision: grows with every replay.
    """

    endpoint: str
    event: str
    stream: str
    n: int
    type: str
    at: datetime
    data: Mapping[str, Any]
    state: DeliveryState
    due_at: datetime
    begun_at: datetime
    attempts: int
    ended_at: datetime | None
    log: tuple[Attempt, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries; ``cursor`` asks for the next ones, None when there are no more."""

    deliveries: tuple[Delivery, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to send a stream, until ``until``, and what of the stream it has seen."""

    endpoint: str
    stream: str
    token: str
    until: datetime
    version: int


class _Gone(Exception):
    """Somebody else queued these events, or an endpoint went away meanwhile."""


class Deliveries:
    """Keeps deliveries and streams.

    Two times are told apart: ``now`` is that of the deployment, which a sandbox moves; ``real`` is that of the claims.
    Every method raises ``policies.errors.Unavailable`` when there is no answer in time.

    Args:
        database: where.
        keeping: how long events, and deliveries that ended, are kept.
    """

    def __init__(self, database: Database, keeping: timedelta) -> None:
        self._database = database
        self._keeping = keeping
        self._outbox = database.collection("outbox")
        self._endpoints = database.collection("webhooks")
        self._streams = database.collection("webhook_streams")
        self._deliveries = database.collection("webhook_deliveries")

    # Queueing

    async def queue_new(self, now: datetime) -> int:
        """Queue some of the events that are new, for all endpoints that want them.

        Returns:
            How many were queued; more may be waiting unless it is 0. It is 0, too, when another worker was faster.
        """
        if await self._outbox.find_one({"waiting": True}, projection={"_id": 1}) is None:
            return 0

        async def work(session: Session) -> int:
            # Read in the transaction: of one moment. Where an event of a dispute is seen, so are those before it.
            events = await self._outbox.find(
                {"waiting": True}, sort=[("dispute", 1), ("n", 1)], limit=EVENTS_AT_ONCE, session=session
            )
            query = {"_id": {"$in": [event["_id"] for event in events]}, "waiting": True}
            update = {"$unset": {"waiting": ""}, "$set": {"expires_at": instant(now + self._keeping)}}
            if await self._outbox.update_many(query, update, session=session) != len(events):
                raise _Gone
            for found in await self._endpoints.find({"removed": False}, session=session):
                endpoint = decode_endpoint(found)
                wanted = [event for event in events if endpoint.wants(event["type"])]
                await self._queue(endpoint.id, wanted, now, session)
            return len(events)

        try:
            return await self._database.transact(work)
        except _Gone:
            return 0

    async def replay_event(self, endpoint: str, event: str, now: datetime) -> bool:
        """Send an event again, or at last. False when the endpoint has no such delivery."""
        found = await self._deliveries.find_one({"_id": _key(endpoint, event)})
        if found is None:
            return False
        return await self._requeue(endpoint, [_event_of(found)], now) == 1

    async def replay_parked(self, endpoint: str, now: datetime) -> int:
        """Send all that is parked at an endpoint; how many that is."""
        replayed = 0
        parked = {"endpoint": endpoint, "state": DeliveryState.PARKED.value, "ended_at": {"$lte": instant(now)}}
        while found := await self._deliveries.find(parked, limit=EVENTS_AT_ONCE):
            done = await self._requeue(endpoint, [_event_of(document) for document in found], now)
            if not done:  # the endpoint was removed
                break
            replayed += done
        return replayed

    async def replay_since(self, endpoint: Endpoint, since: datetime, now: datetime) -> int:
        """Send all that happened since a time, is still kept, and is wanted by the endpoint; how many that is.

        Also what happened before the endpoint was added, and what it was sent successfully.
        """
        replayed = 0
        query: dict[str, Any] = {"at": {"$gte": instant(since), "$lte": instant(now)}, "waiting": {"$ne": True}}
        after: dict[str, Any] = {}
        while found := await self._outbox.find(
            {"$and": [query, after]}, sort=[("at", 1), ("_id", 1)], limit=EVENTS_AT_ONCE
        ):
            wanted = [event for event in found if endpoint.wants(event["type"])]
            if wanted and not await self._requeue(endpoint.id, wanted, now):
                break
            replayed += len(wanted)
            last = found[-1]
            after = {"$or": [{"at": {"$gt": last["at"]}}, {"at": last["at"], "_id": {"$gt": last["_id"]}}]}
        return replayed

    async def _requeue(self, endpoint: str, events: Sequence[Document], now: datetime) -> int:
        async def work(session: Session) -> int:
            await self._queue(endpoint, events, now, session)
            return len(events)

        try:
            return await self._database.transact(work)
        except _Gone:
            return 0

    async def _queue(self, endpoint: str, events: Sequence[Document], now: datetime, session: Session) -> None:
        """Make deliveries pending, and their streams due."""
        if not events:
            return
        # The endpoint's document is written, so that this and its removal exclude each other.
        query = {"_id": endpoint, "removed": False}
        if not await self._endpoints.update_one(query, {"$inc": {"queued": len(events)}}, session=session):
            raise _Gone
        at = instant(now)
        await self._deliveries.bulk_write([_pending(endpoint, event, at) for event in events], session=session)
        streams = {event["dispute"] for event in events}
        await self._streams.bulk_write([_grown(endpoint, stream, at) for stream in streams], session=session)
        await self._streams.bulk_write(
            [UpdateOne({"_id": _key(endpoint, each), "token": None}, {"$min": {"due_at": at}}) for each in streams],
            session=session,
        )

    # Sending

    async def claim(
        self, endpoint: str, token: str, now: datetime, real: datetime, until: datetime, limit: int
    ) -> list[Claim]:
        """Claim streams of an endpoint that are due, those that are due longest first.

        Args:
            endpoint: whose.
            token: fresh and unlike any other.
            now: the deployment's time: what is due by then.
            real: the real time: claims until then have lapsed.
            until: in real time, how long the claims last.
            limit: most streams.
        """
        free = {"$or": [{"token": None}, {"until": {"$lte": instant(real)}}]}
        due = {"endpoint": endpoint, "due_at": {"$lte": instant(now)}, **free}
        found = await self._streams.find(due, projection={"_id": 1}, sort=[("due_at", 1)], limit=limit)
        if not found:
            return []
        held = {"$set": {"token": token, "until": instant(until)}}
        await self._streams.bulk_write([UpdateOne({"_id": each["_id"], **free}, held) for each in found])
        mine = await self._streams.find({"_id": {"$in": [each["_id"] for each in found]}, "token": token})
        return [_decode_claim(document) for document in mine]

    async def renew(self, claim: Claim, until: datetime) -> Claim | None:
        """Hold a claim for longer, and see what was added; None when it was lost."""
        found = await self._streams.find_one_and_update(_held(claim), {"$set": {"until": instant(until)}})
        return None if found is None else _decode_claim(found)

    async def first(self, claim: Claim) -> Delivery | None:
        """The delivery whose turn it is in a stream; None when nothing is left."""
        query = {"endpoint": claim.endpoint, "state": DeliveryState.PENDING.value, "stream": claim.stream}
        found = await self._deliveries.find_one(query, sort=[("n", 1)])
        return None if found is None else _decode(found)

    async def finish(self, claim: Claim) -> bool:
        """Let a stream go that has nothing to send. False when something was added, or the claim was lost."""
        return await self._streams.delete_one({**_held(claim), "version": claim.version}) == 1

    async def release(self, claim: Claim, due_at: datetime) -> bool:
        """Give a stream back until a time. False when something was added, or the claim was lost."""
        update = {"$set": {"token": None, "until": None, "due_at": instant(due_at)}}
        return await self._streams.update_one({**_held(claim), "version": claim.version}, update) == 1

    async def abandon(self, claims: Iterable[Claim]) -> None:
        """Give streams back as they are, for other workers to go on with."""
        writes = [UpdateOne(_held(claim), {"$set": {"token": None, "until": None}}) for claim in claims]
        if writes:
            await self._streams.bulk_write(writes)

    # What became of an attempt. A delivery that was replayed meanwhile stays pending: it is sent once more.

    async def delivered(self, delivery: Delivery, attempt: Attempt, now: datetime) -> None:
        """The endpoint has taken it."""
        await self._write(delivery, attempt, self._ended(DeliveryState.DELIVERED, now))

    async def parked(self, delivery: Delivery, attempt: Attempt, now: datetime) -> None:
        """It was tried for long enough."""
        ended = self._ended(DeliveryState.PARKED, now)
        await self._write(delivery, attempt, {**ended, "attempts": delivery.attempts + 1})

    async def failed(self, delivery: Delivery, attempt: Attempt, due_at: datetime) -> None:
        """It is to be tried again at a time."""
        await self._write(delivery, attempt, {"due_at": instant(due_at), "attempts": delivery.attempts + 1})

    def _ended(self, state: DeliveryState, now: datetime) -> dict[str, Any]:
        at = instant(now)
        return {"state": state.value, "ended_at": at, "expires_at": instant(at + self._keeping)}

    async def _write(self, delivery: Delivery, attempt: Attempt, values: dict[str, Any]) -> None:
        query = {
            "_id": _key(delivery.endpoint, delivery.event),
            "state": DeliveryState.PENDING.value,
            "revision": delivery.revision,
            "attempts": delivery.attempts,
        }
        log = {"$push": {"log": {"$each": [_encode_attempt(attempt)], "$slice": -LOGGED_ATTEMPTS}}}
        await self._deliveries.update_one(query, {"$set": values, **log})

    # Reading

    async def get(self, endpoint: str, event: str) -> Delivery | None:
        """The delivery of an event to an endpoint."""
        found = await self._deliveries.find_one({"_id": _key(endpoint, event)})
        return None if found is None else _decode(found)

    async def page(
        self, endpoint: str, states: Collection[DeliveryState], limit: int, cursor: str | None = None
    ) -> DeliveryPage:
        """Deliveries to an endpoint, what happened last first.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        query: dict[str, Any] = {"endpoint": endpoint, "state": {"$in": sorted(state.value for state in states)}}
        if cursor is not None:
            at, key = decode_place(cursor)
            query["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$gt": key}}]
        found = await self._deliveries.find(query, sort=[("at", -1), ("_id", 1)], limit=limit + 1)
        more = encode_place(found[limit - 1]["at"], found[limit - 1]["_id"]) if len(found) > limit else None
        return DeliveryPage(tuple(_decode(document) for document in found[:limit]), more)

    async def counts(self, endpoint: str) -> dict[DeliveryState, int]:
        """How many deliveries to an endpoint are pending, and how many parked."""
        counts = {DeliveryState.PENDING: 0, DeliveryState.PARKED: 0}
        query = {"endpoint": endpoint, "state": {"$in": sorted(state.value for state in counts)}}
        for group in await self._deliveries.aggregate(
            [{"$match": query}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
        ):
            counts[DeliveryState(group["_id"])] = group["count"]
        return counts


def _key(endpoint: str, part: str) -> str:
    return f"{endpoint}{KEY_SEPARATOR}{part}"


def _held(claim: Claim) -> dict[str, Any]:
    return {"_id": _key(claim.endpoint, claim.stream), "token": claim.token}


def _event_of(delivery: Document) -> Document:
    """The event of a delivery, as the outbox has it."""
    kept = {name: delivery[name] for name in ("n", "type", "at", "data")}
    return {"_id": delivery["event"], "dispute": delivery["stream"], **kept}


def _pending(endpoint: str, event: Document, at: datetime) -> UpdateOne:
    """Queue an event for an endpoint, for the first time or again."""
    made = {
        "endpoint": endpoint,
        "event": event["_id"],
        "stream": event["dispute"],
        **{name: event[name] for name in ("n", "type", "at", "data")},
        "log": [],
    }
    begun = {"state": DeliveryState.PENDING.value, "due_at": at, "begun_at": at, "attempts": 0, "ended_at": None}
    update = {"$setOnInsert": made, "$set": begun, "$inc": {"revision": 1}, "$unset": {"expires_at": ""}}
    return UpdateOne({"_id": _key(endpoint, event["_id"])}, update, upsert=True)


def _grown(endpoint: str, stream: str, at: datetime) -> UpdateOne:
    made = {"endpoint": endpoint, "stream": stream, "due_at": at, "token": None, "until": None}
    update = {"$inc": {"version": 1}, "$setOnInsert": made}
    return UpdateOne({"_id": _key(endpoint, stream)}, update, upsert=True)


def _decode_claim(document: Document) -> Claim:
    return Claim(document["endpoint"], document["stream"], document["token"], document["until"], document["version"])


def _encode_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": instant(attempt.at),
        "status": attempt.status,
        "error": attempt.error,
        "took_ms": attempt.took_ms,
    }


def _decode(document: Document) -> Delivery:
    return Delivery(
        endpoint=document["endpoint"],
        event=document["event"],
        stream=document["stream"],
        n=document["n"],
        type=document["type"],
        at=document["at"],
        data=document["data"],
        state=DeliveryState(document["state"]),
        due_at=document["due_at"],
        begun_at=document["begun_at"],
        attempts=document["attempts"],
        ended_at=document["ended_at"],
        log=tuple(Attempt(each["at"], each["status"], each["error"], each["took_ms"]) for each in document["log"]),
        revision=document["revision"],
    )
