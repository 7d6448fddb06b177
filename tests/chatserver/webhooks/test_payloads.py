"""What is told is what is described."""

from datetime import timedelta

from openapi_spec_validator import validate

from chatserver.webhooks.payloads import DATA, describe
from policies.dispute import commands as ask
from policies.order import Chargeback, OrderState
from policies.vocabulary import DisputeId, OrderEventType, Resolution, WebhookType
from tests.policies.dispute.story import AGENT, BUYER, MS, OPENED, SECOND, SELLER, Story, policy


def stories() -> list[Story]:
    """Lives of disputes that tell everything in every way."""
    agreed = Story().attended()
    offer = agreed.offers(SELLER, Resolution.PARTIAL_REFUND, 100, note="Sorry.")
    agreed.did(BUYER, ask.AcceptProposal, offer)

    ruled = Story(policy(settle="when_final")).attended()
    ruled.claimed()
    ruled.decides(AGENT, "seller_favor", "release_to_seller")
    ruled.appeals(BUYER, "e1")
    ruled.event(OrderEventType.CHARGEBACK_OPENED)
    ruled.wait(MS).event(OrderEventType.CHARGEBACK_WON)
    ruled.says(SELLER, "No comment.")
    ruled.did(SECOND, ask.JoinAsAgent)
    ruled.did(BUYER, ask.Close, "Never mind.")
    ruled.did(BUYER, ask.Reopen, "Or do.")
    ruled.decides(SECOND, "buyer_favor", "full_refund")

    charged = OrderState(chargeback=Chargeback.OPEN, chargeback_at=OPENED - timedelta(hours=1))
    frozen = Story(order_state=charged)
    frozen.event(OrderEventType.CHARGEBACK_LOST)

    reversed_ = Story().claimed()
    reversed_.decides(AGENT, "compromise", "split", 100)
    reversed_.appeals(BUYER, "e1")
    reversed_.says(SELLER, "No comment.")
    reversed_.did(SECOND, ask.JoinAsAgent)
    reversed_.decides(SECOND, "buyer_favor", "full_refund")
    again = Story(earlier=agreed.state, now=agreed.now, dispute=DisputeId("e" * 20))
    return [agreed, ruled, frozen, reversed_, again]


def test_every_event_is_as_described() -> None:
    seen = set()
    for story in stories():
        for event in story.webhooks:
            DATA[event.type].model_validate(event.data)
            seen.add(event.type)
    assert seen | {WebhookType.PARTICIPANT_UNREAD, WebhookType.CONTACT_FLAGGED} == set(DATA)


def test_every_type_is_described() -> None:
    assert set(DATA) == set(WebhookType)


def test_the_description_is_a_valid_part_of_an_openapi_document() -> None:
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {}}
    describe(document)
    validate(document)
    assert set(document["webhooks"]) == {kind.value for kind in DATA}
