"""What asking for disputes over HTTP looks like, for the OpenAPI document."""

from typing import Any, Final

from chatserver.frame_examples import EXAMPLES
from chatserver.protocol import Ack, DisputeNow
from policies.errors import BadRequest, ChatError, Conflict, Forbidden, NotFound, Refused, TooLarge

_FRAME: Final = EXAMPLES[DisputeNow]
DISPUTE: Final[dict[str, Any]] = {**_FRAME["dispute"], "available_actions": _FRAME["available_actions"]}
OPENED: Final[dict[str, Any]] = {**DISPUTE, "notice": EXAMPLES[Ack]["notice"]}
WHOLE_DISPUTE: Final[dict[str, Any]] = {
    **DISPUTE,
    "evidence_completeness": {
        "buyer": [{"kind": "photo", "added": True}],
        "seller": [{"kind": "listing_snapshot", "added": False}],
    },
}
LIST: Final[dict[str, Any]] = {
    "disputes": [DISPUTE],
    "next_cursor": "MTc3MDExMTAwMDI1MDo1ZDQxNDAyYWJjNGIyYTc2Yjk3MQ",
    "counts": {
        "waiting_for_seller": 31,
        "waiting_for_buyer": 12,
        "under_review": 4,
        "awaiting_fulfillment": 9,
        "resolved": 208,
        "withdrawn": 57,
    },
}
AUDIT: Final[dict[str, Any]] = {
    "dispute": DISPUTE["id"],
    "records": [
        {
            "at": "2026-01-31T09:41:12.006Z",
            "actor": {"id": "agent-2", "role": "agent"},
            "action": "room.read",
            "room": DISPUTE["room"],
            "details": {"first": 1, "last": 9},
        }
    ],
}
OPENINGS: Final[dict[str, Any]] = {
    "by the buyer": {
        "value": {
            "order_id": "1042",
            "reason": "not_as_described",
            "description": "The lens has a scratch that the listing does not mention.",
            "desired_resolution": "partial_refund",
            "amount": 4000,
        }
    },
    "by the back end": {
        "value": {
            "order_id": "1042",
            "reason": "not_received",
            "description": "The carrier says delivered, but nothing came.",
            "desired_resolution": "full_refund",
            "on_behalf_of": "buyer-7",
        }
    },
}
ERRORS: Final[dict[str, ChatError]] = {
    "amount missing": BadRequest("Say an amount above 0, in minor units.", details={"field": "amount"}),
    "not the buyer": Forbidden("Only the buyer of an order opens a dispute."),
    "no order": NotFound("There is no such order."),
    "one is active": Conflict("This order has an active dispute already.", details={"dispute": DISPUTE["id"]}),
    "key used before": Conflict(
        "This key was used to open a dispute that says something else.", details={"dispute": DISPUTE["id"]}
    ),
    "description too long": TooLarge(
        "The description may have at most 4000 characters.", details={"field": "description", "limit": 4000}
    ),
    "too early": Refused(
        "It is too early to open a dispute; please talk to the seller first.",
        details={"rule": "too_early", "opens_at": "2026-01-24T18:17:11.000Z", "fallback": "order_room"},
    ),
    "too late": Refused(
        "The time to open a dispute after confirmed delivery is over; please talk to the seller.",
        details={"rule": "window_passed", "closes_at": "2026-02-03T10:12:00.000Z", "fallback": "order_room"},
    ),
    "nothing left": Refused(
        "There is nothing left to pay back: all of it was paid back, or is to be.",
        details={"rule": "already_refunded", "fallback": "order_room"},
    ),
    "amount too large": Refused(
        "The amount must be less than what was paid, and no more than what is left to pay back.",
        details={"rule": "amount_limit", "limit": 12499, "currency": "EUR"},
    ),
}
"""What may come of opening one."""


def shown(example: dict[str, Any], description: str, **more: Any) -> dict[str, Any]:
    """A response of a route with an example, for OpenAPI."""
    return {"description": description, "content": {"application/json": {"example": example}}, **more}
