"""Rooms: who is what in one, who may write, and what becomes of a message."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from policies.entry import Author, Draft
from policies.errors import BadRequest, Forbidden, RoomClosed, TooLarge
from policies.vocabulary import (
    DECIDERS,
    PARTIES,
    STAFF,
    CommandId,
    DisputeId,
    EntryKind,
    OrderId,
    Role,
    RoomId,
    RoomKind,
    Seq,
    UserId,
)

SYSTEM: Final = Author(UserId("system"), Role.SYSTEM, "system")
"""The author of what the server writes by itself. No token may carry this id as its subject."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side of an order."""

    id: UserId
    name: str


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """What is known of a room beside its log. A closed room is read-only, and after ``closes_at`` it is to be closed.

    ``unattended``: of a dispute room, that the seller has not acted for real yet, so that what the seller writes may
    change the state of the dispute. ``slow_mode_s``: how many seconds a party has to wait between two messages.
    """

    id: RoomId
    kind: RoomKind
    order_id: OrderId
    buyer: Party
    seller: Party
    created_at: datetime
    closed: bool = False
    unattended: bool = False
    closes_at: datetime | None = None
    slow_mode_s: int = 0


def order_room(order: OrderId) -> RoomId:
    """The id of an order's order room."""
    return RoomId(f"order-{order}")


def dispute_room(dispute: DisputeId) -> RoomId:
    """The id of the room in which a dispute is worked out."""
    return RoomId(f"dispute-{dispute}")


def staff_room(dispute: DisputeId) -> RoomId:
    """The id of a dispute's staff log, which no party ever sees."""
    return RoomId(f"staff-{dispute}")


def dispute_of(facts: RoomFacts) -> DisputeId | None:
    """The dispute that a dispute room or a staff log belongs to; None for an order room."""
    return None if facts.kind is RoomKind.ORDER else DisputeId(facts.id.partition("-")[2])


def role_in_room(facts: RoomFacts, user: UserId, token_role: Role | None) -> Role | None:
    """What a user is in a room, or None for someone who may not even know that it exists.

    Being a party of the order comes before a staff role: nobody acts as staff in their own case. Buyer and seller
    follow from the order alone, so a token that claims to be one is nobody. To the parties there is no staff log.
    """
    if user == SYSTEM.id:
        return None
    if user in (facts.buyer.id, facts.seller.id):
        if facts.kind is RoomKind.STAFF:
            return None
        return Role.BUYER if user == facts.buyer.id else Role.SELLER
    if token_role in STAFF:
        return token_role
    return None


def may_write(role: Role, kind: RoomKind, *, claimed: bool = False) -> bool:
    """Whether a role may send messages to a kind of room. An auditor only ever reads.

    Args:
        role: what the writer is in the room.
        kind: the room's.
        claimed: of a dispute room, that the writer is the agent who has claimed the case. Only the dispute's state
            says so, so what staff write there is decided by ``policies.dispute.decide``.
    """
    if role in PARTIES:
        return kind is not RoomKind.STAFF
    return role in DECIDERS and (claimed or kind is not RoomKind.DISPUTE)


def decide_message(
    facts: RoomFacts,
    head: Seq,
    author: Author,
    command_id: CommandId,
    text: str,
    reply_to: Seq | None = None,
    evidence: tuple[str, ...] = (),
    *,
    max_chars: int,
    claimed: bool = False,
) -> Draft:
    """Decide what a ``message.send`` writes.

    Args:
        facts: the room.
        head: seq of the room's last entry, 0 for none.
        author: who sends, with their role in this room.
        command_id: the idempotency key.
        text: the message.
        reply_to: seq of the entry it answers.
        evidence: ids of evidence that it shows, which were checked.
        max_chars: longest text in characters (Unicode code points).
        claimed: see ``may_write``.

    Raises:
        Forbidden: the author's role only reads.
        RoomClosed: the room is read-only by now.
        BadRequest: nothing visible in the text, or it replies to an entry that does not exist.
        TooLarge: the text is too long; ``details["limit"]`` says how long it may be.
    """
    if not may_write(author.role, facts.kind, claimed=claimed):
        raise Forbidden("Your role may read this room, not write to it.")
    if facts.closed:
        raise RoomClosed("This room is closed.")
    if len(text) > max_chars:
        raise TooLarge(f"A message has at most {max_chars} characters.", details={"limit": max_chars})
    if not _is_visible(text):
        raise BadRequest("A message needs some text.")
    body: dict[str, Any] = {"text": text}
    if reply_to is not None:
        if not 1 <= reply_to <= head:
            raise BadRequest("The entry this replies to does not exist.", details={"reply_to": reply_to})
        body["reply_to"] = reply_to
    if evidence:
        body["evidence"] = list(evidence)
    return Draft(author, command_id, EntryKind.MESSAGE, body)


def _is_visible(text: str) -> bool:
    """Whether anything of it can be seen. Mostly its first character can, so no generator is set up to look."""
    for c in text:  # noqa: SIM110
        if c.isprintable() and not c.isspace():
            return True
    return False
