"""What the state of a dispute is with one more entry.

Only entries count: no clock, no policy file, nothing that is not in the room's log. So replaying a room gives the state
that every server saw, and the deadlines with their receipts follow from it too.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from policies.dispute import conclusion, course
from policies.dispute.acts import resets_clock, says_something
from policies.dispute.deadlines import begin, drop, put
from policies.dispute.fact import Fact, Unreplayable
from policies.dispute.opening import begin_dispute
from policies.dispute.rewording import reworded
from policies.dispute.state import Dispute, Rule
from policies.vocabulary import EntryKind, Role, Status

__all__ = ["STATE_KINDS", "Fact", "Unreplayable", "evolve", "replay"]

STATE_KINDS: Final = frozenset(EntryKind) - {EntryKind.MESSAGE}
"""What is written by the way of state, but for notices that say nothing about it (``conclusion.is_plain``). A message
carries state only while the seller has not attended."""

_CHANGES: Final = {**course.CHANGES, **conclusion.CHANGES}


def evolve(state: Dispute | None, entry: Fact) -> Dispute:
    """The state with one more entry.

    Args:
        state: as of the entry before; None before the first one.
        entry: the next entry of the dispute's room, as it is shown now. Where staff rule on an earlier one, its words
            in the state are to be replaced: see ``rewording``.

    Raises:
        Unreplayable: it is not the next one, or its content is gone.
    """
    try:
        if state is None:
            if entry.kind is not EntryKind.DISPUTE_OPENED:
                raise Unreplayable("a dispute begins with its opening")
            begun = begin_dispute(entry)
            return reworded(begun, entry) if entry.released else begun
        if entry.seq != state.seq + 1:
            raise Unreplayable(f"entry {entry.seq} does not follow entry {state.seq}")
        change = _CHANGES.get(entry.kind)
        changed = state if change is None else change(state, entry)
        if entry.released:
            changed = reworded(changed, entry)
    except KeyError as missing:
        raise Unreplayable(f"entry {entry.seq} has lost its {missing}") from missing
    if resets_clock(entry.kind, entry.author.role, entry.visibility):
        changed = _party_acted(changed, entry, entry.author.role)
    elif entry.kind is EntryKind.MESSAGE_RELEASED and entry.body.get("counts"):
        changed = _party_acted(changed, entry, Role(entry.body["side"]))
    return replace(changed, seq=entry.seq)


def replay(entries: Iterable[Fact]) -> Dispute:
    """The state that entries add up to, from the first one on.

    Raises:
        Unreplayable: there are none, or one of them does not follow.
    """
    state: Dispute | None = None
    for entry in entries:
        state = evolve(state, entry)
    if state is None:
        raise Unreplayable("a room without entries has no dispute")
    return state


def _party_acted(state: Dispute, entry: Fact, side: Role) -> Dispute:
    deadlines = state.deadlines
    silence = state.deadline(Rule.NO_UPDATE)
    if silence is not None and entry.at <= silence.due_at:  # what comes too late changes nothing, late worker or not
        due_at = entry.at + state.terms.update_within
        moved = begin(Rule.NO_UPDATE, entry.at, due_at, state.terms, moved_by=entry.seq)
        deadlines = put(deadlines, moved)
    state = replace(state, last_update_at=entry.at, deadlines=deadlines)
    if state.status is Status.WAITING_FOR_BUYER and side is Role.BUYER:
        return replace(state, status=Status.WAITING_FOR_SELLER)
    if state.status is Status.WAITING_FOR_SELLER and side is Role.SELLER and state.attended_at is not None:
        return replace(state, status=Status.WAITING_FOR_BUYER)
    return _appeal_answered(state, entry, side)


def _appeal_answered(state: Dispute, entry: Fact, side: Role) -> Dispute:
    appeal = state.appeal
    if appeal is None or appeal.answered or not state.active or side is appeal.side:
        return state
    if entry.kind is EntryKind.MESSAGE and not says_something(entry.body.get("text", "")):
        return state
    deadlines = drop(state.deadlines, [Rule.APPEAL_ANSWER])
    return replace(state, appeal=replace(appeal, answered=True), deadlines=deadlines)
