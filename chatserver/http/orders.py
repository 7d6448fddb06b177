"""Orders, as the marketplace's back end reports them and their parties see them."""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field, PlainSerializer, StrictInt

from chatserver.access import BackEnd, Caller
from chatserver.frame import in_utc
from chatserver.http.gate import back_end, caller, guarded_route
from chatserver.http.problems import described
from chatserver.http.reading import Reader, record_reads, role_in_dispute
from chatserver.http.services import Services
from policies.dispute.opening import eligibility
from policies.dispute.state import Dispute
from policies.errors import BadRequest, ErrorCode, NotFound, TooLarge, Unavailable
from policies.identifiers import ID_CHARS
from policies.instant import rfc3339
from policies.names import STAND_INS
from policies.order import EVENT_AHEAD_MAX, Chargeback, OrderEvent, OrderFacts, Payment, Seller
from policies.room import Party, order_room, role_in_room
from policies.vocabulary import (
    ApiScope,
    OrderCategory,
    OrderEventType,
    OrderId,
    Outcome,
    Role,
    RoomId,
    Stage,
    Status,
    TrustLevel,
    UserId,
)
from storage.orders import Order

DETAILS_BYTES: Final = 16 * 1024
"""Largest ``details`` or ``data`` as JSON: they become part of an order, or of an entry that every member receives."""
NAME_CHARS: Final = 200
TITLE_CHARS: Final = 500
AHEAD_MIN: Final = EVENT_AHEAD_MAX // timedelta(minutes=1)
ACTIVE_DISPUTE: Final = "active_dispute"
"""The rule that an order has one dispute at a time; ``disputes`` says which."""


def _text_time(value: object) -> object:
    """Numbers would be taken for seconds or milliseconds since 1970, whichever looks likelier."""
    if not isinstance(value, str):
        raise ValueError("a time is a string, as in RFC 3339")  # pydantic wants a ValueError
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text_time), AfterValidator(in_utc)]
WrittenTime = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS)]
IdField = Annotated[str, Field(min_length=1, max_length=ID_CHARS, description="The marketplace's own id of the user.")]
OrderIdPath = Annotated[
    str,
    Path(
        pattern="^[A-Za-z0-9_:~@=+#-][A-Za-z0-9._:~@=+#-]{0,127}$",
        description="Yours: 1 to 128 of `A-Z a-z 0-9 . _ : ~ @ = + # -`, the first no dot.",
    ),
]
"""Fewer characters than other ids have: it is a segment of paths, ``.`` and ``..`` must not be one."""
Plain = dict[str, Any]
"""Data of the marketplace's own: text, whole numbers, true, false, null, and lists and objects of these."""


class BuyerFacts(BaseModel):
    id: IdField
    name: Name


class SellerFacts(BuyerFacts):
    trust_level: TrustLevel = TrustLevel.UNVERIFIED


class OrderReport(BaseModel):
    """What the marketplace says an order is. Sent again it replaces what was said before."""

    buyer: BuyerFacts
    seller: SellerFacts
    title: Annotated[str, Field(min_length=1, max_length=TITLE_CHARS)]
    category: OrderCategory
    amount: StrictInt = Field(ge=0, lt=2**53, description="In minor units of the currency.", examples=[4990])
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["EUR"])
    placed_at: Time
    details: Plain = Field(
        {}, description=f"Plain data of your own, shown to the members; {DETAILS_BYTES} bytes at most, no fractions."
    )


class EventReport(BaseModel):
    """Something that happened to an order."""

    id: str = Field(min_length=1, max_length=ID_CHARS, description="Yours; the same one again changes nothing.")
    type: OrderEventType
    at: Time = Field(description=f"When it happened; at most {AHEAD_MIN} minutes ahead of this server's clock.")
    data: Plain = {}


class OrderStateView(BaseModel):
    """What the events reported so far add up to."""

    delivered_at: WrittenTime | None
    delivery_confirmed_at: WrittenTime | None
    canceled_at: WrittenTime | None
    chargeback: Chargeback | None
    payment: Payment | None
    refunded: int = Field(description="Paid back to the buyer so far, in minor units.")


class OrderDispute(BaseModel):
    """A dispute about an order. ``GET /v1/disputes/{id}`` says more."""

    id: str
    room: str
    stage: Stage
    status: Status
    opened_at: WrittenTime
    outcome: Outcome | None = None


class DisputeEligibility(BaseModel):
    """Whether the buyer may open a dispute now. If not, ``rule`` says why, and where it helps ``opens_at`` from when on
    one may, ``closes_at`` until when one might have, and ``fallback`` where to go instead."""

    allowed: bool
    rule: str | None = None
    opens_at: WrittenTime | None = None
    closes_at: WrittenTime | None = None
    fallback: str | None = None


class OrderView(BaseModel):
    """An order: the latest facts, the room to talk about it, and its disputes, the oldest first."""

    order_id: str
    buyer: BuyerFacts
    seller: SellerFacts
    title: str
    category: OrderCategory
    amount: int
    currency: str
    placed_at: WrittenTime
    details: Plain
    state: OrderStateView
    order_room: str = Field(description="The id of the order room.")
    disputes: list[OrderDispute]
    dispute_eligibility: DisputeEligibility
    notices: list[str] = Field(
        [],
        description="With `PUT`: what of the report is not shown as it was sent, for people at the marketplace.",
        examples=[["buyer.name is not shown: it holds contact details or an insult."]],
    )


class EventView(BaseModel):
    """The event is on record. ``duplicate``: it was already."""

    id: str
    duplicate: bool
    order: OrderView


def router(services: Services) -> APIRouter:
    """``/v1/orders``."""
    routes = APIRouter(
        prefix="/v1/orders",
        tags=["orders"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        responses=described(
            ErrorCode.UNAUTHENTICATED, ErrorCode.TOKEN_EXPIRED, ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE
        ),
    )
    writing = back_end(ApiScope.ORDERS_WRITE)

    @routes.put(
        "/{order_id}",
        summary="Report an order, and open its order room",
        response_model_exclude_unset=True,
        responses={
            201: {"model": OrderView, "description": "It was new."},
            **described(ErrorCode.BAD_REQUEST, ErrorCode.FORBIDDEN, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE),
        },
    )
    async def put_order(
        order_id: OrderIdPath, report: OrderReport, response: Response, reporter: Annotated[BackEnd, Depends(writing)]
    ) -> OrderView:
        """Idempotent: saying the same again changes nothing. A change is an `order.updated` entry in the order room;
        when buyer or seller is another person, the one before loses access at once. During a dispute neither they nor
        the currency may change: that is a `conflict`. A name with contact details is not kept: others see `Buyer` or
        `Seller` in its place, and `notices` say so.
        """
        _require_small(report.details, "details")
        buyer_name, seller_name = (
            each.name if services.names.fit(each.name) else STAND_INS[role]
            for each, role in ((report.buyer, Role.BUYER), (report.seller, Role.SELLER))
        )
        facts = OrderFacts(
            id=OrderId(order_id),
            buyer=Party(UserId(report.buyer.id), buyer_name),
            seller=Seller(UserId(report.seller.id), seller_name, report.seller.trust_level),
            title=report.title,
            category=report.category,
            amount=report.amount,
            currency=report.currency,
            placed_at=report.placed_at,
            details=report.details,
        )
        result = await services.orders.put(facts, services.clock.now())
        if result.entries:
            await services.announce(result.entries)
        if result.created:
            response.status_code = HTTPStatus.CREATED
        view = await _view(services, result.order, await _disputes(services, result.order, reporter))
        notices = [
            f"{field} is not shown: it holds contact details or an insult."
            for field, said, kept in (
                ("buyer.name", report.buyer.name, buyer_name),
                ("seller.name", report.seller.name, seller_name),
            )
            if said != kept
        ]
        if notices:
            view.notices = notices
        return view

    @routes.post(
        "/{order_id}/events",
        summary="Report what happened to an order",
        response_model_exclude_unset=True,
        responses=described(
            ErrorCode.BAD_REQUEST, ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE
        ),
    )
    async def post_event(
        order_id: OrderIdPath, report: EventReport, reporter: Annotated[BackEnd, Depends(writing)]
    ) -> EventView:
        """Idempotent by the event's `id`; the same id with other content is a `conflict`. Events may come late and in
        any order: what counts is `at`; one from the future is a `bad_request`. A dispute of the order hears of it, too;
        a payment event may say which request it answers in `data.key`, and `payment.refunded` and `payment.released`
        how much was paid in `data.amount`: without it, all that was asked for under the key; without both, all.
        """
        _require_small(report.data, "data")
        event = OrderEvent(report.id, report.type, report.at, report.data)
        result = await services.orders.record_event(OrderId(order_id), event, services.clock.now())
        if result.entries:
            await services.announce(result.entries)
        order = result.order
        if result.pending:
            with contextlib.suppress(Unavailable):  # it is on record, and the worker tells the dispute later
                await services.desk.report_event(order.facts.id, event)
            order = await services.orders.get(order.facts.id) or order  # the event may have ended the dispute
        view = await _view(services, order, await _disputes(services, order, reporter))
        return EventView(id=event.id, duplicate=not result.recorded, order=view)

    @routes.get(
        "/{order_id}",
        summary="Read an order",
        response_model_exclude_unset=True,
        responses=described(ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND),
    )
    async def get_order(order_id: str, request: Request) -> OrderView:
        """For its parties, staff, and keys with `disputes:read` or `orders:write`. What staff read is on record."""
        order = OrderId(order_id)
        reader = await _visible_to(services, request, order_room(order))
        found = await services.orders.get(order)
        if found is None:
            raise _no_such_order()
        disputes = await _disputes(services, found, caller(request))
        await record_reads(services, reader, "order.read", disputes, room=found.room, details={"order": order})
        return await _view(services, found, disputes)

    return routes


async def _visible_to(services: Services, request: Request, room: RoomId) -> Reader:
    reader = caller(request)
    if isinstance(reader, BackEnd):
        reader.require(ApiScope.DISPUTES_READ, ApiScope.ORDERS_WRITE)
        return Reader(None, Role.SYSTEM)
    facts = await services.rooms.facts(room)
    role = None if facts is None else role_in_room(facts, reader.user_id, reader.role)
    if role is None:
        raise _no_such_order()
    return Reader(reader.user_id, role)


def _no_such_order() -> NotFound:
    return NotFound("There is no such order.")


def _require_small(data: Plain, field: str) -> None:
    try:
        size = len(orjson.dumps(data))
    except TypeError as error:  # half a surrogate pair, or an integer beyond 64 bits
        raise BadRequest(f"{field}: holds text or numbers that JSON cannot carry.", details={"field": field}) from error
    if size > DETAILS_BYTES:
        raise TooLarge(f"{field}: more than {DETAILS_BYTES} bytes.", details={"field": field, "limit": DETAILS_BYTES})


async def _view(services: Services, order: Order, disputes: Sequence[Dispute]) -> OrderView:
    facts, state = order.facts, order.state
    return OrderView(
        order_id=facts.id,
        buyer=BuyerFacts(id=facts.buyer.id, name=facts.buyer.name),
        seller=SellerFacts(id=facts.seller.id, name=facts.seller.name, trust_level=facts.seller.trust_level),
        title=facts.title,
        category=facts.category,
        amount=facts.amount,
        currency=facts.currency,
        placed_at=facts.placed_at,
        details=dict(facts.details),
        state=OrderStateView(
            delivered_at=state.delivered_at,
            delivery_confirmed_at=state.delivery_confirmed_at,
            canceled_at=state.canceled_at,
            chargeback=state.chargeback,
            payment=state.payment,
            refunded=state.refunded,
        ),
        order_room=order.room,
        disputes=[_summary(each) for each in disputes],
        dispute_eligibility=await _eligibility(services, order),
    )


async def _disputes(services: Services, order: Order, reader: Caller) -> list[Dispute]:
    """Those that the reader may see. Who became a party later has no part in what others have disputed before."""
    if order.latest_dispute is None:
        return []
    found = await services.disputes.as_of_now(await services.disputes.of_order(order.facts.id))
    if isinstance(reader, BackEnd):
        return found
    return [each for each in found if role_in_dispute(each, reader.user_id, reader.role) is not None]


def _summary(dispute: Dispute) -> OrderDispute:
    view = OrderDispute(
        id=dispute.id, room=dispute.room, stage=dispute.stage, status=dispute.status, opened_at=dispute.opened_at
    )
    return view if dispute.outcome is None else view.model_copy(update={"outcome": dispute.outcome})


async def _eligibility(services: Services, order: Order) -> DisputeEligibility:
    if order.active_dispute is not None:
        return DisputeEligibility(allowed=False, rule=ACTIVE_DISPUTE)
    earlier = None if order.latest_dispute is None else await services.disputes.get(order.latest_dispute)
    known = None if earlier is None else earlier.dispute
    found = eligibility(order.facts, order.state, services.policy, services.clock.now(), known)
    return DisputeEligibility(**{name: value for name, value in asdict(found).items() if value is not None})
