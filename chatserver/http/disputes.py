"""Disputes over HTTP: opened by buyers, listed for support, read by those whom they concern."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Header, Query, Request, Response
from pydantic import BaseModel, Field, StrictInt

from chatserver.access import BackEnd, Caller
from chatserver.dispute_frames import AvailableAction, Dispute, Offered
from chatserver.disputes.desk import Opening
from chatserver.disputes.view import actions_view, dispute_view
from chatserver.frame import Timestamp
from chatserver.http import dispute_examples as examples
from chatserver.http.gate import caller, guarded_route
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import Reader, record_read, record_reads, role_in_dispute
from chatserver.http.services import Services
from chatserver.protocol import AckNotice
from chatserver.rendering import FULL_VIEW, notice_of, notice_view
from policies.dispute import state
from policies.entry import Author
from policies.errors import BadRequest, ErrorCode, Forbidden, NotFound
from policies.identifiers import ID_CHARS
from policies.room import order_room, role_in_room
from policies.screening import Screening
from policies.vocabulary import (
    ApiScope,
    DisputeId,
    EvidenceKind,
    OrderId,
    Reason,
    Resolution,
    Role,
    Stage,
    Status,
    UserId,
)
from storage.disputes import COUNT_MAX, DisputeQuery

DESCRIPTION_CHARS: Final = 20_000
"""The longest that a policy may allow; the one in force usually allows less."""
KEY_CHARS: Final = 255
DISPUTES_PAGE: Final = 100
AUDIT_PAGE: Final = 200
DEFAULT_PAGE: Final = 50
SEARCH_CHARS: Final = 200
_READ_AUDIT: Final = frozenset({Role.SENIOR_AGENT, Role.AUDITOR, Role.SYSTEM})
"""An agent is the one looked after; the marketplace's back end reads as ``system``."""


class DisputeOpening(BaseModel):
    """What a buyer complains of, and wants."""

    order_id: str = Field(min_length=1, max_length=ID_CHARS)
    reason: Reason
    description: str = Field(
        min_length=1,
        max_length=DESCRIPTION_CHARS,
        description="What happened, in the buyer's words. The operator's policy says how long it may be.",
        examples=["The screen has a crack from corner to corner."],
    )
    desired_resolution: Offered
    amount: StrictInt | None = Field(
        None,
        ge=1,
        lt=2**53,
        description="What the buyer wants back, in minor units of the order's currency; with `partial_refund`.",
        examples=[1990],
    )
    on_behalf_of: str | None = Field(
        None, min_length=1, max_length=ID_CHARS, description="The buyer's id; an API key has to say it."
    )


class DisputeRead(Dispute):
    """A dispute as its reader sees it, with what this reader may do now."""

    available_actions: list[AvailableAction]


class OpenedDispute(DisputeRead):
    """The dispute that was opened. ``notice`` comes when its description is not shown as it was written, or both sides
    were reminded of the rules."""

    notice: AckNotice | None = None


class HelpfulKind(BaseModel):
    """A kind of evidence that helps most, and whether this side has added some."""

    kind: EvidenceKind
    added: bool


class EvidenceCompleteness(BaseModel):
    """What of the checklist each side has added, and what is still missing."""

    buyer: list[HelpfulKind]
    seller: list[HelpfulKind]


class WholeDispute(DisputeRead):
    """A dispute as its reader sees it, with the evidence there is for it."""

    evidence_completeness: EvidenceCompleteness


class DisputeList(BaseModel):
    """Disputes, the soonest deadline first. ``next_cursor`` asks for the next page; without one there are no more."""

    disputes: list[DisputeRead]
    next_cursor: str | None = None
    counts: dict[Status, int] | None = Field(
        None,
        description="With the first page: how many there are of each status, whichever statuses were asked for; "
        f"{COUNT_MAX} means that or more.",
    )


class AuditActor(BaseModel):
    id: str
    role: Role


class AuditRecord(BaseModel):
    """Somebody of the staff has looked. ``action`` names the way, such as ``dispute.read``, or ``disputes.list`` when
    the dispute was one of those that were listed."""

    at: Timestamp
    actor: AuditActor
    action: str
    room: str | None = None
    details: dict[str, Any]


class AuditPage(BaseModel):
    """Records, the newest first. ``next_cursor`` asks for the next page; without one there are no more."""

    dispute: str
    records: list[AuditRecord]
    next_cursor: str | None = None


def router(services: Services) -> APIRouter:
    """``/v1/disputes``."""
    routes = APIRouter(
        prefix="/v1/disputes",
        tags=["disputes"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        responses=described(*USUAL),
    )

    @routes.post(
        "",
        summary="Open a dispute",
        status_code=HTTPStatus.CREATED,
        response_model=OpenedDispute,
        responses={
            201: examples.shown(examples.OPENED, "It was opened."),
            200: examples.shown(
                examples.DISPUTE, "The same `Idempotency-Key` opened it before; as it is now.", model=OpenedDispute
            ),
            **described(
                ErrorCode.BAD_REQUEST,
                ErrorCode.FORBIDDEN,
                ErrorCode.NOT_FOUND,
                ErrorCode.CONFLICT,
                ErrorCode.REFUSED,
                ErrorCode.TOO_LARGE,
                examples=examples.ERRORS,
            ),
        },
    )
    async def open_dispute(
        wanted: Annotated[DisputeOpening, Body(openapi_examples=examples.OPENINGS)],
        request: Request,
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=KEY_CHARS,
                description="Yours, one for each dispute you mean to open. Sent again after a lost answer, it gives "
                "the same dispute, with 200; with other content it is a `conflict`.",
            ),
        ] = None,
    ) -> Response:
        """For the order's buyer, or a key with `disputes:write` and `on_behalf_of` the buyer.

        An order has one active dispute: `conflict` names it in `details.dispute`. When a rule is against it, `refused`
        names the rule, and where it helps says from when on (`opens_at`) or until when (`closes_at`) a dispute may be
        opened, and where to go instead (`fallback`). Contact details and secrets in the description are masked, and
        `notice` says so.
        """
        order = OrderId(wanted.order_id)
        buyer = await _buyer(services, caller(request), order, wanted.on_behalf_of)
        opening = Opening(
            order,
            buyer,
            wanted.reason,
            wanted.description,
            Resolution(wanted.desired_resolution),
            wanted.amount,
            idempotency_key,
            await _screened(services, order, wanted.description),
        )
        opened = await services.desk.open(opening)
        status = HTTPStatus.OK if opened.duplicate else HTTPStatus.CREATED
        view = _view(services, opened.dispute, Reader(buyer.id, buyer.role))
        if (notice := notice_of(opened.first.flag)) is not None:
            view["notice"] = notice_view(notice)
        return _json(view, status)

    @routes.get(
        "",
        summary="List disputes",
        response_model=DisputeList,
        responses={200: examples.shown(examples.LIST, "A page of them.")},
    )
    async def list_disputes(
        request: Request,
        status: Annotated[list[Status] | None, Query(description="Repeat it for several.")] = None,
        stage: Annotated[list[Stage] | None, Query(description="Repeat it for several.")] = None,
        assignee: Annotated[
            str | None,
            Query(max_length=ID_CHARS, description="Id of the agent who has claimed it; empty: nobody has."),
        ] = None,
        q: Annotated[
            str | None,
            Query(max_length=SEARCH_CHARS, description="A dispute (its id or how it begins), order, buyer or seller."),
        ] = None,
        cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=DISPUTES_PAGE)] = DEFAULT_PAGE,
    ) -> Response:
        """Soonest deadline first. Staff, and keys with `disputes:read`, see all; a party only their own."""
        lister = caller(request)
        reader = _lister(lister)
        query = DisputeQuery(
            stages=frozenset(stage or ()),
            statuses=frozenset(status or ()),
            assignee=UserId(assignee) if assignee else None,
            unassigned=assignee == "",
            q=q or None,
            party=None if reader.role in FULL_VIEW else reader.id,
        )
        page = await services.disputes.page(query, limit, cursor)
        # What is listed is shown as it is now. A message may have made it wait for somebody else in this second.
        shown = [
            each
            for each in await services.disputes.as_of_now(page.disputes)
            if not query.statuses or each.status in query.statuses
        ]
        asked: dict[str, Any] = {
            "assignee": assignee,
            "q": q,
            "cursor": cursor,
            "limit": limit,
            "found": len(shown),
        }
        asked |= {"status": sorted(query.statuses) or None, "stage": sorted(query.stages) or None}
        await record_reads(services, reader, "disputes.list", shown, details=asked)
        found: dict[str, Any] = {"disputes": [_listed(services, each, lister) for each in shown]}
        if page.cursor is not None:
            found["next_cursor"] = page.cursor
        if page.counts:
            found["counts"] = {status.value: count for status, count in page.counts.items()}
        return _json(found)

    @routes.get(
        "/{dispute}",
        summary="Read a dispute",
        response_model=WholeDispute,
        responses={200: examples.shown(examples.WHOLE_DISPUTE, "The dispute."), **described(ErrorCode.NOT_FOUND)},
    )
    async def get_dispute(dispute: str, request: Request) -> Response:
        """For its parties, staff, and keys with `disputes:read`."""
        found, reader = await _visible(services, caller(request), DisputeId(dispute))
        await record_read(services, reader, "dispute.read", dispute=found.id, room=found.room)
        completeness = _completeness(found, await services.evidence.kinds(found.room))
        return _json(_view(services, found, reader) | {"evidence_completeness": completeness})

    @routes.get(
        "/{dispute}/audit",
        summary="Who of the staff has looked at a dispute",
        response_model_exclude_none=True,
        responses={200: examples.shown(examples.AUDIT, "A page of the record."), **described(ErrorCode.NOT_FOUND)},
    )
    async def get_audit(
        dispute: str,
        request: Request,
        cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=AUDIT_PAGE)] = DEFAULT_PAGE,
    ) -> AuditPage:
        """For senior agents, auditors, and keys with `disputes:read`; newest first. This look is in the next one."""
        found, reader = await _visible(services, caller(request), DisputeId(dispute))
        if reader.role not in _READ_AUDIT:
            raise Forbidden("Your role does not read who has looked at a dispute.")
        page = await services.audit.page(found.id, limit, cursor)
        await record_read(services, reader, "audit.read", dispute=found.id, room=found.room)
        return AuditPage(
            dispute=found.id,
            records=[
                AuditRecord(
                    at=each.at,
                    actor=AuditActor(id=each.actor, role=each.role),
                    action=each.action,
                    room=each.room,
                    details=dict(each.details),
                )
                for each in page.records
            ],
            next_cursor=page.cursor,
        )

    return routes


async def _buyer(services: Services, opener: Caller, order: OrderId, on_behalf_of: str | None) -> Author:
    """The buyer who opens, or for whom the back end does.

    Raises:
        NotFound: there is no such order, or none for this caller.
        Forbidden: it is somebody else.
    """
    if isinstance(opener, BackEnd):
        opener.require(ApiScope.DISPUTES_WRITE)
        if on_behalf_of is None:
            raise BadRequest("An API key opens a dispute on behalf of the buyer.", details={"field": "on_behalf_of"})
        user, token_role = UserId(on_behalf_of), None
    elif on_behalf_of not in (None, opener.user_id):
        raise Forbidden("Only the marketplace's back end acts for somebody else.", details={"field": "on_behalf_of"})
    else:
        user, token_role = opener.user_id, opener.role
    facts = await services.rooms.facts(order_room(order))
    role = None if facts is None else role_in_room(facts, user, token_role)
    if facts is None or (role is None and not isinstance(opener, BackEnd)):
        raise NotFound("There is no such order.")
    if role is not Role.BUYER:
        raise Forbidden("Only the buyer of an order opens a dispute.")
    return Author(user, role, facts.buyer.name)


async def _screened(services: Services, order: OrderId, description: str) -> Screening | None:
    known = await services.screening.order(order)
    return await services.screening.texts({"description": description}, known)


async def _visible(services: Services, caller: Caller, dispute: DisputeId) -> tuple[state.Dispute, Reader]:
    """A dispute, and who reads it. What may not be seen and what is not there are one answer."""
    if isinstance(caller, BackEnd):
        caller.require(ApiScope.DISPUTES_READ)
    found = await services.disputes.current(dispute)
    reader = None if found is None else _reader(found.dispute, caller)
    if found is None or reader is None:
        raise NotFound("There is no such dispute.")
    return found.dispute, reader


def _lister(caller: Caller) -> Reader:
    """Who asks for a list. Who is not of the staff sees their own disputes, whatever they are in each."""
    if isinstance(caller, BackEnd):
        caller.require(ApiScope.DISPUTES_READ)
        return Reader(None, Role.SYSTEM)
    return Reader(caller.user_id, caller.role or Role.BUYER)


def _listed(services: Services, dispute: state.Dispute, caller: Caller) -> dict[str, Any]:
    reader = _reader(dispute, caller)
    assert reader is not None  # the list holds nobody else's
    return _view(services, dispute, reader)


def _reader(dispute: state.Dispute, caller: Caller) -> Reader | None:
    """In which role somebody reads a dispute; None for one who may not even know of it."""
    if isinstance(caller, BackEnd):
        return Reader(None, Role.SYSTEM)
    role = role_in_dispute(dispute, caller.user_id, caller.role)
    return None if role is None else Reader(caller.user_id, role)


def _view(services: Services, dispute: state.Dispute, reader: Reader) -> dict[str, Any]:
    actions = [] if reader.id is None else actions_view(dispute, reader.role, reader.id, services.clock.now())
    return dispute_view(dispute, reader.role) | {"available_actions": actions}


def _completeness(dispute: state.Dispute, added: Collection[tuple[Role, EvidenceKind]]) -> dict[str, Any]:
    return {
        side.value: [{"kind": kind.value, "added": (side, kind) in added} for kind in dispute.checklist.of(side)]
        for side in (Role.BUYER, Role.SELLER)
    }


def _json(content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
