"""Whether a command is the one that an entry came from, sent again."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, get_args

import pytest

from policies.dispute import commands as ask
from policies.dispute.commands import Asked, Command
from policies.dispute.fact import Foreseen
from policies.dispute.retries import same_command
from policies.order import OrderEvent
from policies.room import SYSTEM
from policies.verdicts import Target
from policies.vocabulary import (
    CommandId,
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Outcome,
    Reason,
    Resolution,
    Role,
    Seq,
    Visibility,
)
from tests.policies.dispute.story import AGENT, BUYER, FACTS, OPENED, SELLER, H, Story, opening

AT_LENGTH = {"outcome": Outcome.COMPROMISE, "resolution": Resolution.PARTIAL_REFUND, "amount": 500}
RULED: dict[str, Any] = {**AT_LENGTH, "statement": "So be it.", "reason_codes": ("a", "b"), "evidence": ("e1",)}
EVENT = OrderEvent("e", OrderEventType.DELIVERED, OPENED, {"carrier": "post"})


def played() -> Iterator[tuple[Command, Foreseen]]:
    """Commands, each with the entry that it wrote."""

    def did(story: Story, author: Any, kind: type[Any], *said: Any, **more: Any) -> tuple[Command, Foreseen]:
        command = story.command(author, kind, *said, **more)
        entries = story.run(command)
        [own] = [entry for entry in entries if entry.author == author]
        return command, own

    story = Story()
    yield did(story, BUYER, ask.SendMessage, "Hello", Seq(1), evidence=("e1",))
    yield did(story, SELLER, ask.SendMessage, "Hello there")
    known = Target(
        Seq(2), EntryKind.MESSAGE, BUYER, Visibility.ALL, None, None, masked=False, speaks=True, erased=False
    )
    yield did(story, AGENT, ask.RedactMessage, known.seq, "Insulting", known)
    redacted = replace(known, shown=Visibility.WITHHELD)
    yield did(story, AGENT, ask.ReleaseMessage, known.seq, "Not that insulting", redacted)
    end = OPENED + 5 * H
    yield did(story, SELLER, ask.MakeProposal, Resolution.PARTIAL_REFUND, 500, "EUR", "Take it", end)
    yield did(story, BUYER, ask.RejectProposal, story.last.seq, "No")
    yield did(story, SELLER, ask.MakeProposal, Resolution.PARTIAL_REFUND, 600)
    yield did(story, SELLER, ask.WithdrawProposal, story.last.seq, "Changed my mind")
    yield did(story, BUYER, ask.AddEvidence, "e1", EvidenceKind.PHOTO, {"caption": "broken"})
    yield did(story, BUYER, ask.WithdrawEvidence, "e1", "The wrong one")
    yield did(story, SELLER, ask.MakeProposal, Resolution.REPLACEMENT)
    yield did(story, BUYER, ask.AcceptProposal, story.last.seq)
    yield did(story, SELLER, ask.MarkFulfilled, "Sent")
    yield did(story, BUYER, ask.ConfirmFulfilled, "Got it")

    story = Story()
    yield did(story, BUYER, ask.Close, "Never mind")
    yield did(story, BUYER, ask.Reopen, "Mind")
    story.attended().wait(24 * H)
    yield did(story, BUYER, ask.Escalate, "Help")
    yield did(story, AGENT, ask.JoinAsAgent)
    yield did(story, AGENT, ask.LeaveAsAgent, False, "Lunch")
    story.claimed().shows(BUYER, "e1")
    yield did(story, AGENT, ask.RequestEvidence, Role.SELLER, "A photo", story.now + H, (EvidenceKind.PHOTO,))
    story.wait(49 * H)
    yield did(story, AGENT, ask.Recommend, **RULED)
    yield did(story, AGENT, ask.Decide, **RULED)
    story.shows(BUYER, "e2", "e3")
    yield did(story, BUYER, ask.FileAppeal, "Look again", ("e2", "e3"))
    yield did(story, SYSTEM, ask.ReportEvent, EVENT)


PLAYED = list(played())
CHANGED: dict[str, Any] = {
    "seq": Seq(1),
    "text": "Other",
    "reply_to": Seq(2),
    "resolution": Resolution.FULL_REFUND,
    "amount": 501,
    "note": "Other",
    "expires_at": OPENED + 6 * H,
    "proposal": Seq(1),
    "reason": "Other",
    "evidence": ("e9",),
    "recuse": True,
    "of": Role.BUYER,
    "what": "Other",
    "due_at": OPENED,
    "kinds": (EvidenceKind.VIDEO,),
    "outcome": Outcome.SELLER_FAVOR,
    "statement": "Other",
    "reason_codes": ("c",),
    "kind": EvidenceKind.VIDEO,
    "body": {"caption": "whole"},
    "event": replace(EVENT, data={"carrier": "other"}),
}
NOT_SAID = {"max_chars", "take_over", "currency", "target"}
"""Of a command, what is no part of its entry; nor is why an agent leaves, which is for the staff log."""


@pytest.mark.parametrize(("command", "entry"), PLAYED, ids=lambda each: type(each).__name__)
def test_the_same_command_is_known_again_whatever_time_it_is(command: Command, entry: Foreseen) -> None:
    assert same_command(command, entry)
    assert same_command(command, replace(entry, body={}))  # erased: only the kind is left
    other = EntryKind.NOTICE if entry.kind is EntryKind.MESSAGE else EntryKind.MESSAGE
    assert not same_command(command, replace(entry, kind=other))


@pytest.mark.parametrize(("command", "entry"), PLAYED, ids=lambda each: type(each).__name__)
def test_a_command_that_says_something_else_is_another_one(command: Command, entry: Foreseen) -> None:
    common = {field.name for field in fields(Asked)}
    for field in fields(command):
        noted = isinstance(command, ask.LeaveAsAgent) and field.name == "reason"
        if field.name not in common | NOT_SAID and not noted:
            said: Any = getattr(command, field.name)
            changed: dict[str, Any] = {field.name: "e9" if said == "e1" else CHANGED[field.name]}
            assert not same_command(replace(command, **changed), entry), field.name


def test_every_command_with_an_entry_of_its_own_is_tried() -> None:
    tried = {type(command) for command, _ in PLAYED}
    assert set(get_args(Command)) - tried == {ask.LapseClaim, ask.Tick}


@pytest.mark.parametrize(
    "command",
    [ask.LapseClaim(SYSTEM, CommandId("lapse"), AGENT.id), ask.Tick(SYSTEM, CommandId("tick"))],
)
def test_what_has_no_entry_of_its_own_is_never_known_again(command: Command) -> None:
    assert not any(same_command(command, entry) for _, entry in PLAYED)


def test_a_sum_or_time_that_was_left_to_the_server_is_not_compared() -> None:
    story = Story().attended()
    full = story.command(SELLER, ask.MakeProposal, Resolution.FULL_REFUND)
    [entry] = story.run(full)
    assert entry.body["amount"] == FACTS.amount
    assert same_command(full, entry)
    assert same_command(replace(full, amount=FACTS.amount), entry)
    assert not same_command(replace(full, expires_at=story.now + timedelta(hours=1)), entry)


def test_an_opening_sent_again() -> None:
    command = opening(amount=500, desired_resolution=Resolution.PARTIAL_REFUND)
    entry = Story(amount=500, desired_resolution=Resolution.PARTIAL_REFUND).entries[0]
    assert same_command(command, entry)
    assert same_command(replace(command, amount=None), entry)
    for change in (
        {"reason": Reason.OTHER},
        {"description": "Other"},
        {"desired_resolution": Resolution.FULL_REFUND},
        {"amount": 501},
    ):
        assert not same_command(replace(command, **change), entry), change
