"""What each type of event holds: the models that the OpenAPI document describes the webhooks by.

The events are made by ``policies.dispute.effects``, ``chatserver.webhooks.unread`` and ``chatserver.webhooks.flagged``;
receivers must expect fields that a later version adds.
"""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from chatserver.frame import Timestamp
from policies.vocabulary import (
    OrderCategory,
    Outcome,
    Reason,
    Resolution,
    Role,
    RoomKind,
    Stage,
    Status,
    TrustLevel,
    WebhookType,
)

Amount = Annotated[int, Field(ge=0, description="In minor units of `currency`.")]
Currency = Annotated[str, Field(description="ISO 4217.")]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid")


class By(_Data):
    """Who did it; the server itself is `system`."""

    id: str
    role: Role


class OfDispute(_Data):
    """What is told of every dispute. ``seq``: the entry of its room; ``stage`` and ``status`` are those after it."""

    dispute: str
    order_id: str
    room: str
    seq: int
    at: Timestamp
    stage: Stage
    status: Status


class Happened(OfDispute):
    by: By


class Person(_Data):
    id: str
    name: str


class OpenedOrder(_Data):
    """The order as it was when the dispute was opened. ``refunded``: paid back before."""

    title: str
    category: OrderCategory
    amount: Amount
    currency: Currency
    placed_at: Timestamp
    trust_level: TrustLevel
    refunded: Amount
    delivered_at: Timestamp | None = None
    confirmed_at: Timestamp | None = None


class DisputeOpened(Happened):
    """A buyer has opened a dispute. ``amount``: what they want back, with `partial_refund`."""

    reason: Reason
    description: str
    desired_resolution: Resolution
    amount: Amount | None = None
    order: OpenedOrder
    buyer: Person
    seller: Person


class DisputeAttended(Happened):
    """The seller's first real act: ``entry``."""

    act: Literal["message", "proposal", "evidence", "answer"]
    entry: int


class Receipt(_Data):
    """What a deadline counted from, and the entry that last moved it."""

    rule: str
    started_at: Timestamp
    due_at: Timestamp
    moved_by: int | None = None


class DisputeEscalated(Happened):
    """Support was brought in: by a party (`by_buyer`, `by_seller`), by a deadline that passed, or by a chargeback."""

    rule: str
    reason: str | None = None
    receipt: Receipt | None = None


class Money(_Data):
    """What the end asks for; each part is requested by an event of its own. ``deferred``: not before it is final."""

    key: str
    refund: Amount
    release: Amount
    deferred: bool | None = None


class Reversal(_Data):
    """What was asked for before, as ``refund`` to the buyer or ``release`` to the seller, and is not theirs any more by
    this end. To be taken back: the server asks for no money that it is in the way of."""

    refund: Amount | None = None
    release: Amount | None = None


class DisputeResolved(Happened):
    """A dispute has ended. ``entry``: the agreement, confirmation or decision that brought it; ``amount``: what the
    buyer gets back by it in all, also what was asked for before."""

    outcome: Outcome
    cause: Literal["agreement", "fulfillment", "decision", "chargeback"]
    entry: int
    resolution: Resolution | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    settlement: Money | None = None
    reversal: Reversal | None = None


class DisputeWithdrawn(Happened):
    """The buyer has closed it, and may reopen it until then."""

    reason: str
    reopen_until: Timestamp | None = None
    settlement: Money | None = None


class DisputeReopened(Happened):
    reason: str


class DisputeFrozen(Happened):
    """A chargeback: no money moves until the bank has decided. ``event`` is the order event's id; there is none where
    it came before the dispute.
    """

    event: str | None = None
    charged_back_at: Timestamp


class ProposalMade(Happened):
    """An offer; ``supersedes`` the same side's offer before."""

    resolution: Resolution
    amount: Amount | None = None
    currency: Currency | None = None
    expires_at: Timestamp
    note: str | None = None
    supersedes: int | None = None


class ProposalAccepted(Happened):
    """An offer was accepted; ``matched``: by an equal offer of the other side."""

    proposal: int
    matched: int | None = None
    resolution: Resolution
    amount: Amount | None = None
    currency: Currency | None = None


class DecisionIssued(Happened):
    """An agent has decided; ``final`` or to be appealed until then."""

    outcome: Outcome
    resolution: Resolution
    amount: Amount | None = None
    currency: Currency | None = None
    reason_codes: list[str]
    statement: str
    evidence: list[str]
    final: bool
    appeal_until: Timestamp | None = None


class AppealFiled(Happened):
    """The losing party has new evidence; another agent decides. The other side may answer until then."""

    reason: str
    evidence: list[str]
    answer_by: Timestamp


class PaymentRequested(OfDispute):
    """Money is to move. ``key``: pay it once, however often it is asked for; report it as an order event with the same
    ``key`` in its data. ``attempt``: 2 and more after `payment.failed`.
    """

    amount: Amount
    currency: Currency
    key: str
    attempt: int


class Writer(Person):
    role: Role


class ParticipantUnread(_Data):
    """A message has not been read, and its reader is not there: what a push notification is made from, once for each
    stretch of unread messages. ``seq``: the first of them; ``count``: how many, 100 or more as 100; ``from``: who wrote
    the first.
    """

    room: str
    kind: RoomKind
    order_id: str
    user: str
    side: Role
    seq: int
    at: Timestamp
    count: int
    from_: Writer = Field(alias="from")


class ContactFlagged(_Data):
    """Something that breaks the rules about contact or conduct was found in what a party wrote: the entry ``seq``,
    which was shown with a reminder (`warned`), in part (`masked`) or not at all (`withheld`). ``categories``: what was
    found, the surest first; ``confidence`` in percent. ``strikes``: how much this user has lately done, by the
    operator's policy, and ``repeated`` that it is much. Never any of the text. What staff release before it was told is
    not told; neither is what counts no more: of one user in one room ten of a kind within ten minutes do, and one
    flood, repeat or wall of text.
    """

    room: str
    order_id: str
    dispute: str | None = None
    seq: int
    at: Timestamp
    user: str
    role: Role
    mark: Literal["warned", "masked", "withheld"]
    categories: list[str]
    confidence: Annotated[int, Field(ge=0, le=100)]
    strikes: float
    repeated: bool


DATA: Final[dict[WebhookType, type[BaseModel]]] = {
    WebhookType.DISPUTE_OPENED: DisputeOpened,
    WebhookType.DISPUTE_ATTENDED: DisputeAttended,
    WebhookType.DISPUTE_ESCALATED: DisputeEscalated,
    WebhookType.DISPUTE_RESOLVED: DisputeResolved,
    WebhookType.DISPUTE_WITHDRAWN: DisputeWithdrawn,
    WebhookType.DISPUTE_REOPENED: DisputeReopened,
    WebhookType.DISPUTE_FROZEN: DisputeFrozen,
    WebhookType.PROPOSAL_MADE: ProposalMade,
    WebhookType.PROPOSAL_ACCEPTED: ProposalAccepted,
    WebhookType.DECISION_ISSUED: DecisionIssued,
    WebhookType.APPEAL_FILED: AppealFiled,
    WebhookType.PAYMENT_HOLD_REQUESTED: PaymentRequested,
    WebhookType.PAYMENT_RELEASE_REQUESTED: PaymentRequested,
    WebhookType.PAYMENT_REFUND_REQUESTED: PaymentRequested,
    WebhookType.PARTICIPANT_UNREAD: ParticipantUnread,
    WebhookType.CONTACT_FLAGGED: ContactFlagged,
}


def describe(document: dict[str, Any]) -> None:
    """Add the webhooks to an OpenAPI document."""
    models = sorted(set(DATA.values()), key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/Webhook{model}"
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in found["$defs"].items():
        schema.pop("additionalProperties", None)  # receivers must expect more
        if "description" in schema:
            schema["description"] = _markdown(schema["description"])
        schemas[f"Webhook{name}"] = schema
    document["webhooks"] = {kind.value: {"post": _operation(kind, model)} for kind, model in DATA.items()}


def _operation(kind: WebhookType, model: type[BaseModel]) -> Mapping[str, Any]:
    headers = {
        "webhook-id": "The event: the same in every attempt and replay. Take each once.",
        "webhook-timestamp": "When this attempt was made, in seconds since 1970.",
        "webhook-signature": "`v1,` and the signature, once for each secret that holds, separated by spaces.",
    }
    payload = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": kind.value},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": {"$ref": f"#/components/schemas/Webhook{model.__name__}"},
        },
    }
    return {
        "tags": ["webhooks"],
        "summary": kind.value,
        "description": _markdown(inspect.cleandoc(model.__doc__ or "")),
        "operationId": f"webhook_{kind.name.lower()}",
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": meaning}
            for name, meaning in headers.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": payload}}},
        "responses": {"2XX": {"description": "Taken."}, "410": {"description": "Nothing more is wanted."}},
    }


def _markdown(docstring: str) -> str:
    return docstring.replace("``", "`")
