"""What staff look after over HTTP: flagged entries, rulings on them, strikes, and the slow mode of rooms."""

import hashlib
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field, StrictInt

from chatserver import slow_mode
from chatserver.access import BackEnd, Caller
from chatserver.auth import Identity
from chatserver.frame import Timestamp
from chatserver.http.gate import caller, guarded_route, user
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import Reader, record_places, record_read, visible
from chatserver.http.services import Services
from chatserver.protocol import WireEntry
from chatserver.rendering import render
from policies.entry import Author, Entry
from policies.errors import ErrorCode, Forbidden, NotFound
from policies.flag import FlagState, Mark
from policies.identifiers import ID_CHARS
from policies.room import RoomFacts, dispute_of, role_in_room
from policies.verdicts import REASON_CHARS, Verdict
from policies.vocabulary import STAFF, ApiScope, CommandId, Role, RoomId, Seq, UserId
from storage.flags import FlagQuery

FLAGS_PAGE: Final = 100
DEFAULT_PAGE: Final = 50
KEY_CHARS: Final = 255
LATEST_STRIKES: Final = 100
"""Of a user's strikes, how many are listed; all of them count."""

Place = Annotated[int, Path(ge=1, lt=2**53)]
Key = Annotated[
    str | None,
    Header(min_length=1, max_length=KEY_CHARS, description="Yours: sent again after a lost answer it changes nothing."),
]


class RulingRequest(BaseModel):
    """What staff say of an entry."""

    reason: str = Field(
        "",
        max_length=REASON_CHARS,
        description="For the record. Where what is shown changes, both sides can read it; to redact, it is needed.",
        examples=["This is a tracking number."],
    )


class RulingMade(BaseModel):
    """The entry as it is now. ``logged``: the seq of what the log says of the ruling; none where nothing changed in
    what is shown. ``duplicate``: it was carried out before, under the same key."""

    room: str
    entry: WireEntry
    logged: int | None = None
    duplicate: bool


class FlaggedEntry(BaseModel):
    """An entry in which something was found, as staff see it: with its flag, and whole."""

    room: str
    order_id: str
    dispute: str | None = Field(None, description="Of a dispute's room.")
    entry: WireEntry


class FlagList(BaseModel):
    """Flagged entries, the oldest first. ``next_cursor`` asks for the next page; without one there are no more."""

    flags: list[FlaggedEntry]
    next_cursor: str | None = None


class StrikeView(BaseModel):
    """A flagged entry, and what it weighs now: half of what it did with every half-life, nothing once released."""

    room: str
    seq: int
    at: Timestamp
    mark: Mark
    categories: list[str]
    state: FlagState
    weight: float


class StrikeList(BaseModel):
    """What a user has lately done that was found wrong. ``above``: the score has come to what the operator's policy
    says staff should look at. Of the ``strikes`` the newest are listed, the newest first."""

    user: str
    score: float
    above: bool
    strikes: list[StrikeView]


class SlowModeRequest(BaseModel):
    every_s: StrictInt = Field(
        ge=0, le=slow_mode.LONGEST_S, description="How long a party waits between two messages; 0 ends it."
    )


class SlowModeView(BaseModel):
    room: str
    every_s: int


def router(services: Services) -> APIRouter:
    """``/v1/flags``, ``/v1/users``, and what staff do in ``/v1/rooms``."""
    routes = APIRouter(
        prefix="/v1",
        tags=["moderation"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        responses=described(*USUAL),
    )
    office = services.moderation

    async def ruled(
        verdict: Verdict, identity: Identity, room: str, seq: int, ruling: RulingRequest, key: str | None
    ) -> Response:
        facts, author = await staff_in(services, identity, RoomId(room))
        done = await office.rulings.rule(facts, author, verdict, Seq(seq), ruling.reason, _command_id(verdict, key))
        entry = await services.log.read(facts.id, Seq(seq))
        if entry is None:
            raise NotFound("There is no such entry.")
        told: dict[str, Any] = {
            "room": facts.id,
            "entry": render(entry, author.id, author.role),
            "duplicate": done.duplicate,
        }
        if done.entry is not None:
            told["logged"] = done.entry.seq
        return _json(told)

    answers = described(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.REFUSED, ErrorCode.TOO_LARGE)

    @routes.post(
        "/rooms/{room}/entries/{seq}/release",
        summary="Show an entry to everybody",
        response_model=RulingMade,
        responses=answers,
    )
    async def release(
        room: str,
        seq: Place,
        ruling: Annotated[RulingRequest, Body()],
        identity: Annotated[Identity, Depends(user)],
        idempotency_key: Key = None,
    ) -> Response:
        """For agents, in any room but of their own cases, closed or not; no claim of the case is needed. What was
        withheld or masked is shown to all, and withheld messages and evidence count from now on as what they are. A
        flag on what everybody saw anyway is taken back, and nobody is told. What is released already stays so.
        """
        return await ruled(Verdict.RELEASE, identity, room, seq, ruling, idempotency_key)

    @routes.post(
        "/rooms/{room}/entries/{seq}/redact",
        summary="Hide a message or evidence from the other side",
        response_model=RulingMade,
        responses=answers,
    )
    async def redact(
        room: str,
        seq: Place,
        ruling: Annotated[RulingRequest, Body()],
        identity: Annotated[Identity, Depends(user)],
        idempotency_key: Key = None,
    ) -> Response:
        """For agents, as above: any message of a party and any evidence (by its entry `evidence.added`), whether
        something was found in it or not. Hidden evidence is given to its uploader and staff alone; a download that was
        signed before stays good until it expires. Of any other text, such as an offer's note, what was released is
        masked again. What is hidden already stays so, and its flag is confirmed."""
        return await ruled(Verdict.REDACT, identity, room, seq, ruling, idempotency_key)

    @routes.post(
        "/rooms/{room}/entries/{seq}/confirm",
        summary="Confirm a flag",
        response_model=RulingMade,
        responses=answers,
    )
    async def confirm(
        room: str,
        seq: Place,
        ruling: Annotated[RulingRequest, Body()],
        identity: Annotated[Identity, Depends(user)],
        idempotency_key: Key = None,
    ) -> Response:
        """For agents, as above: what was found is right, and what is shown stays as it is."""
        return await ruled(Verdict.CONFIRM, identity, room, seq, ruling, idempotency_key)

    @routes.get("/flags", summary="List flagged entries", response_model=FlagList, response_model_exclude_none=True)
    async def list_flags(
        request: Request,
        state: Annotated[list[FlagState] | None, Query(description="Repeat it for several.")] = None,
        mark: Annotated[list[Mark] | None, Query(description="Repeat it for several.")] = None,
        user: Annotated[str | None, Query(min_length=1, max_length=ID_CHARS, description="Who wrote them.")] = None,
        room: Annotated[str | None, Query(min_length=1, max_length=2 * ID_CHARS)] = None,
        cursor: Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=FLAGS_PAGE)] = DEFAULT_PAGE,
    ) -> Response:
        """For staff, and keys with `disputes:read`. The oldest first; without `state`, those that wait for a word of
        staff. Of one user in one room that is ten of a kind within ten minutes, and one flood, repeat or wall of text;
        the others are `repeated`. What is in an agent's own cases is left out, so a page may hold less than `limit`."""
        reader = staff_reader(caller(request))
        query = FlagQuery(
            frozenset(state or (FlagState.OPEN,)),
            frozenset(mark or ()),
            None if user is None else UserId(user),
            None if room is None else RoomId(room),
        )
        page = await office.flags.page(query, limit, cursor)
        facts = await services.rooms.several({entry.room for entry in page.entries})
        shown = [(entry, facts[entry.room]) for entry in page.entries if sees(reader, facts.get(entry.room))]
        asked: dict[str, Any] = {"state": sorted(query.states), "mark": sorted(query.marks) or None}
        asked |= {"user": user, "cursor": cursor, "limit": limit, "found": len(shown)}
        await record_places(services, reader, "flags.list", _rooms(shown), asked)
        told: dict[str, Any] = {"flags": [_flagged(entry, facts, reader) for entry, facts in shown]}
        if page.cursor is not None:
            told["next_cursor"] = page.cursor
        return _json(told)

    @routes.get("/users/{user_id}/strikes", summary="A user's strikes", response_model=StrikeList)
    async def get_strikes(user_id: str, request: Request) -> StrikeList:
        """For staff, and keys with `disputes:read`. A user of whom nothing is known has none."""
        reader = staff_reader(caller(request))
        await record_read(services, reader, "user.strikes", details={"user": user_id})
        found = await office.strikes.of(UserId(user_id))
        return StrikeList(
            user=user_id,
            score=found.score,
            above=found.above,
            strikes=[
                StrikeView(
                    room=each.entry.room,
                    seq=each.entry.seq,
                    at=each.entry.at,
                    mark=each.strike.mark,
                    categories=list(each.categories),
                    state=FlagState.OPEN if each.entry.flag is None else each.entry.flag.state,
                    weight=each.weight,
                )
                for each in found.strikes[:LATEST_STRIKES]
            ],
        )

    @routes.put(
        "/rooms/{room}/slow-mode",
        summary="Slow a room down",
        response_model=SlowModeView,
        responses=described(ErrorCode.NOT_FOUND),
    )
    async def set_slow_mode(
        room: str, wanted: SlowModeRequest, identity: Annotated[Identity, Depends(user)]
    ) -> SlowModeView:
        """For agents: how long each party has to wait between two messages. The room's log says so in a `notice`."""
        facts, author = await staff_in(services, identity, RoomId(room))
        await office.slow_mode.set(facts, author, wanted.every_s)
        return SlowModeView(room=room, every_s=wanted.every_s)

    return routes


async def staff_in(services: Services, identity: Identity, room: RoomId) -> tuple[RoomFacts, Author]:
    """A room, and a caller with the role that they have in it; what may be done is decided further on.

    Raises:
        NotFound: there is no such room, or none for this caller.
    """
    facts, reader = visible(identity, await services.rooms.facts(room))
    return facts, Author(identity.user_id, reader.role, identity.name)


def staff_reader(caller: Caller) -> Reader:
    """Who looks at what only staff and the back end see.

    Raises:
        Forbidden: somebody else, or a key without the scope.
    """
    if isinstance(caller, BackEnd):
        caller.require(ApiScope.DISPUTES_READ)
        return Reader(None, Role.SYSTEM)
    if caller.role is None or caller.role not in STAFF:
        raise Forbidden("Only support staff can see this.")
    return Reader(caller.user_id, caller.role)


def sees(reader: Reader, facts: RoomFacts | None) -> bool:
    """Whether a reader sees a room as staff do: nobody is staff in their own case."""
    if facts is None:
        return False
    return reader.id is None or role_in_room(facts, reader.id, reader.role) in STAFF


def _rooms(shown: Sequence[tuple[Entry, RoomFacts]]) -> list[RoomFacts]:
    return list({facts.id: facts for _, facts in shown}.values())


def _flagged(entry: Entry, facts: RoomFacts, reader: Reader) -> dict[str, Any]:
    told: dict[str, Any] = {"room": facts.id, "order_id": facts.order_id}
    dispute = dispute_of(facts)
    if dispute is not None:
        told["dispute"] = dispute
    return told | {"entry": render(entry, reader.id, reader.role)}


def _command_id(verdict: Verdict, key: str | None) -> CommandId:
    """One that no client can choose on a connection by chance; the same for the same key and verdict."""
    if key is None:
        return CommandId(uuid.uuid4().hex)
    return CommandId(hashlib.sha256(f"{verdict.value}:{key}".encode()).hexdigest()[:32])


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
