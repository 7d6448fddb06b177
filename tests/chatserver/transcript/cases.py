"""Case files to test with: made without a database, the same on every call."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chatserver.transcript.case_file import CaseFile, Chain, Cover, Place, Reader, Span, as_seen
from chatserver.transcript.json_form import write_json
from policies.entry import Author, Draft, Entry
from policies.room import SYSTEM, Party, RoomFacts
from policies.vocabulary import CommandId, EntryKind, OrderId, Role, RoomId, RoomKind, Seq, UserId, Visibility
from storage.chain import genesis, head_of, link
from tests.storage.making import salts

OPENED: Final = datetime(2026, 1, 31, 9, 30, 0, 250_000, UTC)
GENERATED: Final = datetime(2026, 2, 9, 12, 0, tzinfo=UTC)
ORDER: Final = OrderId("1042")
BUYER: Final = Author(UserId("u-17"), Role.BUYER, "Bea Novak")
SELLER: Final = Author(UserId("u-99"), Role.SELLER, "Lampenhaus Süd")
AGENT: Final = Author(UserId("staff-4"), Role.AGENT, "Amir")
ORDER_ROOM: Final = RoomId("order-1042")
DISPUTE_ROOM: Final = RoomId("dispute-0f2d6a8c41b7e95d3a60")
STAFF_ROOM: Final = RoomId("staff-0f2d6a8c41b7e95d3a60")
BY_BUYER: Final = Reader(Role.BUYER, BUYER.id)
BY_SELLER: Final = Reader(Role.SELLER, SELLER.id)
BY_STAFF: Final = Reader(Role.AUDITOR, UserId("auditor-1"))
BY_BACK_END: Final = Reader(Role.SYSTEM, None)


@dataclass(frozen=True)
class Said:
    """Something that happened: ``hours`` after the opening."""

    hours: float
    author: Author
    kind: EntryKind
    body: dict[str, Any]
    visibility: Visibility = Visibility.ALL


def facts(room: RoomId, kind: RoomKind) -> RoomFacts:
    return RoomFacts(room, kind, ORDER, Party(BUYER.id, BUYER.name), Party(SELLER.id, SELLER.name), OPENED)


def chained(room: RoomId, said: Sequence[Said]) -> list[Entry]:
    """Entries of a room, from its first."""
    entries: list[Entry] = []
    head = genesis(room)
    salt = salts()
    for number, each in enumerate(said, start=1):
        draft = Draft(each.author, CommandId(f"c-{number}"), each.kind, each.body, each.visibility)
        entries += link(room, head, [draft], OPENED + timedelta(hours=each.hours), salt)
        head = head_of(entries[-1])
    return entries


def span(entries: Sequence[Entry], room: RoomFacts) -> Span:
    head = head_of(entries[-1]) if entries else genesis(room.id)
    return Span(room, before(entries, room), Place.of(head))


def before(entries: Sequence[Entry], room: RoomFacts) -> Place:
    if not entries:
        return Place.of(genesis(room.id))
    return Place(Seq(entries[0].seq - 1), entries[0].prev_hash)


def chain(entries: Sequence[Entry], room: RoomFacts, reader: Reader) -> Chain:
    return Chain(span(entries, room), tuple(as_seen(entry, reader) for entry in entries))


def case_file(
    entries: Sequence[Entry],
    room: RoomFacts,
    reader: Reader = BY_BUYER,
    annexes: Sequence[Chain] = (),
    dispute: dict[str, Any] | None = None,
) -> CaseFile:
    main = chain(entries, room, reader)
    cover = Cover(GENERATED, reader, order_facts(), dispute, main.span, tuple(each.span for each in annexes))
    return CaseFile(cover, main, tuple(annexes))


def order_facts() -> dict[str, Any]:
    return {
        "order_id": ORDER,
        "buyer": {"id": BUYER.id, "name": BUYER.name},
        "seller": {"id": SELLER.id, "name": SELLER.name, "trust_level": "verified"},
        "title": "Desk lamp “Nordlicht”, brass",
        "category": "item",
        "amount": 8990,
        "currency": "EUR",
        "placed_at": "2026-01-24T18:02:11.000Z",
        "details": {"sku": "NL-7", "count": 1, "gift": False, "parcel": {"carrier": "DHL"}},
        "state": {
            "delivered_at": "2026-01-30T15:40:00.000Z",
            "delivery_confirmed_at": None,
            "canceled_at": None,
            "chargeback": None,
            "payment": "held",
        },
    }


def conversation() -> list[Entry]:
    """The order room."""
    return chained(
        ORDER_ROOM,
        [
            Said(-20, BUYER, EntryKind.MESSAGE, {"text": "Hello, the lamp flickers as soon as I touch it."}),
            Said(-19.5, SELLER, EntryKind.MESSAGE, {"text": "Did you try another bulb?", "reply_to": 1}),
            Said(
                -17,
                SYSTEM,
                EntryKind.ORDER_UPDATED,
                {"event": {"id": "e-1", "type": "delivered", "at": "2026-01-30T15:40:00.000Z", "data": {}}},
            ),
        ],
    )


def erased(entry: Entry) -> Entry:
    """What is left of an entry whose content was erased."""
    return replace(entry, body={}, salt=None, author=replace(entry.author, name=""))


def long_room(
    count: int, room: RoomId = ORDER_ROOM, text: str = "Message {} of many, about as long as people write."
) -> list[Entry]:
    """A room of many messages, a minute apart."""
    return chained(
        room,
        [Said(n / 60, (BUYER, SELLER)[n % 2], EntryKind.MESSAGE, {"text": text.format(n + 1)}) for n in range(count)],
    )


def written(case: CaseFile) -> bytes:
    """The JSON form. Nothing in it waits, so no event loop is needed."""
    chains = {each.span.room.id: each.entries for each in (case.main, *case.annexes)}

    async def entries(span: Span) -> AsyncIterator[Entry]:
        for entry in chains[span.room.id]:
            yield entry

    async def whole() -> bytes:
        return b"".join([piece async for piece in write_json(case.cover, entries)])

    running = whole()
    try:
        running.send(None)
    except StopIteration as done:
        content: bytes = done.value
        return content
    raise AssertionError("it waits for something")
