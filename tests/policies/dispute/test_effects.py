from policies.dispute import commands as ask
from policies.dispute.effects import told
from policies.instant import rfc3339
from policies.vocabulary import DisputeId, EntryKind, OrderEventType, Resolution, WebhookType
from tests.policies.dispute.story import AGENT, BUYER, MS, PAID, SECOND, SELLER, Story

W = WebhookType


def test_what_the_marketplace_is_told_of_a_whole_dispute() -> None:
    story = Story().attended()
    story.offers(SELLER, Resolution.PARTIAL_REFUND, 100)
    story.claimed()
    story.recommends(AGENT, "seller_favor", "release_to_seller")
    story.decides(AGENT, "seller_favor", "release_to_seller")
    story.appeals(BUYER, "e1")
    story.event(OrderEventType.CHARGEBACK_OPENED)
    story.wait(MS).event(OrderEventType.CHARGEBACK_WON)
    story.says(SELLER, "No comment.")
    story.did(SECOND, ask.JoinAsAgent)
    story.did(BUYER, ask.Close, "Never mind.")
    story.did(BUYER, ask.Reopen, "Or do.")
    story.decides(SECOND, "buyer_favor", "full_refund")
    assert [event.type for event in story.webhooks] == [
        W.DISPUTE_OPENED,
        W.PAYMENT_HOLD_REQUESTED,
        W.DISPUTE_ATTENDED,
        W.PROPOSAL_MADE,
        W.DISPUTE_ESCALATED,
        W.DECISION_ISSUED,
        W.DISPUTE_RESOLVED,
        W.PAYMENT_RELEASE_REQUESTED,
        W.APPEAL_FILED,
        W.DISPUTE_FROZEN,
        W.DISPUTE_WITHDRAWN,
        W.DISPUTE_REOPENED,
        W.DECISION_ISSUED,
        W.DISPUTE_RESOLVED,
        W.PAYMENT_REFUND_REQUESTED,
    ]


def test_what_an_entry_says_hides_neither_who_did_it_nor_when() -> None:
    story = Story().attended()
    story.event(OrderEventType.CHARGEBACK_OPENED)
    [attended], [frozen] = story.told(W.DISPUTE_ATTENDED), story.told(W.DISPUTE_FROZEN)
    assert (attended["by"], attended["act"]) == ({"id": "system", "role": "system"}, "message")
    assert frozen["by"] == {"id": "system", "role": "system"}
    assert frozen["at"] == rfc3339(story.now)
    assert frozen["charged_back_at"] <= frozen["at"]


def test_every_event_says_what_it_is_about() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 100, note="Sorry.")
    [made] = story.told(W.PROPOSAL_MADE)
    assert made == {
        "dispute": story.state.id,
        "order_id": "1",
        "room": story.state.room,
        "seq": offer,
        "at": rfc3339(story.now),
        "stage": "negotiation",
        "status": "waiting_for_buyer",
        "by": {"id": SELLER.id, "role": "seller"},
        "resolution": "partial_refund",
        "amount": 100,
        "currency": "EUR",
        "expires_at": story.last.body["expires_at"],
        "note": "Sorry.",
    }


def test_of_a_message_nothing_is_told() -> None:
    story = Story().attended()
    before = story.state
    [said] = story.says(BUYER, "Hello?")
    assert said.kind is EntryKind.MESSAGE
    assert told(before, said, story.state) == []


def test_a_replay_tells_the_same() -> None:
    """The desk tells of an entry when it writes it; what it would tell follows from the entries alone."""
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.FULL_REFUND)
    story.did(BUYER, ask.AcceptProposal, offer)
    again = [
        event
        for number, entry in enumerate(story.entries)
        for event in told(story.states[number - 1] if number else None, entry, story.states[number])
    ]
    assert again == story.webhooks


def test_of_an_opening_is_told_what_is_of_use_outside() -> None:
    first = Story().attended()
    offer = first.offers(SELLER, Resolution.PARTIAL_REFUND, 3000)
    first.did(BUYER, ask.AcceptProposal, offer)
    second = Story(now=first.now, earlier=first.state, dispute=DisputeId("e" * 20))
    assert second.entries[0].body["before"]["requests"] == [
        {"key": f"{first.state.id}:6", "refund": 3000, "release": PAID - 3000}
    ]
    for story in (first, second):
        [opened] = story.told(W.DISPUTE_OPENED)
        assert not {"before", "policy"} & opened.keys()
        assert not {"asked", "version"} & opened["order"].keys()
