"""Evidence in the rules of a dispute: which requests it meets, and taking it back."""

from datetime import timedelta

import pytest

from policies.dispute import commands as ask
from policies.entry import Author
from policies.errors import BadRequest, Forbidden, TooLarge
from policies.vocabulary import EntryKind, EvidenceKind, Role
from tests.policies.dispute.story import AGENT, AUDITOR, BUYER, SELLER, H, Story


def test_a_request_for_some_kinds_is_met_by_these() -> None:
    story = Story().claimed()
    kinds = (EvidenceKind.TRACKING, EvidenceKind.PROOF_OF_DELIVERY)
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "where it went", None, kinds)
    assert story.last.body["kinds"] == ["tracking", "proof_of_delivery"]
    story.did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    story.did(BUYER, ask.AddEvidence, "e2", EvidenceKind.TRACKING)
    assert [(request.kinds, request.met) for request in story.state.requests] == [(kinds, False)]
    story.did(SELLER, ask.AddEvidence, "e3", EvidenceKind.TRACKING)
    assert [request.met for request in story.state.requests] == [True]


def test_evidence_meets_all_requests_that_it_fits() -> None:
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "a photo", None, (EvidenceKind.PHOTO,))
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "a document", None, (EvidenceKind.DOCUMENT,))
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "anything")
    story.did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    assert [request.met for request in story.state.requests] == [True, False, True]


@pytest.mark.parametrize("author", [BUYER, SELLER, AGENT])
def test_evidence_is_taken_back(author: Author) -> None:
    story = Story().claimed()
    before = story.state
    story.wait(timedelta(hours=1)).did(author, ask.WithdrawEvidence, "e1", "It shows my address.")
    assert story.last.kind is EntryKind.EVIDENCE_WITHDRAWN
    assert story.last.body == {"evidence": "e1", "reason": "It shows my address."}
    assert (story.state.last_update_at, story.state.deadlines) == (before.last_update_at, before.deadlines)


def test_taking_back_does_not_attend() -> None:
    story = Story()
    story.wait(H).did(SELLER, ask.WithdrawEvidence, "e1")
    assert story.last.body == {"evidence": "e1"}
    assert story.state.attended_at is None


def test_taking_back_has_its_limits() -> None:
    story = Story()
    most = story.state.terms.note_chars
    story.did(BUYER, ask.WithdrawEvidence, "e1", "r" * most)
    assert isinstance(story.refusal(BUYER, ask.WithdrawEvidence, "e1", "r" * (most + 1)), TooLarge)
    assert isinstance(story.refusal(BUYER, ask.WithdrawEvidence, ""), BadRequest)
    assert isinstance(story.refusal(AUDITOR, ask.WithdrawEvidence, "e1"), Forbidden)
