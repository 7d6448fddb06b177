"""Who reads over HTTP and in which role, and the record of what staff have read."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from chatserver.access import BackEnd, Caller
from chatserver.http.services import Services
from policies.dispute.state import Dispute
from policies.errors import NotFound
from policies.room import RoomFacts, dispute_of, role_in_room
from policies.vocabulary import STAFF, ApiScope, DisputeId, Role, RoomId, RoomKind, UserId
from storage.audit import AuditRecord


class Reader(NamedTuple):
    """Somebody who may read a room. ``id`` is None for the marketplace's back end, which reads as ``system``."""

    id: UserId | None
    role: Role


def visible(caller: Caller, facts: RoomFacts | None) -> tuple[RoomFacts, Reader]:
    """A room, and who reads it. What may not be seen and what is not there are one answer.

    Args:
        facts: of the room that is to be read, or None where there is none.

    Raises:
        NotFound: there is no such room, or none for this caller.
        Forbidden: the API key lacks the scope.
    """
    if isinstance(caller, BackEnd):
        caller.require(ApiScope.DISPUTES_READ)
        if facts is not None:
            return facts, Reader(None, Role.SYSTEM)
    elif facts is not None and (role := role_in_room(facts, caller.user_id, caller.role)) is not None:
        return facts, Reader(caller.user_id, role)
    raise NotFound("There is no such room.")


def role_in_dispute(dispute: Dispute, user: UserId, token_role: Role | None) -> Role | None:
    """What a user is in a dispute, or None for someone who may not even know of it."""
    order, opened_at = dispute.order.id, dispute.opened_at
    facts = RoomFacts(dispute.room, RoomKind.DISPUTE, order, dispute.buyer, dispute.seller, opened_at)
    return role_in_room(facts, user, token_role)


async def record_read(
    services: Services,
    reader: Reader,
    action: str,
    *,
    dispute: DisputeId | None = None,
    room: RoomId | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Put what a member of staff is about to be told on record; what others read is nobody's business.

    Args:
        action: what is read, such as ``dispute.read``.
        details: plain data about it; what is None is left out.

    Raises:
        Unavailable: it cannot be put on record, so it must not be told either.
    """
    await _record(services, reader, action, [(dispute, room)], details)


async def record_reads(
    services: Services,
    reader: Reader,
    action: str,
    disputes: Collection[Dispute],
    *,
    room: RoomId | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """``record_read`` of several disputes at once: a record for each, so that each one's list of looks is whole.

    Args:
        disputes: those that are shown; when there are none, one record says that somebody has looked.
        room: where they were looked at, if not in the room of each.
        details: as above.

    Raises:
        Unavailable: as above.
    """
    places = [(each.id, room or each.room) for each in disputes]
    await _record(services, reader, action, places or [(None, room)], details)


async def record_places(
    services: Services,
    reader: Reader,
    action: str,
    rooms: Collection[RoomFacts],
    details: Mapping[str, Any] | None = None,
) -> None:
    """``record_read`` of several rooms at once: a record for each; when there are none, one says that somebody has
    looked.

    Raises:
        Unavailable: as above.
    """
    places = [(dispute_of(facts), facts.id) for facts in rooms]
    await _record(services, reader, action, places or [(None, None)], details)


async def _record(
    services: Services,
    reader: Reader,
    action: str,
    places: Iterable[tuple[DisputeId | None, RoomId | None]],
    details: Mapping[str, Any] | None,
) -> None:
    if reader.role in STAFF and reader.id is not None:
        now, who, role = services.clock.now(), reader.id, reader.role
        told = {name: value for name, value in (details or {}).items() if value is not None}
        await services.audit.record(*(AuditRecord(now, who, role, action, *place, told) for place in places))
