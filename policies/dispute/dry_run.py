"""What past disputes would have been like under another policy, if everybody had done what they did.

Each dispute is played twice: under the terms that it was opened under, and under the changed ones. People's entries
become the commands they came from, in their order and at their times; what the clock does in between is worked out
anew. So a worker that was late, or a person who acted in the second that a deadline passed, makes no difference.
What a person was refused at the time is not in the record, and cannot become allowed here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final

from policies.dispute.commands import Command, Decide, Tick
from policies.dispute.decide import decide
from policies.dispute.evolve import evolve
from policies.dispute.fact import Fact, Foreseen, foresee
from policies.dispute.opening import eligibility
from policies.dispute.policy import Policy, Terms
from policies.dispute.reenact import command_of
from policies.dispute.state import Dispute, Rule
from policies.entry import Draft
from policies.errors import ChatError
from policies.flag import Flag, Mark
from policies.instant import instant
from policies.order import OrderFacts, OrderState, Seller
from policies.room import SYSTEM
from policies.screening import Screening
from policies.vocabulary import CommandId, DisputeId, EntryKind, Role, Seq, Stage, Visibility

_SECOND_PERSON: Final = "second_person"
_MILLISECOND: Final = timedelta(milliseconds=1)
_SUBJECTS: Final = ("of", "proposal", "request")
"""Where the body of an entry of the system's names the entry that it is about."""
_RULES: Final = {EntryKind.PROPOSAL_EXPIRED: Rule.PROPOSAL_EXPIRY}
_NOTICED: Final = {"room_closed": Rule.ROOM_CLOSES, "evidence_overdue": Rule.EVIDENCE_REQUEST}


class Change(StrEnum):
    """In what a dispute would differ."""

    NOT_OPENED = "not_opened"
    """It could not have been opened."""
    EARLIER = "earlier"
    LATER = "later"
    NEVER = "never"
    """The clock would not have done this."""
    ADDED = "added"
    """The clock would have done this."""
    REFUSED = "refused"
    """A person would have been refused."""
    ACCEPTED = "accepted"
    """A person would not have been refused."""
    SECOND_PERSON = "second_person"
    """A decision would have needed another agent's recommendation."""
    ONE_PERSON = "one_person"
    """A decision would not have needed another agent's recommendation."""
    REMINDERS = "reminders"
    """Another number of reminders would have been sent."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that would differ.

    ``what``: the kind of entry, with the rule it comes from. ``seq``: the person's entry that it is about. ``before``
    and ``after``: when (or how many reminders), under the pinned and under the changed terms.
    """

    change: Change
    what: str
    seq: Seq | None = None
    rule: str | None = None
    before: datetime | int | None = None
    after: datetime | int | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would differ in one dispute; nothing in most, one hopes.

    ``doubtful``: entries that are refused even under the terms that they were written under, because they came in the
    moment in which a deadline passed. What is said of such a dispute may be wrong.
    """

    dispute: DisputeId
    opened_at: datetime
    policy_version: str
    differences: tuple[Difference, ...]
    doubtful: tuple[Seq, ...] = ()


def dry_run(entries: Sequence[Fact], policy: Policy, until: datetime) -> DryRun:
    """Play a past dispute under another policy.

    Args:
        entries: of the dispute's room, from the first on.
        policy: the changed one.
        until: how far to play; deadlines beyond are not looked at.
    """
    opened = entries[0]
    before = evolve(None, opened)
    name = before.id, opened.at, before.policy_version
    rule = eligibility(*_order_at_opening(before), policy, opened.at).rule
    if before.number > policy.opening.disputes_per_order:
        rule = rule or "too_many_disputes"
    if rule is not None:
        return DryRun(*name, (Difference(Change.NOT_OPENED, opened.kind.value, opened.seq, rule, opened.at),))
    until = instant(until)
    was = _play(entries, before.terms, until)
    would = _play(entries, policy.terms, until)
    found = (*_of_the_clock(was, would), *_of_people(entries, was, would), *_of_reminders(was, would))
    return DryRun(*name, found, tuple(sorted(was.refused)))


@dataclass(frozen=True, slots=True)
class _Deed:
    """Something the clock does: by which rule, about which entry of a person's."""

    what: str
    rule: Rule | None
    of: Seq | None


@dataclass(slots=True)
class _Course:
    """How a dispute goes under some terms."""

    state: Dispute
    deeds: dict[_Deed, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    reminders: int = 0
    refused: dict[Seq, str] = field(default_factory=dict)
    """By the entry that would not be there: the rule, or the error's code."""
    two_persons: set[Seq] = field(default_factory=set)
    """Decisions that need another agent's recommendation."""
    places: dict[Seq, Seq] = field(default_factory=dict)
    """Where a person's entry is in this course."""

    def add(self, draft: Draft, at: datetime) -> Seq:
        """Write a draft."""
        seq = Seq(self.state.seq + 1)
        self.state = evolve(self.state, foresee(draft, seq, at))
        return seq

    def note(self, draft: Draft, at: datetime) -> None:
        """Keep in mind what the clock does."""
        if draft.kind is EntryKind.DEADLINE_APPROACHING:
            self.reminders += 1
        else:
            self.deeds[self._deed(draft)].append(at)

    def _deed(self, draft: Draft) -> _Deed:
        body = draft.body
        rule = str(body.get("rule") or _RULES.get(draft.kind) or _NOTICED.get(body.get("notice", ""), ""))
        said = body.get("rule") or body.get("notice") or body.get("cause")
        subject = next((body[name] for name in _SUBJECTS if isinstance(body.get(name), int)), None)
        actual = {place: seq for seq, place in self.places.items()}
        return _Deed(
            draft.kind.value if said is None else f"{draft.kind.value} ({said})",
            Rule(rule) if rule in Rule.__members__.values() else None,
            None if subject is None else actual.get(subject),
        )


def _play(entries: Sequence[Fact], terms: Terms, until: datetime) -> _Course:
    opened, *later = entries
    pinned = evolve(None, opened).terms
    course = _Course(evolve(None, _under(opened, terms)))
    course.places[opened.seq] = course.state.seq
    for entry in later:
        if _of_opening(entry, opened, course.state):
            course.add(Draft(entry.author, CommandId(f"past:{entry.seq}"), entry.kind, entry.body), entry.at)
            continue
        command = command_of(entry, pinned, course.places)
        if command is not None:
            _let_time_pass(course, entry.at)
            _act(course, entry, command)
    _let_time_pass(course, max(until, entries[-1].at))
    return course


def _of_opening(entry: Fact, opened: Fact, state: Dispute) -> bool:
    """Whether an entry was written with the opening, because a chargeback was open by then. No event of the dispute's
    own says so: what caused it came before."""
    if entry.at != opened.at or entry.author.role is not Role.SYSTEM:
        return False
    if entry.kind is EntryKind.DISPUTE_FROZEN:
        return "event" not in entry.body
    return entry.kind is EntryKind.DISPUTE_ESCALATED and state.frozen and state.stage is Stage.NEGOTIATION


def _under(opened: Fact, terms: Terms) -> Foreseen:
    policy: Mapping[str, Any] = {**opened.body["policy"], "terms": terms.model_dump(mode="json")}
    body = {**opened.body, "policy": policy}
    return Foreseen(opened.seq, opened.kind, opened.author, opened.at, body, opened.visibility)


def _let_time_pass(course: _Course, until: datetime) -> None:
    """Do all that is due by then. A deadline itself is still in time, so what is due is done just after it."""
    at = course.state.opened_at
    while (due_at := course.state.next_at) is not None:
        for moment in (max(at, due_at), max(at, due_at + _MILLISECOND)):
            drafts = _tick(course.state, moment) if moment <= until else []
            if drafts:
                break
        else:
            return
        at = moment
        for draft in drafts:
            course.note(draft, moment)
            course.add(draft, moment)


def _tick(state: Dispute, at: datetime) -> list[Draft]:
    return decide(state, Tick(SYSTEM, CommandId("tick")), at)


def _act(course: _Course, entry: Fact, command: Command) -> None:
    """Let a person, or the marketplace, do what they did."""
    state = course.state
    if isinstance(command, Decide) and _refusal(replace(state, recommendation=None), command, entry.at) == (
        _SECOND_PERSON
    ):
        course.two_persons.add(entry.seq)
        # Assume that somebody would have been found: else all that follows would differ for this alone.
        state = replace(state, terms=state.terms.model_copy(update={"second_person_above": {}}))
    try:
        drafts = decide(state, command, entry.at, _withheld(entry))
    except ChatError as error:
        course.refused[entry.seq] = str(error.details.get("rule", error.code.value))
        return
    for draft in drafts:
        seq = course.add(draft, entry.at)
        if draft.command_id == command.command_id and draft.author == command.author:
            course.places[entry.seq] = seq


def _withheld(entry: Fact) -> Screening | None:
    """What was withheld does not count, whichever rules found it."""
    if entry.visibility is Visibility.ALL:
        return None
    return Screening(Flag(Mark.WITHHELD, 100, ()), entry.visibility)


def _refusal(state: Dispute, command: Command, at: datetime) -> str | None:
    try:
        decide(state, command, at)
    except ChatError as error:
        return str(error.details.get("rule", error.code.value))
    return None


def _of_the_clock(was: _Course, would: _Course) -> Iterable[Difference]:
    for deed in sorted({*was.deeds, *would.deeds}, key=lambda deed: (deed.what, deed.of or 0)):
        for before, after in zip_longest(was.deeds.get(deed, ()), would.deeds.get(deed, ())):
            if before == after:
                continue
            rule = None if deed.rule is None else deed.rule.value
            if before is None:
                yield Difference(Change.ADDED, deed.what, deed.of, rule, None, after)
                continue
            done = after or _still_due(would, deed)
            change = Change.NEVER if done is None else Change.EARLIER if done < before else Change.LATER
            yield Difference(change, deed.what, deed.of, rule, before, done)


def _still_due(course: _Course, deed: _Deed) -> datetime | None:
    """When something will be due that has not been done yet."""
    if deed.rule is None:
        return None
    of = None if deed.of is None else course.places.get(deed.of)
    found = course.state.deadline(deed.rule, of)
    return None if found is None else found.due_at


def _of_people(entries: Sequence[Fact], was: _Course, would: _Course) -> Iterable[Difference]:
    for entry in entries:
        seq, what = entry.seq, entry.kind.value
        if seq in would.refused and seq not in was.refused:
            yield Difference(Change.REFUSED, what, seq, would.refused[seq], entry.at)
        elif seq in was.refused and seq not in would.refused:
            yield Difference(Change.ACCEPTED, what, seq, was.refused[seq], None, entry.at)
        if seq in would.two_persons and seq not in was.two_persons:
            yield Difference(Change.SECOND_PERSON, what, seq, _SECOND_PERSON, entry.at)
        elif seq in was.two_persons and seq not in would.two_persons:
            yield Difference(Change.ONE_PERSON, what, seq, _SECOND_PERSON, entry.at)


def _of_reminders(was: _Course, would: _Course) -> Iterable[Difference]:
    if was.reminders != would.reminders:
        what = EntryKind.DEADLINE_APPROACHING.value
        yield Difference(Change.REMINDERS, what, before=was.reminders, after=would.reminders)


def _order_at_opening(dispute: Dispute) -> tuple[OrderFacts, OrderState]:
    order = dispute.order
    facts = OrderFacts(
        order.id,
        dispute.buyer,
        Seller(dispute.seller.id, dispute.seller.name, order.trust_level),
        order.title,
        order.category,
        order.amount,
        order.currency,
        order.placed_at,
    )
    state = OrderState(delivered_at=order.delivered_at, delivery_confirmed_at=order.confirmed_at)
    return facts, replace(state, refunded=order.refunded)
