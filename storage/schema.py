"""The collections with their indexes and validators, and the version of all that.

What each index is for stands beside it. ``entries`` has two, and others only of the few entries that are flagged: the
cost of an append is the cost of its indexes. The validators are a safety net under the code that writes: they refuse
what would corrupt the record, and do not describe what the code may change from version to version.

Sharding plan
-------------
One shard holds all of a room, so that everything on the way of a message touches one shard.

* ``entries``: shard key {room: 1}, range-based, chunks split between rooms. An unordered insert_many is split by mongos
  into one insert for each shard and stays one round trip. The unique index (room, seq) begins with the shard key, so it
  holds across the cluster. ``_id`` is unique on each shard only, which suffices: it begins with the room, and all of a
  room is on one shard. head, read_after, read_before, find and erase name one room: one shard. ``heads`` goes to the
  shards that own the rooms; while MongoDB cannot do a DISTINCT_SCAN under a shard filter (before 8.1), it reads the
  index keys of the whole rooms there, and is better replaced by one ``head`` for each room.
* ``evidence`` and ``holds``: {_id: 1}. Evidence is asked for by id, and by room where a page of it is shown; only a
  message that cites some needs it.
* ``rooms`` and ``cursors``: shard key {_id: 1} (a cursor's id begins with its room). ``Rooms.facts``,
  ``Cursors.advance``, ``of_room`` name ids: one shard each. ``Rooms.of_user`` asks all shards; it is not on the way of
  a message.
* ``orders`` and ``order_events``: {_id: 1}. A change of an order is a transaction of its document, its events, its room
  and one entry: two to four shards, at the pace of a marketplace's back end, not of its chat.
* ``disputes`` and ``claims``: {_id: 1}; ``outbox``: {dispute: 1}, so that what one dispute tells stays together and in
  order. A change of state is a transaction of entries, dispute, room and outbox, and at the beginning and the end of
  the order: two to four shards, at the pace of people. ``Disputes.get`` and ``advance`` name a dispute: one shard.
  ``page``, ``counts`` and ``claim_due`` ask all shards, each of which has the next few ready in its index.
* ``audit``: {dispute: 1}: it is read by dispute.
* ``reports``: {_id: 1}: few, and read by staff. The queue of flags, the strikes of a user and what the marketplace is
  to be told of them ask all shards of ``entries``, each by an index of flagged entries only.
* ``webhook_streams`` and ``webhook_deliveries``: {_id: 1} (their ids begin with the endpoint); ``webhooks`` stays
  unsharded. Queueing is a transaction over the shards of some disputes' events; sending names a stream or a delivery.
* ``checkpoints``: {_id: 1}. ``api_keys``, ``revocations``, ``leases``, ``meta`` stay unsharded: small, and read through
  caches.

Rooms are short and many, so no room can make a chunk too large: at 1 KiB an entry a chunk of 128 MiB holds 100,000.

Releases
--------
Processes of two releases run side by side while one replaces the other. So a release that adds a kind of entry reads it
one release before the first that writes it, and VERSION grows only with what the release before cannot live with.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from policies.flag import FlagState, Mark
from policies.report import ReportCategory, ReportOutcome, ReportState
from policies.vocabulary import OrderEventType, Role, RoomKind, Stage, Status, Visibility
from storage.chain import KEY_SEPARATOR
from storage.client import Database
from storage.errors import UnusableDatabase

VERSION: Final = 2
"""Grows with every change that older code cannot live with. Version 2 came with the disputes."""

_VERSION_KEY: Final = "schema"
_NAMESPACE_EXISTS: Final = 48
_ORDERS_AT_ONCE: Final = 500
"""Orders that migrating completes at a time."""
_AFTER_SEPARATOR: Final = chr(ord(KEY_SEPARATOR) + 1)


@dataclass(frozen=True, slots=True)
class _Collection:
    name: str
    indexes: tuple[IndexModel, ...] = ()
    validator: dict[str, Any] = field(default_factory=dict)


def _object(required: dict[str, dict[str, Any]], **optional: dict[str, Any]) -> dict[str, Any]:
    return {"bsonType": "object", "required": list(required), "properties": required | optional}


_TEXT: Final = {"bsonType": "string"}
_ID: Final = {"bsonType": "string", "minLength": 1}
_DATE: Final = {"bsonType": "date"}
_HASH: Final = {"bsonType": "binData"}
_COUNT: Final = {"bsonType": ["int", "long"], "minimum": 0}
_PERSON: Final = _object({"id": _ID, "name": _TEXT})


def _one_of(vocabulary: Any) -> dict[str, Any]:
    return {"enum": [word.value for word in vocabulary]}


_ENTRY: Final = _object(
    {
        "_id": _ID,
        "room": _ID,
        "seq": {"bsonType": ["int", "long"], "minimum": 1},
        "kind": _ID,
        "author": _object({"id": _ID, "role": _one_of(Role), "name": _TEXT}),
        "at": _DATE,
        "body": {"bsonType": "object"},
        "visibility": _one_of(Visibility),
        "command_id": _ID,
        "digest": _HASH,
        "prev_hash": _HASH,
        "hash": _HASH,
    },
    salt=_HASH,  # gone once the entry is erased
    flag=_object({"mark": _one_of(Mark), "state": _one_of(FlagState), "causes": {"bsonType": "array"}}),
    whole=_object({"salt": _HASH, "texts": {"bsonType": "object"}}),
    shown=_one_of(Visibility),
)
_ROOM: Final = _object(
    {
        "_id": _ID,
        "kind": _one_of(RoomKind),
        "order_id": _ID,
        "buyer": _PERSON,
        "seller": _PERSON,
        "created_at": _DATE,
        "closed": {"bsonType": "bool"},
    },
    unattended={"bsonType": "bool"},
    slow_mode_s=_COUNT,  # while there is some
)
_DISPUTE: Final = _object(
    {
        "_id": _ID,
        "order_id": _ID,
        "buyer": _ID,
        "seller": _ID,
        "stage": _one_of(Stage),
        "status": _one_of(Status),
        "assignee": {"bsonType": ["string", "null"]},
        "opened_at": _DATE,
        "queue_at": _DATE,
        "seq": _COUNT,
        "told": _COUNT,
        "state": {"bsonType": "object"},
    },
    next_at=_DATE,  # only while something is due some day
    claimed_by=_ID,
)
_OUTBOX: Final = _object(
    {"_id": _ID, "dispute": _ID, "n": _COUNT, "type": _ID, "data": {"bsonType": "object"}, "at": _DATE}
)
_UNREAD: Final = _object({"_id": _ID, "marked_at": _DATE})
_WEBHOOK: Final = _object(
    {
        "_id": _ID,
        "url": _ID,
        "types": {"bsonType": "array"},
        "enabled": {"bsonType": "bool"},
        "removed": {"bsonType": "bool"},
    }
)
_WEBHOOK_STREAM: Final = _object({"_id": _ID, "endpoint": _ID, "stream": _ID, "due_at": _DATE, "version": _COUNT})
_WEBHOOK_DELIVERY: Final = _object(
    {"_id": _ID, "endpoint": _ID, "event": _ID, "stream": _ID, "n": _COUNT, "state": _ID, "due_at": _DATE},
    expires_at=_DATE,  # once it has ended
)
_CLAIM: Final = _object({"_id": _ID, "agent": _ID, "expires_at": _DATE})
_AUDIT: Final = _object(
    {"at": _DATE, "actor": _object({"id": _ID, "role": _ID}), "action": _ID},
    dispute=_ID,  # a list is of no dispute in particular
    room=_ID,
    expires_at=_DATE,
)
_ORDER: Final = _object(
    {"_id": _ID, "buyer": _PERSON, "seller": _PERSON, "amount": _COUNT, "version": _COUNT},
    active_dispute={"bsonType": ["string", "null"]},
    latest_dispute={"bsonType": ["string", "null"]},
)
_ORDER_EVENT: Final = _object({"_id": _ID, "order_id": _ID, "event_id": _ID, "type": _ID, "at": _DATE})
_CURSOR: Final = _object({"_id": _ID, "room": _ID, "user": _ID, "delivered": _COUNT, "read": _COUNT})
_API_KEY: Final = _object({"_id": _ID, "name": _TEXT, "scopes": {"bsonType": "array"}, "created_at": _DATE})
_REVOCATION: Final = _object({"_id": _ID, "at": _DATE})
_LEASE: Final = _object({"_id": _ID, "holder": _ID, "expires_at": _DATE})

_EVIDENCE: Final = _object(
    {
        "_id": _ID,
        "room": _ID,
        "uploader": _PERSON,
        "role": _one_of(Role),
        "said": _object({"sha256": _ID, "size": _COUNT}),
        "state": _ID,
        "announced_at": _DATE,
        "touched_at": _DATE,
    }
)
_REPORT: Final = _object(
    {
        "_id": _ID,
        "room": _ID,
        "seq": {"bsonType": ["int", "long"], "minimum": 1},
        "reporter": _object({"id": _ID, "role": _one_of(Role), "name": _TEXT}),
        "about": _ID,
        "category": _one_of(ReportCategory),
        "text": _TEXT,
        "at": _DATE,
        "state": _one_of(ReportState),
    },
    outcome=_one_of(ReportOutcome),  # once it is resolved, with the others
    note=_TEXT,
    resolved_by=_ID,
    resolved_at=_DATE,
)
_HOLD: Final = _object({"_id": _ID, "by": _ID, "role": _one_of(Role), "reason": _TEXT, "since": _DATE})

_FLAGGED: Final = {"flag.state": {"$exists": True}}

COLLECTIONS: Final = (
    _Collection(
        "entries",
        # With _id, all that an append pays for: the compare-and-swap, all reading by place, the heads.
        (
            IndexModel([("room", ASCENDING), ("seq", ASCENDING)], unique=True, name="room_seq"),
            # The others are of flagged entries only, which are few: no other append pays for them.
            # What staff have to look at, the oldest first.
            IndexModel(
                [("flag.state", ASCENDING), ("at", ASCENDING), ("_id", ASCENDING)],
                name="flagged",
                partialFilterExpression=_FLAGGED,
            ),
            # A user's, for their strikes.
            IndexModel(
                [("author.id", ASCENDING), ("flag.state", ASCENDING), ("at", ASCENDING)],
                name="flagged_author",
                partialFilterExpression=_FLAGGED,
            ),
            # Those that the marketplace has not been told of: none, but for a moment.
            IndexModel([("at", ASCENDING)], name="untold", partialFilterExpression={"flag.untold": True}),
        ),
        _ENTRY,
    ),
    _Collection(
        "rooms",
        (
            # A user's rooms, newest first: one index for each side, merged.
            IndexModel([("buyer.id", ASCENDING), ("created_at", DESCENDING), ("_id", ASCENDING)], name="buyer"),
            IndexModel([("seller.id", ASCENDING), ("created_at", DESCENDING), ("_id", ASCENDING)], name="seller"),
        ),
        _ROOM,
    ),
    _Collection("orders", validator=_ORDER),
    _Collection(
        "order_events",
        # Those that disputes have not heard of yet, in the order in which they came: next to none at any time.
        (IndexModel([("received_at", ASCENDING)], name="pending", partialFilterExpression={"pending": True}),),
        _ORDER_EVENT,
    ),
    _Collection(
        "disputes",
        (
            # What the worker looks at next. Only disputes that have a deadline are in it, and they hold one date each.
            IndexModel([("next_at", ASCENDING)], name="next", partialFilterExpression={"next_at": {"$exists": True}}),
            # The queue, soonest deadline first, of any stages and statuses: as many ranges, merged in order.
            IndexModel([(name, ASCENDING) for name in ("stage", "status", "queue_at", "_id")], name="queue"),
            # The same of one agent, or of nobody yet.
            IndexModel(
                [(name, ASCENDING) for name in ("assignee", "stage", "status", "queue_at", "_id")], name="assignee"
            ),
            # A party's own, one index for each side, merged.
            IndexModel([(name, ASCENDING) for name in ("buyer", "queue_at", "_id")], name="buyer"),
            IndexModel([(name, ASCENDING) for name in ("seller", "queue_at", "_id")], name="seller"),
            IndexModel([("order_id", ASCENDING), ("opened_at", ASCENDING)], name="order"),
        ),
        _DISPUTE,
    ),
    _Collection(
        "outbox",
        (
            # What is to be queued for the webhooks, in the order of each dispute: nearly nothing at any time.
            IndexModel(
                [("dispute", ASCENDING), ("n", ASCENDING)], name="waiting", partialFilterExpression={"waiting": True}
            ),
            # Replaying what happened since a time.
            IndexModel([("at", ASCENDING), ("_id", ASCENDING)], name="at"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ),
        _OUTBOX,
    ),
    _Collection(
        "unread",
        # Rooms with a message that somebody may not have read, by when to look. Of others the index holds nothing.
        (IndexModel([("due_at", ASCENDING)], name="due", partialFilterExpression={"due_at": {"$exists": True}}),),
        _UNREAD,
    ),
    _Collection("webhooks", validator=_WEBHOOK),
    _Collection(
        "webhook_streams",
        # What is due at an endpoint. Only streams that have something to send are in it.
        (IndexModel([("endpoint", ASCENDING), ("due_at", ASCENDING)], name="due"),),
        _WEBHOOK_STREAM,
    ),
    _Collection(
        "webhook_deliveries",
        (
            # Whose turn it is in a stream; and the counts.
            IndexModel([(name, ASCENDING) for name in ("endpoint", "state", "stream", "n")], name="turn"),
            # An endpoint's log, of any states: a range for each, merged in order.
            IndexModel(
                [("endpoint", ASCENDING), ("state", ASCENDING), ("at", DESCENDING), ("_id", ASCENDING)], name="log"
            ),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ),
        _WEBHOOK_DELIVERY,
    ),
    # The leases that have run out, for the worker.
    _Collection("claims", (IndexModel([("expires_at", ASCENDING)], name="expiry"),), _CLAIM),
    _Collection(
        "audit",
        (
            IndexModel([("dispute", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)], name="dispute"),
            # Records that are not kept for ever go by themselves.
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ),
        _AUDIT,
    ),
    _Collection(
        "evidence",
        (
            # A room's evidence in order, and how much of it each side has.
            IndexModel([("room", ASCENDING), ("state", ASCENDING), ("announced_at", ASCENDING)], name="room"),
            # What was begun and not finished, the longest first.
            IndexModel([("state", ASCENDING), ("touched_at", ASCENDING)], name="unfinished"),
            # Of what is sealed, when to ask how long it is to be kept.
            IndexModel([("state", ASCENDING), ("look_at", ASCENDING)], name="look"),
            # Objects that a crash has kept from being deleted: next to none at any time.
            IndexModel([("touched_at", ASCENDING)], name="leftover", partialFilterExpression={"leftover": True}),
            # The same bytes in other places.
            IndexModel([("said.sha256", ASCENDING)], name="sha256"),
        ),
        _EVIDENCE,
    ),
    _Collection(
        "reports",
        (
            # What staff have to look at, the oldest first.
            IndexModel([("state", ASCENDING), ("at", ASCENDING), ("_id", ASCENDING)], name="queue"),
            # How many somebody has made lately.
            IndexModel([("reporter.id", ASCENDING), ("at", ASCENDING)], name="reporter"),
        ),
        _REPORT,
    ),
    # Disputes whose evidence must be kept.
    _Collection("holds", validator=_HOLD),
    _Collection("cursors", validator=_CURSOR),
    _Collection("api_keys", validator=_API_KEY),
    _Collection(
        "revocations",
        (
            IndexModel([("at", ASCENDING)], name="at"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ),
        _REVOCATION,
    ),
    _Collection("leases", validator=_LEASE),
    _Collection("checkpoints"),
    _Collection("meta"),
)


async def check(database: Database) -> bool:
    """Whether ``migrate`` is needed before the server can work.

    Raises:
        UnusableDatabase: it belongs to a newer version of the server, or is no replica set.
        Unavailable: no answer in time.
    """
    hello = await database.command({"hello": 1})
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise UnusableDatabase("MongoDB must run as a replica set (one member is enough): transactions need it.")
    found = await database.collection("meta").find_one({"_id": _VERSION_KEY})
    version = 0 if found is None else int(found["version"])
    if version > VERSION:
        raise UnusableDatabase(
            f"Database {database.name} has schema version {version}, this server knows {VERSION}: update the server."
        )
    return version < VERSION


async def migrate(database: Database) -> None:
    """Bring the database to this version. Safe to run again, and by several processes at once.

    Raises:
        UnusableDatabase: as ``check``.
        Unavailable: no answer in time.
    """
    await check(database)
    for collection in COLLECTIONS:
        await _prepare(database, collection)
    await _complete_orders(database)
    try:
        await database.collection("meta").update_one(
            {"_id": _VERSION_KEY, "version": {"$lte": VERSION}}, {"$set": {"version": VERSION}}, upsert=True
        )
    except DuplicateKeyError:  # a newer server migrated meanwhile
        await check(database)


async def _prepare(database: Database, collection: _Collection) -> None:
    validation = {
        "validator": {"$jsonSchema": collection.validator} if collection.validator else {},
        "validationLevel": "strict",
        "validationAction": "error",
    }
    try:
        await database.command({"create": collection.name} | validation)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise
        await database.command({"collMod": collection.name} | validation)
    if collection.indexes:
        await database.collection(collection.name).create_indexes(collection.indexes)


async def _complete_orders(database: Database) -> None:
    """Add to the orders of version 1 what they did not hold: no dispute, and what their events say was refunded."""
    orders, events = database.collection("orders"), database.collection("order_events")
    incomplete = {"state.refunded": {"$exists": False}}
    while found := await orders.find(incomplete, projection={"amount": 1, "version": 1}, limit=_ORDERS_AT_ONCE):
        for order in found:
            keys = {"$gte": f"{order['_id']}{KEY_SEPARATOR}", "$lt": f"{order['_id']}{_AFTER_SEPARATOR}"}
            refunds = await events.find({"_id": keys, "type": OrderEventType.PAYMENT_REFUNDED.value})
            paid = sum(refund["data"].get("amount", order["amount"]) for refund in refunds)
            state = {"state.refunded": min(order["amount"], paid), "active_dispute": None, "latest_dispute": None}
            # Of the version it was read at; or the next round looks again.
            await orders.update_one({"_id": order["_id"], "version": order["version"], **incomplete}, {"$set": state})
