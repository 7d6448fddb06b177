from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import BadRequest
from policies.order import (
    Changes,
    Chargeback,
    OrderEvent,
    OrderFacts,
    OrderState,
    Payment,
    Seller,
    apply_event,
    changes,
    refund,
)
from policies.room import Party
from policies.vocabulary import OrderCategory, OrderEventType, OrderId, TrustLevel, UserId

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FACTS = OrderFacts(
    id=OrderId("1"),
    buyer=Party(UserId("b"), "Bo"),
    seller=Seller(UserId("s"), "Sue", TrustLevel.VERIFIED),
    title="A lamp",
    category=OrderCategory.ITEM,
    amount=1999,
    currency="EUR",
    placed_at=NOON,
    details={"colour": "red"},
)


def event(kind: OrderEventType, minutes: int = 0) -> OrderEvent:
    return OrderEvent(f"{kind}-{minutes}", kind, NOON + timedelta(minutes=minutes))


def after(*events: OrderEvent) -> OrderState:
    return reduce(lambda state, event: apply_event(state, event, FACTS.amount), events, OrderState())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": OrderId("")}, "order_id"),
        ({"id": OrderId("x" * 129)}, "order_id"),
        ({"id": OrderId("a\x1fb")}, "order_id"),
        ({"buyer": Party(UserId(""), "Bo")}, "buyer.id"),
        ({"buyer": Party(UserId("system"), "Bo")}, "buyer.id"),
        ({"seller": Seller(UserId("a\nb"), "Sue")}, "seller.id"),
        ({"seller": Seller(UserId("b"), "Bo again")}, "seller.id"),
        ({"title": "  "}, "title"),
        ({"amount": -1}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"placed_at": datetime(2026, 1, 1)}, "placed_at"),  # noqa: DTZ001
    ],
)
def test_facts_that_cannot_be_are_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        replace(FACTS, **change)
    assert refused.value.details == {"field": field}


def test_details_are_plain_data() -> None:
    with pytest.raises(BadRequest):
        replace(FACTS, details={"weight": 0.5})


def test_a_free_order_is_an_order() -> None:
    assert replace(FACTS, amount=0).amount == 0


def test_times_are_kept_as_utc_milliseconds() -> None:
    told = datetime(2026, 1, 1, 13, 0, 0, 1_999, timezone(timedelta(hours=1)))
    at = datetime(2026, 1, 1, 12, 0, 0, 1_000, UTC)
    assert replace(FACTS, placed_at=told).placed_at == at
    assert OrderEvent("e", OrderEventType.DELIVERED, told).at == at


@pytest.mark.parametrize("change", [{"id": ""}, {"at": datetime(2026, 1, 1)}, {"data": {"rate": 0.1}}])  # noqa: DTZ001
def test_events_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        replace(event(OrderEventType.DELIVERED), **change)


def test_delivery_and_its_confirmation() -> None:
    state = after(event(OrderEventType.DELIVERED, 1), event(OrderEventType.DELIVERY_CONFIRMED, 5))
    assert state == OrderState(
        delivered_at=NOON + timedelta(minutes=1), delivery_confirmed_at=NOON + timedelta(minutes=5)
    )


def test_the_first_confirmation_counts_whoever_made_it() -> None:
    state = after(event(OrderEventType.AUTO_CONFIRMED, 9), event(OrderEventType.DELIVERY_CONFIRMED, 5))
    assert state.delivery_confirmed_at == NOON + timedelta(minutes=5)


def test_a_cancellation() -> None:
    assert after(event(OrderEventType.CANCELED, 2)).canceled_at == NOON + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("kind", "chargeback"),
    [(OrderEventType.CHARGEBACK_WON, Chargeback.WON), (OrderEventType.CHARGEBACK_LOST, Chargeback.LOST)],
)
def test_a_chargeback_ends_even_when_its_opening_is_told_late(kind: OrderEventType, chargeback: Chargeback) -> None:
    state = after(event(kind, 9), event(OrderEventType.CHARGEBACK_OPENED, 1))
    assert (state.chargeback, state.chargeback_at) == (chargeback, NOON + timedelta(minutes=9))


def test_a_second_chargeback_opens_again() -> None:
    opened, lost = OrderEventType.CHARGEBACK_OPENED, OrderEventType.CHARGEBACK_LOST
    assert after(event(opened, 1), event(lost, 2), event(opened, 3)).chargeback is Chargeback.OPEN


@pytest.mark.parametrize(
    ("kind", "payment"),
    [
        (OrderEventType.PAYMENT_HELD, Payment.HELD),
        (OrderEventType.PAYMENT_RELEASED, Payment.RELEASED),
        (OrderEventType.PAYMENT_REFUNDED, Payment.REFUNDED),
        (OrderEventType.PAYMENT_FAILED, Payment.FAILED),
    ],
)
def test_a_payment(kind: OrderEventType, payment: Payment) -> None:
    assert after(event(kind)).payment is payment


def refunded(number: int, amount: int | None) -> OrderEvent:
    data = {} if amount is None else {"amount": amount}
    return replace(event(OrderEventType.PAYMENT_REFUNDED, number), data=data)


@pytest.mark.parametrize(
    ("amounts", "sum_"),
    [([100], 100), ([100, 250], 350), ([1999], 1999), ([2000], 1999), ([None], 1999), ([100, None], 1999), ([0], 0)],
)
def test_refunds_add_up_to_no_more_than_the_order(amounts: list[int | None], sum_: int) -> None:
    events = [refunded(number, amount) for number, amount in enumerate(amounts)]
    assert after(*events).refunded == after(*reversed(events)).refunded == sum_


@pytest.mark.parametrize("amount", [-1, True, "100"])
def test_a_refund_of_no_amount_is_no_event(amount: object) -> None:
    with pytest.raises(BadRequest) as refused:
        replace(event(OrderEventType.PAYMENT_REFUNDED), data={"amount": amount})
    assert refused.value.details == {"field": "data.amount"}


def test_a_refund_of_nothing_changes_nothing() -> None:
    assert after(refunded(1, 0)) == OrderState()


@pytest.mark.parametrize(("amount", "asked", "sum_"), [(None, 700, 700), (None, 0, 0), (None, None, 1999), (5, 700, 5)])
def test_a_refund_that_names_only_our_key_is_of_what_was_asked_for(
    amount: int | None, asked: int | None, sum_: int
) -> None:
    assert apply_event(OrderState(), refunded(1, amount), 1999, asked).refunded == sum_


def test_what_a_refund_paid_back() -> None:
    assert refund(refunded(1, 2**53 - 1), 1999) == 2**53 - 1
    assert refund(refunded(1, None), 1999) == 1999


def test_of_two_payments_at_the_same_moment_the_one_further_on_counts() -> None:
    held, refunded = event(OrderEventType.PAYMENT_HELD), event(OrderEventType.PAYMENT_REFUNDED)
    assert after(held, refunded).payment is after(refunded, held).payment is Payment.REFUNDED


events = st.lists(st.builds(event, st.sampled_from(OrderEventType), st.integers(0, 3)), max_size=8)


@given(events.flatmap(lambda told: st.tuples(st.just(told), st.permutations(told))))
def test_the_order_in_which_events_come_does_not_matter(orders: tuple[Sequence[OrderEvent], ...]) -> None:
    told, shuffled = orders
    assert after(*told) == after(*shuffled)


def test_the_same_facts_are_no_change() -> None:
    assert changes(FACTS, replace(FACTS)) == Changes((), False)


def test_changes_are_named() -> None:
    new = replace(FACTS, title="A red lamp", details={"colour": "blue"})
    assert changes(FACTS, new) == Changes(("title", "details"), False)


def test_a_new_name_of_a_party_is_no_new_party() -> None:
    assert changes(FACTS, replace(FACTS, buyer=Party(UserId("b"), "Bob"))) == Changes(("buyer",), False)


@pytest.mark.parametrize(
    "change", [{"buyer": Party(UserId("c"), "Cy")}, {"seller": Seller(UserId("t"), "Tom", TrustLevel.VERIFIED)}]
)
def test_another_person_is_a_change_of_parties(change: dict[str, Any]) -> None:
    assert changes(FACTS, replace(FACTS, **change)) == Changes(tuple(change), True)
