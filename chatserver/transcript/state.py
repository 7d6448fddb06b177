"""How an order and a dispute stand, in words: the summary on the first page.

The plain data is that of the wire (``GET /v1/orders/{order_id}``, ``GET /v1/disputes/{id}``). What is missing is left
out: a case file of another hand must not keep anybody from reading the rest of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chatserver.transcript.phrases import money, sentence, value_in_words, when, words_of
from chatserver.transcript.text import shown
from chatserver.transcript.wording import Body, Fact

Data = Mapping[str, Any]
Row = tuple[str, str, Callable[[Any], str]]


@dataclass(frozen=True, slots=True)
class Group:
    """Details under a heading, and what somebody wrote."""

    title: str
    facts: tuple[Fact, ...]
    text: str = ""


_ORDER: Final[tuple[Row, ...]] = (
    ("Order", "order_id", value_in_words),
    ("Category", "category", words_of),
    ("Placed", "placed_at", when),
)
_ORDER_STATE: Final[tuple[Row, ...]] = (
    ("Delivered", "delivered_at", when),
    ("Delivery confirmed", "delivery_confirmed_at", when),
    ("Canceled", "canceled_at", when),
    ("Payment", "payment", words_of),
    ("Chargeback", "chargeback", words_of),
)
_DEADLINE: Final[tuple[Row, ...]] = (
    ("counted from", "started_at", when),
    ("moved by", "moved_by", lambda seq: f"entry {value_in_words(seq)}"),
    ("about", "of", lambda seq: f"entry {value_in_words(seq)}"),
)


def order_group(order: Data) -> Group:
    """The order's facts and what its events add up to."""
    facts = [*_facts(order, _ORDER)]
    if "amount" in order:
        facts.insert(2, Fact("Amount", money(order["amount"], order.get("currency"))))
    facts += _facts(
        {"trust": _object(order, "seller").get("trust_level")}, (("Seller's trust level", "trust", words_of),)
    )
    state = _object(order, "state")
    facts += _facts(state, _ORDER_STATE)
    if state.get("refunded"):
        facts.append(Fact("Refunded so far", money(state["refunded"], order.get("currency"))))
    details = Body(_object(order, "details"), "")
    details.rest()
    return Group("Order", (*facts, *details.facts))


def dispute_groups(dispute: Data) -> Iterator[Group]:
    """How the dispute stands, and everything in it that is open or decided."""
    order = _object(dispute, "order")
    currency = order.get("currency")

    def amount(value: Any) -> str:
        return money(value, currency)

    ruling: tuple[Row, ...] = (
        ("Outcome", "outcome", words_of),
        ("Resolution", "resolution", words_of),
        ("Amount", "amount", amount),
        ("Reasons", "reason_codes", value_in_words),
        ("Evidence", "evidence", value_in_words),
        ("Decided", "at", when),
        ("Final", "final", value_in_words),
        ("By", "agent", value_in_words),
    )
    yield Group("Dispute", tuple(_facts(dispute, _standing(amount))), _text(dispute, "description"))
    yield from _deadlines(dispute)
    for offer in _objects(dispute, "offers"):
        yield _offer(offer, amount, "Open offer")
    if fulfillment := _object(dispute, "fulfillment"):
        agreed = _offer(_object(fulfillment, "offer"), amount, "To be fulfilled")
        rows: tuple[Row, ...] = (("To be done by", "fulfill_by", when), ("Said to be done", "marked_at", when))
        yield Group(agreed.title, (*agreed.facts, *_facts(fulfillment, rows)), agreed.text)
    if escalation := _object(dispute, "escalation"):
        yield Group("Escalation", tuple(_facts(escalation, _ESCALATION)), _text(escalation, "reason"))
    for request in _objects(dispute, "requests"):
        yield Group("Evidence requested", tuple(_facts(request, _REQUEST)), _text(request, "what"))
    for title, name in (("Recommendation", "recommendation"), ("Decision", "decision")):
        if found := _object(dispute, name):
            yield Group(title, tuple(_facts(found, ruling)), _text(found, "statement"))
    if appeal := _object(dispute, "appeal"):
        yield Group("Appeal", tuple(_facts(appeal, _APPEAL)), _text(appeal, "reason"))
    for settlement in _objects(dispute, "earlier_settlements"):
        yield Group("Earlier settlement", tuple(_facts(settlement, _settlement(amount))))
    if settlement := _object(dispute, "settlement"):
        yield Group("Settlement by the marketplace", tuple(_facts(settlement, _settlement(amount))))


def _standing(amount: Callable[[Any], str]) -> tuple[Row, ...]:
    return (
        ("Stage", "stage", words_of),
        ("Status", "status", words_of),
        ("Outcome", "outcome", words_of),
        ("Resolution", "resolution", words_of),
        ("Amount", "resolved_amount", amount),
        ("Ended", "ended_at", when),
        ("Reason", "reason", words_of),
        ("Wanted", "desired_resolution", words_of),
        ("Amount wanted", "desired_amount", amount),
        ("Opened", "opened_at", when),
        ("Seller answered", "attended_at", when),
        ("Last act of a party", "last_update_at", when),
        ("Left to refund", "refundable", amount),
        ("Payment held", "held", value_in_words),
        ("Frozen by a chargeback", "frozen", value_in_words),
        ("Frozen since", "frozen_at", when),
        ("Reopened", "reopened", value_in_words),
        ("Room closed", "closed", value_in_words),
        ("Policy", "policy_version", value_in_words),
        ("Agent", "agent", lambda agent: value_in_words(agent.get("name") if isinstance(agent, dict) else agent)),
        ("Recused", "recused", value_in_words),
    )


_ESCALATION: Final[tuple[Row, ...]] = (("By rule", "rule", words_of), ("At", "at", when))
_REQUEST: Final[tuple[Row, ...]] = (
    ("From the", "of", words_of),
    ("Due", "due_at", when),
    ("Answered", "met", value_in_words),
    ("Entry", "seq", value_in_words),
)
_APPEAL: Final[tuple[Row, ...]] = (
    ("By the", "side", words_of),
    ("Filed", "at", when),
    ("New evidence", "evidence", value_in_words),
    ("Answered", "answered", value_in_words),
    ("Against the decision of", "against", value_in_words),
)


def _settlement(amount: Callable[[Any], str]) -> tuple[Row, ...]:
    return (
        ("Status", "status", words_of),
        ("Refund to the buyer", "refund", amount),
        ("Refund done", "refund_done", value_in_words),
        ("Release to the seller", "release", amount),
        ("Release done", "release_done", value_in_words),
        ("Asked for", "attempts", lambda times: f"{value_in_words(times)} time{'' if times == 1 else 's'}"),
    )


def _deadlines(dispute: Data) -> Iterator[Group]:
    facts = []
    for deadline in _objects(dispute, "deadlines"):
        receipt = ", ".join(f"{fact.label} {fact.value}" for fact in _facts(deadline, _DEADLINE))
        due = when(deadline.get("due_at")) + (", paused" if deadline.get("paused") is True else "")
        facts.append(Fact(sentence(_text(deadline, "rule")), f"due {due}" + (f" ({receipt})" if receipt else "")))
    if facts:
        yield Group("Deadlines", tuple(facts))


def _offer(offer: Data, amount: Callable[[Any], str], title: str) -> Group:
    rows: tuple[Row, ...] = (
        ("By the", "side", words_of),
        ("Resolution", "resolution", words_of),
        ("Amount", "amount", amount),
        ("Expires", "expires_at", when),
        ("Entry", "seq", value_in_words),
    )
    return Group(title, tuple(_facts(offer, rows)), _text(offer, "note"))


def _facts(data: Data, rows: tuple[Row, ...]) -> list[Fact]:
    return [Fact(label, form(data[name])) for label, name, form in rows if data.get(name) not in (None, "", [], {})]


def _object(data: Data, name: str) -> Data:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _objects(data: Data, name: str) -> list[Data]:
    found = data.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _text(data: Data, name: str) -> str:
    found = data.get(name)
    return shown(found) if isinstance(found, str) else ""
