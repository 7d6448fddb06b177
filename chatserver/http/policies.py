"""What the rules of moderation make of a text, for those who tune them."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from chatserver.access import BackEnd, Caller
from chatserver.http.gate import caller, guarded_route
from chatserver.http.problems import USUAL, described
from chatserver.http.services import Services
from chatserver.settings import Settings
from chatserver.transcript.press import Press
from policies.conduct import Misconduct, Said, conduct
from policies.contact import Action, Category, OrderContext
from policies.errors import ErrorCode, Forbidden, TooLarge
from policies.screener import WINDOW_MESSAGES
from policies.secrets import SecretKind, find_secrets
from policies.vocabulary import STAFF, ApiScope, OrderCategory

FACT_CHARS: Final = 200
FACTS: Final = 20
AT_ONCE_CHARS: Final = 600
"""Longer texts may take milliseconds, so they are read beside the event loop."""
CHECKS_AT_ONCE: Final = 1
"""Of longer texts: the messages of those who talk are read beside the event loop as well, and go first."""
_CHAR_BYTES: Final = 12
"""What JSON takes for a character at most: two escaped halves."""

Fact = Annotated[str, Field(max_length=FACT_CHARS)]


class OrderFacts(BaseModel):
    """What is known of the order, so that both sides may name it."""

    ids: list[Fact] = Field([], max_length=FACTS, description="Of the order, its tracking, its parcels.")
    title: Fact = ""
    category: OrderCategory | None = None
    in_game_names: list[Fact] = Field([], max_length=FACTS, description="Declared for the delivery.")


class ContactCheck(BaseModel):
    """A text to judge as if it were a message."""

    text: str
    context: list[str] = Field(
        [], max_length=WINDOW_MESSAGES, description="The sender's earlier messages in the room, the oldest first."
    )
    order: OrderFacts = OrderFacts()


class FoundContact(BaseModel):
    """What gives contact details away, asks for them, or names another way to pay. ``start`` and ``end`` count code
    points of the text; both are 0 when it lies in an earlier message. ``confidence`` is from 0 to 1."""

    category: Category
    start: int
    end: int
    confidence: float
    rule: str


class FoundConduct(BaseModel):
    """Bad conduct, and what is done about it. Both places are 0 when all of the text is meant."""

    kind: Misconduct
    action: Action
    start: int
    end: int
    rule: str


class FoundSecret(BaseModel):
    """A secret. ``masked``: the other side does not see it in a dispute about such an order."""

    kind: SecretKind
    start: int
    end: int
    masked: bool


class ContactVerdict(BaseModel):
    """What the rules in force say.

    ``action`` and ``confidence`` are about contact elsewhere alone; ``for_staff`` and ``for_author`` what either would
    be told of it, empty where nothing is. Nobody is told anything, and nothing is kept.
    """

    action: Action
    confidence: float
    findings: list[FoundContact]
    for_staff: str
    for_author: str
    conduct: list[FoundConduct]
    secrets: list[FoundSecret]


_EXAMPLES: Final[dict[str, Any]] = {
    "attempt": {"summary": "A telephone number", "value": {"text": "call me, +49 1512 3456789"}},
    "split": {
        "summary": "One in several messages",
        "value": {"text": "3456789", "context": ["my number is +49", "1512"]},
    },
    "order": {
        "summary": "A number of the order",
        "value": {
            "text": "it is about 2025550143",
            "order": {"ids": ["2025550143"], "title": "A lamp", "category": "item"},
        },
    },
}


def router(services: Services) -> APIRouter:
    """``/v1/policies``."""
    limit = services.settings.message_chars
    seats = Press(CHECKS_AT_ONCE, "Many texts are being judged.")
    routes = APIRouter(
        prefix="/v1/policies",
        tags=["moderation"],
        route_class=guarded_route(services.auth, body_bytes(services.settings)),
        responses=described(*USUAL, ErrorCode.TOO_LARGE),
    )

    @routes.post("/contact/check", summary="Judge a text by the rules in force")
    async def check(
        asked: Annotated[ContactCheck, Body(openapi_examples=_EXAMPLES)],
        _: Annotated[None, Depends(tuner)],
    ) -> ContactVerdict:
        """For staff, and for API keys that may read disputes. The text is judged as a message would be, by the policy
        file as this process has read it, whether contact detection is in shadow mode or not.
        """
        for name, text in (("text", asked.text), *(("context", each) for each in asked.context)):
            if len(text) > limit:
                details = {"field": name, "limit": limit}
                raise TooLarge(f"A text may have at most {limit} characters.", details=details)
        if len(asked.text) + sum(map(len, asked.context)) <= AT_ONCE_CHARS:
            return _judge(services, asked)
        async with seats.seat():
            return await asyncio.to_thread(_judge, services, asked)

    return routes


def body_bytes(settings: Settings) -> int:
    """The largest body: as many texts as may be asked about, each as long as a message may be."""
    texts = (1 + WINDOW_MESSAGES) * settings.message_chars * _CHAR_BYTES
    return texts + (2 * FACTS + 1) * FACT_CHARS * _CHAR_BYTES + settings.http_body_bytes


def tuner(who: Annotated[Caller, Depends(caller)]) -> None:
    """A dependency: the caller may see how texts are judged.

    Raises:
        Forbidden: a buyer or seller, whom it would teach evasion; or a key without the scope.
    """
    if isinstance(who, BackEnd):
        who.require(ApiScope.DISPUTES_READ)
    elif who.role not in STAFF:
        raise Forbidden("Only support staff and the marketplace's back end can do this.")


def _judge(services: Services, asked: ContactCheck) -> ContactVerdict:
    order, rules = asked.order, services.policy.conduct
    category = order.category.value if order.category else ""
    context = OrderContext(
        order_ids=frozenset(order.ids),
        title=order.title,
        category=category,
        in_game_names=frozenset(order.in_game_names),
    )
    verdict = services.detector.check(asked.text, asked.context, context)
    now = services.clock.now()
    # When they were sent is not known: lately enough for a repeat, and not for a flood.
    lately = [Said(now - max(rules.flood_within * 1.001, rules.repeat_within / 2), text) for text in asked.context]
    kinds = services.policy.secrets.kinds(hand_over=order.category is OrderCategory.ACCOUNT)
    return ContactVerdict(
        action=verdict.action,
        confidence=verdict.confidence,
        findings=[
            FoundContact(
                category=each.category, start=each.start, end=each.end, confidence=each.confidence, rule=each.rule
            )
            for each in verdict.findings
        ],
        for_staff=verdict.for_staff,
        for_author=verdict.for_author,
        conduct=[
            FoundConduct(kind=each.kind, action=each.action, start=each.start, end=each.end, rule=each.rule)
            for each in conduct(asked.text, lately, now, rules)
        ],
        secrets=[
            FoundSecret(kind=each.kind, start=each.start, end=each.end, masked=each.kind in kinds)
            for each in find_secrets(asked.text)
        ],
    )
