"""A user's rooms, and what is in a room."""

from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field, PlainSerializer

from chatserver.auth import Identity
from chatserver.dispute_frames import AvailableAction
from chatserver.http.gate import caller, guarded_route, user
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import record_read, visible
from chatserver.http.services import Services
from chatserver.protocol import Cursor, EntryAuthor, WireEntry, You
from chatserver.rendering import render
from policies.dispute.actions import available_actions
from policies.dispute.state import Dispute
from policies.entry import Entry
from policies.errors import BadRequest, ErrorCode
from policies.instant import rfc3339
from policies.room import RoomFacts, dispute_of
from policies.vocabulary import DisputeId, EntryKind, Role, RoomId, RoomKind, Seq, Stage, Status, UserId

ROOMS_PAGE: Final = 100
DEFAULT_PAGE: Final = 50
PREVIEW_CHARS: Final = 160
"""Of the last message's text: a line or two of a list."""


class OtherParty(BaseModel):
    """The other side of the order."""

    user: str
    role: Role
    name: str


class LastEntry(BaseModel):
    """What happened last, for a list of rooms. ``text``: how a message that you may see begins."""

    seq: int
    kind: EntryKind
    author: EntryAuthor
    at: Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
    text: str | None = Field(None, description=f"The first {PREVIEW_CHARS} characters.")
    withheld: Literal[True] | None = None
    erased: Literal[True] | None = None


class DisputeSummary(BaseModel):
    """The dispute of a dispute room. ``due``: what the calling user has to do next, and until when."""

    id: str
    stage: Stage
    status: Status
    due: AvailableAction | None = None


class RoomSummary(BaseModel):
    """A room of the calling user. ``unread``: entries after the user's ``read`` position."""

    room: str
    kind: RoomKind
    order_id: str
    title: str
    you: You
    other: OtherParty
    head: int
    last: LastEntry | None = Field(None, description="The entry at `head`; none in a room without entries.")
    cursor: Cursor
    unread: int
    created_at: Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
    closed: bool
    dispute: DisputeSummary | None = Field(None, description="Of a dispute room.")


class RoomList(BaseModel):
    """Rooms, the newest first. ``next_cursor`` asks for the next page; without one there are no more."""

    rooms: list[RoomSummary]
    next_cursor: str | None = None


class EntryPage(BaseModel):
    """Entries, the oldest first. ``more``: there are more in the direction asked for."""

    room: str
    entries: list[WireEntry]
    more: bool


def router(services: Services) -> APIRouter:
    """``/v1/rooms``."""
    settings = services.settings
    routes = APIRouter(
        prefix="/v1/rooms",
        tags=["rooms"],
        route_class=guarded_route(services.auth, settings.http_body_bytes),
        responses=described(*USUAL),
    )

    @routes.get("", summary="List your rooms", response_model_exclude_none=True)
    async def list_rooms(
        identity: Annotated[Identity, Depends(user)],
        limit: Annotated[int, Query(ge=1, le=ROOMS_PAGE)] = DEFAULT_PAGE,
        cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")] = None,
    ) -> RoomList:
        """The rooms in which you are buyer or seller."""
        page = await services.rooms.of_user(identity.user_id, limit, cursor)
        return RoomList(rooms=await _summaries(services, page.rooms, identity.user_id), next_cursor=page.cursor)

    @routes.get(
        "/{room}/entries",
        summary="Read a room",
        response_model=EntryPage,
        response_model_exclude_none=True,
        responses=described(ErrorCode.NOT_FOUND),
    )
    async def list_entries(
        room: str,
        request: Request,
        before: Annotated[int | None, Query(ge=1, lt=2**53, description="Those before this seq.")] = None,
        after: Annotated[int | None, Query(ge=0, lt=2**53, description="Those after this seq.")] = None,
        limit: Annotated[int, Query(ge=1, le=settings.history_page)] = min(DEFAULT_PAGE, settings.history_page),
    ) -> Response:
        """For its members, staff, and keys with `disputes:read`. Without `before` and `after`: the latest entries.
        The notes of staff are in the room `staff_room` of a dispute, which to its parties is not there.

        An entry withheld from you keeps its place, with an empty body and `withheld: true`.
        """
        if before is not None and after is not None:
            raise BadRequest("Either before or after, not both.", details={"field": "before"})
        place = RoomId(room)
        facts, reader = visible(caller(request), await services.rooms.facts(place))
        if after is not None:
            read = await services.log.read_after(place, Seq(after), limit + 1)
            entries, more = read[:limit], len(read) > limit
        else:
            read = await services.log.read_before(place, None if before is None else Seq(before), limit + 1)
            entries, more = read[-limit:], len(read) > limit
        told = [render(each, reader.id, reader.role) for each in entries]
        page: dict[str, Any] = {"room": room, "entries": told, "more": more}
        seqs = {"first": entries[0].seq, "last": entries[-1].seq} if entries else {}
        await record_read(services, reader, "room.read", dispute=dispute_of(facts), room=place, details=seqs)
        return Response(orjson.dumps(page), media_type="application/json")

    return routes


async def _summaries(services: Services, rooms: tuple[RoomFacts, ...], reader: UserId) -> list[RoomSummary]:
    ids = [facts.id for facts in rooms]
    heads = await services.log.heads(ids)
    cursors = await services.cursors.of_user(ids, reader)
    last = await services.log.read_at(heads)
    titles = await services.orders.titles({facts.order_id for facts in rooms})
    known = await services.disputes.several({each for facts in rooms if (each := dispute_of(facts)) is not None})
    disputes = {each.id: each for each in await services.disputes.as_of_now(list(known.values()))}
    summaries = []
    for facts in rooms:
        buying = facts.buyer.id == reader
        other = facts.seller if buying else facts.buyer
        mine = cursors.get(facts.id)
        dispute = disputes.get(dispute_of(facts) or DisputeId(""))
        cursor = Cursor(delivered=mine.delivered, read=mine.read) if mine else Cursor(delivered=0, read=0)
        you = Role.BUYER if buying else Role.SELLER
        summaries.append(
            RoomSummary(
                room=facts.id,
                kind=facts.kind,
                order_id=facts.order_id,
                title=titles.get(facts.order_id, ""),
                you=You(role=you),
                other=OtherParty(user=other.id, role=Role.SELLER if buying else Role.BUYER, name=other.name),
                head=heads[facts.id],
                last=_last(last[facts.id], reader, you) if facts.id in last else None,
                cursor=cursor,
                unread=max(0, heads[facts.id] - cursor.read),
                created_at=facts.created_at,
                closed=facts.closed,
                dispute=dispute and _dispute(services, dispute, reader, you),
            )
        )
    return summaries


def _dispute(services: Services, dispute: Dispute, reader: UserId, role: Role) -> DisputeSummary:
    waiting = [
        (each.due_at, each)
        for each in available_actions(dispute, role, reader, services.clock.now())
        if each.mandatory and each.due_at is not None
    ]
    due = min(waiting, key=itemgetter(0))[1] if waiting else None
    return DisputeSummary(
        id=dispute.id,
        stage=dispute.stage,
        status=dispute.status,
        due=due and AvailableAction(action=due.action, mandatory=True, due_at=due.due_at, rule=due.rule),
    )


def _last(entry: Entry, reader: UserId, role: Role) -> LastEntry:
    seen = render(entry, reader, role)
    text = seen["body"].get("text") if entry.kind is EntryKind.MESSAGE else None
    return LastEntry(
        seq=entry.seq,
        kind=entry.kind,
        author=EntryAuthor(id=entry.author.id, role=entry.author.role, name=entry.author.name),
        at=entry.at,
        text=text[:PREVIEW_CHARS] if isinstance(text, str) else None,
        withheld=seen.get("withheld"),
        erased=seen.get("erased"),
    )
