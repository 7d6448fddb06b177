"""Reports over HTTP: a member tells staff that something is wrong with an entry; staff say what they found."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import BaseModel, Field, StrictInt

from chatserver.auth import Identity
from chatserver.frame import Timestamp
from chatserver.http.gate import caller, guarded_route, user
from chatserver.http.moderation import sees, staff_in, staff_reader
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import Reader, record_places
from chatserver.http.services import Services
from policies.entry import Author
from policies.errors import Conflict, ErrorCode, Forbidden, NotFound, RateLimited
from policies.instant import instant, rfc3339
from policies.report import (
    NOTE_CHARS,
    TEXT_CHARS,
    Report,
    ReportCategory,
    ReportOutcome,
    ReportState,
    Resolved,
    check_report,
    require_text,
)
from policies.room import RoomFacts, dispute_of
from policies.vocabulary import DECIDERS, Role, RoomId, Seq
from storage.audit import AuditRecord
from storage.reports import report_id

REPORTS_PAGE: Final = 100
DEFAULT_PAGE: Final = 50
DAY: Final = timedelta(days=1)


class ReportRequest(BaseModel):
    """What is wrong with which entry."""

    seq: StrictInt = Field(ge=1, lt=2**53)
    category: ReportCategory
    text: str = Field("", max_length=TEXT_CHARS, examples=["He called me names."])


class ReportMade(BaseModel):
    id: str


class Reporter(BaseModel):
    id: str
    role: Role
    name: str


class ReportView(BaseModel):
    """A report, for staff. ``about`` is who wrote the entry; they are never told. Once it is resolved, what was found,
    by whom and when."""

    id: str
    room: str
    order_id: str
    dispute: str | None = Field(None, description="Of a dispute's room.")
    seq: int
    about: str
    reporter: Reporter
    category: ReportCategory
    text: str
    at: Timestamp
    state: ReportState
    outcome: ReportOutcome | None = None
    note: str | None = None
    resolved_by: str | None = None
    resolved_at: Timestamp | None = None


class ReportList(BaseModel):
    """Reports, the oldest first. ``next_cursor`` asks for the next page; without one there are no more."""

    reports: list[ReportView]
    next_cursor: str | None = None


class ResolveRequest(BaseModel):
    outcome: ReportOutcome
    note: str = Field("", max_length=NOTE_CHARS, description="For staff.")


def router(services: Services) -> APIRouter:
    """``/v1/reports``, and the report button of rooms."""
    routes = APIRouter(
        prefix="/v1",
        tags=["moderation"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        responses=described(*USUAL),
    )
    reports = services.moderation.reports

    @routes.post(
        "/rooms/{room}/reports",
        summary="Report an entry",
        status_code=HTTPStatus.CREATED,
        response_model=ReportMade,
        responses={
            200: {"model": ReportMade, "description": "You have reported it before; that report stays as it was."},
            **described(ErrorCode.NOT_FOUND, ErrorCode.REFUSED, ErrorCode.TOO_LARGE),
        },
    )
    async def add(
        room: str, wanted: Annotated[ReportRequest, Body()], identity: Annotated[Identity, Depends(user)]
    ) -> Response:
        """For the parties of a room, and agents: of an entry of somebody else's, once. Whoever wrote it is not told."""
        facts, author = await staff_in(services, identity, RoomId(room))
        seq = Seq(wanted.seq)
        entry = check_report(author.id, author.role, await services.log.read(facts.id, seq), wanted.text)
        now = instant(services.clock.now())
        name = report_id(facts.id, author.id, seq)
        report = Report(name, facts.id, seq, author, entry.author.id, wanted.category, wanted.text, now)
        most = services.settings.reports_per_day
        made = await reports.add_within(report, now - DAY, most)
        if made is None:
            raise RateLimited("You have reported too much in one day.", details={"limit": most})
        return _json({"id": name}, HTTPStatus.CREATED if made else HTTPStatus.OK)

    @routes.get("/reports", summary="List reports", response_model=ReportList, response_model_exclude_none=True)
    async def list_reports(
        request: Request,
        state: Annotated[list[ReportState] | None, Query(description="Repeat it for several.")] = None,
        cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=REPORTS_PAGE)] = DEFAULT_PAGE,
    ) -> Response:
        """For staff, and keys with `disputes:read`. The oldest first; without `state`, the open ones. What is about an
        agent, or in their own cases, is left out, so a page may hold less than `limit`."""
        reader = staff_reader(caller(request))
        states = frozenset(state or (ReportState.OPEN,))
        page = await reports.page(states, limit, cursor)
        facts = await services.rooms.several({each.room for each in page.reports})
        shown = [(each, facts[each.room]) for each in page.reports if _may_see(reader, each, facts.get(each.room))]
        rooms = list({each.id: each for _, each in shown}.values())
        asked = {"state": sorted(states), "cursor": cursor, "limit": limit, "found": len(shown)}
        await record_places(services, reader, "reports.list", rooms, asked)
        told: dict[str, Any] = {"reports": [_view(*each) for each in shown]}
        if page.cursor is not None:
            told["next_cursor"] = page.cursor
        return _json(told)

    @routes.post(
        "/reports/{report}/resolve",
        summary="Resolve a report",
        response_model=ReportView,
        response_model_exclude_none=True,
        responses=described(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE),
    )
    async def resolve(
        report: str, wanted: Annotated[ResolveRequest, Body()], identity: Annotated[Identity, Depends(user)]
    ) -> Response:
        """For agents. The same again changes nothing; another outcome of what was resolved is a `conflict`."""
        reader = staff_reader(identity)
        if reader.role not in DECIDERS:
            raise Forbidden("Your role does not resolve reports.")
        require_text(wanted.note, NOTE_CHARS, "note")
        found, facts = await _visible_report(services, reader, report)
        if found.resolved is None:
            now = instant(services.clock.now())
            details = {"report": found.id, "seq": found.seq, "outcome": wanted.outcome.value}
            await services.audit.record(
                AuditRecord(now, identity.user_id, reader.role, "report.resolve", dispute_of(facts), facts.id, details)
            )
            await reports.resolve(found.id, Resolved(wanted.outcome, wanted.note, identity.user_id, now))
            found, facts = await _visible_report(services, reader, report)  # perhaps somebody else was faster
        if found.resolved is not None and found.resolved.outcome is not wanted.outcome:
            details = {"outcome": found.resolved.outcome.value}
            raise Conflict("This report was resolved in another way.", details=details)
        return _json(_view(found, facts))

    return routes


async def _visible_report(services: Services, reader: Reader, report: str) -> tuple[Report, RoomFacts]:
    """A report and its room.

    Raises:
        NotFound: there is none, or it is about the reader, or in a case of theirs.
    """
    found = await services.moderation.reports.get(report)
    facts = None if found is None else await services.rooms.facts(found.room)
    if found is None or facts is None or not _may_see(reader, found, facts):
        raise NotFound("There is no such report.")
    return found, facts


def _may_see(reader: Reader, report: Report, facts: RoomFacts | None) -> bool:
    return report.about != reader.id and sees(reader, facts)


def _view(report: Report, facts: RoomFacts) -> dict[str, Any]:
    told: dict[str, Any] = {"id": report.id, "room": facts.id, "order_id": facts.order_id}
    if (dispute := dispute_of(facts)) is not None:
        told["dispute"] = dispute
    told |= {
        "seq": report.seq,
        "about": report.about,
        "reporter": _person(report.reporter),
        "category": report.category.value,
        "text": report.text,
        "at": rfc3339(report.at),
        "state": report.state.value,
    }
    if report.resolved is not None:
        told |= {
            "outcome": report.resolved.outcome.value,
            "note": report.resolved.note,
            "resolved_by": report.resolved.by,
            "resolved_at": rfc3339(report.resolved.at),
        }
    return told


def _person(author: Author) -> dict[str, str]:
    return {"id": author.id, "role": author.role.value, "name": author.name}


def _json(content: Any, status: int = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
