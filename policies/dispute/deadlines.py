"""Deadlines: started, moved, told of, dropped; always by an entry, which their receipt names."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from policies.dispute.policy import Terms
from policies.dispute.state import Deadline, Dispute, Rule
from policies.vocabulary import Seq

Deadlines = tuple[Deadline, ...]


def begin(
    rule: Rule, at: datetime, due_at: datetime, terms: Terms, *, moved_by: Seq | None = None, of: Seq | None = None
) -> Deadline:
    """A deadline that counts from ``at``, with its reminder where the terms have one for the rule."""
    return Deadline(rule, due_at, at, _reminder(rule, at, due_at, terms), moved_by, of)


def extend(deadline: Deadline, due_at: datetime, at: datetime, terms: Terms, moved_by: Seq) -> Deadline:
    """The same deadline with a later end. A reminder that still lies ahead is told (again) at its new time."""
    return replace(deadline, due_at=due_at, moved_by=moved_by, remind_at=_reminder(deadline.rule, at, due_at, terms))


def put(deadlines: Deadlines, new: Deadline) -> Deadlines:
    """With one more, in place of the one of the same rule and subject; the soonest first."""
    kept = [each for each in deadlines if (each.rule, each.of) != (new.rule, new.of)]
    return tuple(sorted((*kept, new), key=_place))


def drop(deadlines: Deadlines, rules: Iterable[Rule], of: Seq | None = None) -> Deadlines:
    """Without those of some rules; with ``of``, only those about that entry."""
    gone = frozenset(rules)
    return tuple(each for each in deadlines if each.rule not in gone or of not in (None, each.of))


def keep(deadlines: Deadlines, *rules: Rule) -> Deadlines:
    """Only those of some rules."""
    return tuple(each for each in deadlines if each.rule in rules)


def told(deadlines: Deadlines, rule: Rule, of: Seq | None) -> Deadlines:
    """Its approach has been told."""
    return tuple(replace(each, remind_at=None) if (each.rule, each.of) == (rule, of) else each for each in deadlines)


def passed(state: Dispute, now: datetime) -> Deadline | None:
    """The first deadline whose time is over. The deadline itself is still in time."""
    return next((each for each in state.deadlines if state.runs(each) and now > each.due_at), None)


def approaching(state: Dispute, now: datetime) -> list[Deadline]:
    """Those of which it is time to tell that they approach."""
    return [
        each for each in state.deadlines if state.runs(each) and each.remind_at is not None and each.remind_at <= now
    ]


def _reminder(rule: Rule, at: datetime, due_at: datetime, terms: Terms) -> datetime | None:
    lead: timedelta | None = terms.reminders.get(rule.value)
    if lead is None or due_at - lead <= at:
        return None
    return due_at - lead


def _place(deadline: Deadline) -> tuple[datetime, str, int]:
    return deadline.due_at, deadline.rule.value, deadline.of or 0
