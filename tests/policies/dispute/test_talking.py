from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.course import SEEN_MOST
from policies.dispute.state import Rule
from policies.errors import BadRequest, Forbidden, Refused, RoomClosed, TooLarge
from policies.vocabulary import EntryKind, EvidenceKind, Resolution, Role, Seq, Stage, Status, WebhookType
from tests.policies.dispute.story import AGENT, AUDITOR, BUYER, MS, OPENED, SECOND, SELLER, SENIOR, H, Story

ATTENDED = EntryKind.DISPUTE_ATTENDED


def test_the_sellers_first_real_message_attends() -> None:
    story = Story().wait(H)
    written = story.says(SELLER, "I will look into it.")
    assert [entry.kind for entry in written] == [EntryKind.MESSAGE, ATTENDED]
    assert written[1].author.role is Role.SYSTEM
    assert written[1].body == {"by": "message", "entry": written[0].seq}
    state = story.state
    assert state.status is Status.WAITING_FOR_BUYER
    assert state.attended_at == OPENED + H
    assert state.heard == {Role.BUYER, Role.SELLER}
    assert state.seen == ()
    assert state.deadline(Rule.SELLER_ATTEND) is None
    assert [each["act"] for each in story.told(WebhookType.DISPUTE_ATTENDED)] == ["message"]


@pytest.mark.parametrize("text", ["...", "  ?!", "—", "the LAMP does not work!", "Is  it broken"])
def test_nothing_said_or_said_again_does_not_attend(text: str) -> None:
    story = Story()
    story.says(BUYER, "Is it broken?")
    story.says(SELLER, text)
    assert ATTENDED not in story.kinds
    assert story.stands() is Status.WAITING_FOR_SELLER
    assert story.state.deadline(Rule.SELLER_ATTEND) is not None


def test_the_sellers_own_empty_text_repeated_does_not_attend_later_either() -> None:
    story = Story()
    story.says(SELLER, "...")
    story.says(SELLER, "…")
    assert ATTENDED not in story.kinds
    story.says(SELLER, "Yes.")
    assert story.kinds.count(ATTENDED) == 1


def test_it_attends_once() -> None:
    story = Story().attended()
    story.says(SELLER, "And another thing.")
    story.offers(SELLER, Resolution.REPLACEMENT)
    assert story.kinds.count(ATTENDED) == 1


def test_the_buyer_cannot_attend_for_the_seller() -> None:
    story = Story()
    story.says(BUYER, "Hello?")
    assert ATTENDED not in story.kinds
    assert story.stands() is Status.WAITING_FOR_SELLER


def test_an_offer_attends() -> None:
    story = Story()
    written = story.did(SELLER, ask.MakeProposal, Resolution.REPLACEMENT)
    assert [entry.kind for entry in written] == [EntryKind.PROPOSAL_MADE, ATTENDED]
    assert written[1].body["by"] == "proposal"


def test_evidence_attends() -> None:
    story = Story()
    written = story.did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO, {"caption": "It was fine."})
    assert [entry.kind for entry in written] == [EntryKind.EVIDENCE_ADDED, ATTENDED]
    assert written[0].body == {"caption": "It was fine.", "evidence": "e1", "kind": "photo"}
    assert written[1].body["by"] == "evidence"


@pytest.mark.parametrize("command", [ask.RejectProposal, ask.AcceptProposal])
def test_an_answer_attends(command: Any) -> None:
    story = Story()
    offer = story.offers(BUYER, Resolution.REPLACEMENT)
    written = story.did(SELLER, command, offer)
    assert written[1].kind is ATTENDED
    assert written[1].body == {"by": "answer", "entry": written[0].seq}


def test_whose_turn_it_is() -> None:
    story = Story().attended()
    assert story.stands() is Status.WAITING_FOR_BUYER
    story.says(BUYER, "How?")
    assert story.stands() is Status.WAITING_FOR_SELLER
    story.says(BUYER, "Please.")
    assert story.stands() is Status.WAITING_FOR_SELLER
    story.did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    assert story.stands() is Status.WAITING_FOR_BUYER


def test_a_partys_act_moves_the_silence_and_the_receipt_names_it() -> None:
    story = Story().attended().wait(5 * H)
    [said] = story.says(BUYER, "Any news?")
    silence = story.state.deadline(Rule.NO_UPDATE)
    assert silence is not None
    assert silence.due_at == story.now + 72 * H
    assert silence.started_at == story.now
    assert silence.moved_by == said.seq
    assert story.state.last_update_at == story.now


def test_what_comes_after_the_silence_is_over_does_not_start_it_again() -> None:
    story = Story().attended()
    silence = story.state.deadline(Rule.NO_UPDATE)
    assert silence is not None
    story.until(silence.due_at + MS)
    late = story.says(BUYER, "Hello?")  # decided before the worker came
    assert [entry.kind for entry in late] == [EntryKind.DISPUTE_ESCALATED, EntryKind.MESSAGE]
    assert story.state.stage is Stage.MEDIATION


def test_the_last_moment_is_in_time() -> None:
    story = Story().attended()
    silence = story.state.deadline(Rule.NO_UPDATE)
    assert silence is not None
    story.until(silence.due_at)
    assert [entry.kind for entry in story.says(BUYER, "Hello?")] == [EntryKind.MESSAGE]
    assert story.wait(MS).tick() == []
    assert story.state.stage is Stage.NEGOTIATION


def test_a_seller_who_comes_late_is_heard_all_the_same() -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    assert story.state.escalation is not None
    story.says(SELLER, "I was ill.")
    assert story.state.heard == {Role.BUYER, Role.SELLER}
    assert story.stands() is Status.UNDER_REVIEW


def test_after_the_end_nobody_attends() -> None:
    story = Story()
    story.did(BUYER, ask.Close, "It works now.")
    story.says(SELLER, "Glad to hear it.")
    assert ATTENDED not in story.kinds
    assert story.stands() is Status.WITHDRAWN


def test_the_texts_remembered_are_bounded() -> None:
    story = Story()
    for number in range(SEEN_MOST + 5):
        story.says(BUYER, f"Message {number}")
    assert len(story.state.seen) == SEEN_MOST


def test_agents_write_while_they_hold_the_claim() -> None:
    story = Story().claimed(AGENT)
    story.says(AGENT, "I am on it.")
    for other in (SECOND, SENIOR, AUDITOR):
        assert isinstance(story.refusal(other, ask.SendMessage, "Me too."), Forbidden)
    story.did(AGENT, ask.LeaveAsAgent)
    assert isinstance(story.refusal(AGENT, ask.SendMessage, "Bye."), Forbidden)


def test_an_agent_cannot_write_between_the_parties() -> None:
    assert isinstance(Story().refusal(AGENT, ask.SendMessage, "Hello."), Forbidden)


def test_agents_messages_change_no_clock() -> None:
    story = Story().claimed()
    before = story.state
    story.wait(H).says(AGENT, "I am on it.")
    assert story.state.last_update_at == before.last_update_at
    assert story.state.deadlines == before.deadlines


def test_a_message_is_limited() -> None:
    story = Story()
    story.did(SELLER, ask.SendMessage, "x" * 10, max_chars=10)
    assert isinstance(story.refusal(SELLER, ask.SendMessage, "x" * 11, max_chars=10), TooLarge)
    assert isinstance(story.refusal(SELLER, ask.SendMessage, " "), BadRequest)
    assert isinstance(story.refusal(SELLER, ask.SendMessage, "x", reply_to=Seq(99)), BadRequest)
    assert story.did(SELLER, ask.SendMessage, "y", reply_to=Seq(1))[0].body == {"text": "y", "reply_to": 1}


def test_evidence_of_staff_needs_the_claim() -> None:
    story = Story().escalated()
    error = story.refusal(AGENT, ask.AddEvidence, "e1", EvidenceKind.DOCUMENT)
    assert isinstance(error, Refused)
    assert error.details["rule"] == "not_claimed"
    assert isinstance(story.refusal(AUDITOR, ask.AddEvidence, "e1", EvidenceKind.DOCUMENT), Forbidden)
    story.claimed()
    story.did(AGENT, ask.AddEvidence, "e1", EvidenceKind.DOCUMENT)


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb"])
def test_evidence_has_a_usable_name(name: str) -> None:
    assert isinstance(Story().refusal(BUYER, ask.AddEvidence, name, EvidenceKind.PHOTO), BadRequest)


def test_evidence_holds_plain_data() -> None:
    assert isinstance(Story().refusal(BUYER, ask.AddEvidence, "e", EvidenceKind.PHOTO, {"size": 0.5}), BadRequest)


def test_a_closed_room_takes_nothing() -> None:
    story = Story()
    story.did(BUYER, ask.Close, "It works now.")
    story.wait(24 * H + MS).tick()
    assert story.state.closed
    assert isinstance(story.refusal(BUYER, ask.SendMessage, "Oh no."), RoomClosed)
    assert isinstance(story.refusal(BUYER, ask.AddEvidence, "e", EvidenceKind.PHOTO), RoomClosed)
