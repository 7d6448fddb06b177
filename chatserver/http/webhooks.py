"""Webhooks, as the marketplace's back end sets them up and looks after them."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from chatserver.frame import Timestamp
from chatserver.http.gate import back_end, guarded_route
from chatserver.http.orders import Time
from chatserver.http.problems import USUAL, described
from chatserver.http.services import Services
from chatserver.webhooks.desk import Standing
from chatserver.webhooks.guard import URL_CHARS
from policies.errors import ErrorCode
from policies.vocabulary import ApiScope, WebhookType
from storage.deliveries import Attempt, Delivery, DeliveryState

DESCRIPTION_CHARS: Final = 200
EVENT_CHARS: Final = 200
LONGEST_OVERLAP_S: Final = 30 * 24 * 3600
DELIVERIES_PAGE: Final = 100
DEFAULT_PAGE: Final = 50

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_CHARS,
        description="https, at a public address, unless the operator's configuration allows others.",
        examples=["https://shop.example/hooks/disputes"],
    ),
]
Types = Annotated[list[WebhookType], Field(max_length=len(WebhookType), description="What to send; none: everything.")]
Description = Annotated[str, Field(max_length=DESCRIPTION_CHARS, description="For yourself.")]


class WebhookWanted(BaseModel):
    """Where to send what."""

    url: Url
    types: Types = []
    description: Description = ""


class WebhookChange(BaseModel):
    """What is to be different; what is left out stays."""

    url: Url | None = None
    types: Types | None = None
    description: Description | None = None
    enabled: bool | None = Field(
        None, description="While it is not, its events wait; they are sent when it is enabled again."
    )


class SecretView(BaseModel):
    """A signing secret, without the secret. ``expires_at``: it was replaced, and signs until then."""

    created_at: Timestamp
    expires_at: Timestamp | None = None


class WebhookView(BaseModel):
    """A webhook. ``pending`` events wait for their turn or their next attempt, ``parked`` ones for a replay.

    ``disabled_because`` says why nothing is sent, where nobody asked for that.
    """

    id: str
    url: str
    types: list[str]
    description: str
    enabled: bool
    disabled_because: str | None = None
    created_at: Timestamp
    secrets: list[SecretView]
    pending: int
    parked: int


class WebhookSecret(WebhookView):
    """A webhook with its newest secret, which is not shown again."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class WebhookList(BaseModel):
    """All webhooks, the oldest first."""

    webhooks: list[WebhookView]


class Rotation(BaseModel):
    """How to replace a secret."""

    overlap_s: float | None = Field(
        None,
        ge=0,
        le=LONGEST_OVERLAP_S,
        strict=True,
        allow_inf_nan=False,
        description="How long the old secret signs beside the new one; 0 for one that leaked. By default, a day.",
    )


class TestResult(BaseModel):
    """How the endpoint took a `webhook.test`."""

    delivered: bool
    status: int | None = None
    error: str | None = None
    took_ms: int


class AttemptView(BaseModel):
    """One attempt: the status of the answer, or why there was none."""

    at: Timestamp
    status: int | None = None
    error: str | None = None
    took_ms: int


class DeliveryView(BaseModel):
    """What became of an event. ``due_at``: when a pending one is sent, at the earliest; those before it go first."""

    event: str = Field(description="The `webhook-id`.")
    type: str
    stream: str = Field(description="What it is in order with: a dispute.")
    n: int = Field(description="Its place in there.")
    at: Timestamp
    state: DeliveryState
    attempts: int = Field(description="That failed since it was queued, or replayed.")
    due_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    last: AttemptView | None = None


class DeliveryDetails(DeliveryView):
    """The same with what is sent, and its latest attempts, oldest first."""

    data: dict[str, Any]
    log: list[AttemptView]


class DeliveryList(BaseModel):
    """Deliveries, what happened last first. ``next_cursor`` asks for the next page; without one there are no more."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = None


class Replay(BaseModel):
    """What to send again: exactly one of the three."""

    event: str | None = Field(None, min_length=1, max_length=EVENT_CHARS, description="One `webhook-id`.")
    since: Time | None = Field(None, description="All that happened since then and is wanted, delivered or not.")
    parked: bool = Field(False, description="All that was given up.")


class Replayed(BaseModel):
    events: int


def router(services: Services) -> APIRouter:
    """``/v1/webhooks``."""
    desk = services.webhooks
    writing = back_end(ApiScope.WEBHOOKS_WRITE)
    routes = APIRouter(
        prefix="/v1/webhooks",
        tags=["webhooks"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        dependencies=[Depends(writing)],
        responses=described(*USUAL),
    )
    unknown = described(ErrorCode.NOT_FOUND)

    @routes.post(
        "",
        summary="Add a webhook",
        status_code=HTTPStatus.CREATED,
        response_model_exclude_none=True,
        responses=described(ErrorCode.CONFLICT),
    )
    async def add_webhook(wanted: WebhookWanted) -> WebhookSecret:
        """It is sent what happens from now on; `replay` with `since` sends what happened before. Keep the `secret`: it
        verifies what comes, and is not shown again.
        """
        standing, secret = await desk.add(wanted.url, wanted.types, wanted.description)
        return WebhookSecret(**_view(standing).model_dump(), secret=secret)

    @routes.get("", summary="List the webhooks", response_model_exclude_none=True)
    async def list_webhooks() -> WebhookList:
        return WebhookList(webhooks=[_view(standing) for standing in await desk.all()])

    @routes.get("/{webhook}", summary="Read a webhook", response_model_exclude_none=True, responses=unknown)
    async def get_webhook(webhook: str) -> WebhookView:
        return _view(await desk.get(webhook))

    @routes.patch("/{webhook}", summary="Change a webhook", response_model_exclude_none=True, responses=unknown)
    async def change_webhook(webhook: str, change: WebhookChange) -> WebhookView:
        """What waits goes to the new `url`; new `types` hold for what happens from now on."""
        return _view(
            await desk.change(
                webhook, url=change.url, types=change.types, description=change.description, enabled=change.enabled
            )
        )

    @routes.delete("/{webhook}", summary="Remove a webhook", status_code=HTTPStatus.NO_CONTENT, responses=unknown)
    async def remove_webhook(webhook: str) -> None:
        """With all that waits for it."""
        await desk.remove(webhook)

    @routes.post(
        "/{webhook}/rotate",
        summary="Replace the secret",
        response_model_exclude_none=True,
        responses={**unknown, **described(ErrorCode.CONFLICT)},
    )
    async def rotate_secret(webhook: str, rotation: Rotation) -> WebhookSecret:
        """Until the overlap ends, requests carry a signature of each secret, so that receivers may change over at any
        time.
        """
        overlap = None if rotation.overlap_s is None else timedelta(seconds=rotation.overlap_s)
        standing, secret = await desk.rotate(webhook, overlap)
        return WebhookSecret(**_view(standing).model_dump(), secret=secret)

    @routes.post("/{webhook}/test", summary="Try a webhook", response_model_exclude_none=True, responses=unknown)
    async def test_webhook(webhook: str) -> TestResult:
        """Sends a signed event of type `webhook.test` now, once, and says how the endpoint took it."""
        answer = await desk.test(webhook)
        return TestResult(delivered=answer.accepted, status=answer.status, error=answer.error, took_ms=answer.took_ms)

    @routes.get(
        "/{webhook}/deliveries", summary="List what was sent", response_model_exclude_none=True, responses=unknown
    )
    async def list_deliveries(
        webhook: str,
        state: Annotated[list[DeliveryState] | None, Query(description="Repeat for several; none: all.")] = None,
        limit: Annotated[int, Query(ge=1, le=DELIVERIES_PAGE)] = DEFAULT_PAGE,
        cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")] = None,
    ) -> DeliveryList:
        page = await desk.log(webhook, state or list(DeliveryState), limit, cursor)
        return DeliveryList(
            deliveries=[_delivery_view(delivery) for delivery in page.deliveries], next_cursor=page.cursor
        )

    @routes.get(
        "/{webhook}/deliveries/{event}",
        summary="Read what became of an event",
        response_model_exclude_none=True,
        responses=unknown,
    )
    async def get_delivery(webhook: str, event: str) -> DeliveryDetails:
        delivery = await desk.delivery(webhook, event)
        return DeliveryDetails(
            **_delivery_view(delivery).model_dump(),
            data=dict(delivery.data),
            log=[_attempt_view(attempt) for attempt in delivery.log],
        )

    @routes.post("/{webhook}/replay", summary="Send events again", responses=unknown)
    async def replay(webhook: str, wanted: Replay) -> Replayed:
        """Under the ids they had: a receiver that remembers them takes each once. Those of one dispute come in their
        order.
        """
        return Replayed(events=await desk.replay(webhook, event=wanted.event, since=wanted.since, parked=wanted.parked))

    return routes


def _view(standing: Standing) -> WebhookView:
    endpoint = standing.endpoint
    return WebhookView(
        id=endpoint.id,
        url=endpoint.url,
        types=list(endpoint.types),
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_because=endpoint.disabled_because,
        created_at=endpoint.created_at,
        secrets=[SecretView(created_at=each.created_at, expires_at=each.expires_at) for each in endpoint.secrets],
        pending=standing.pending,
        parked=standing.parked,
    )


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        event=delivery.event,
        type=delivery.type,
        stream=delivery.stream,
        n=delivery.n,
        at=delivery.at,
        state=delivery.state,
        attempts=delivery.attempts,
        due_at=delivery.due_at if delivery.state is DeliveryState.PENDING else None,
        ended_at=delivery.ended_at,
        last=_attempt_view(delivery.log[-1]) if delivery.log else None,
    )


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(at=attempt.at, status=attempt.status, error=attempt.error, took_ms=attempt.took_ms)
