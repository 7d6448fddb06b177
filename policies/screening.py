"""What a screening found in what a party wrote, and what follows: a reminder, masked parts, or a withheld entry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from policies.entry import Draft, Entry
from policies.flag import CauseKind, Flag, FlagState, Mark
from policies.room import SYSTEM
from policies.vocabulary import CommandId, EntryKind, Seq, UserId, Visibility

_SAID: Final = {
    "phone": "a telephone number",
    "email": "an e-mail address",
    "url": "a link to another site",
    "handle": "a name on another service",
    "invite": "an invitation to talk elsewhere",
    "payment": "a payment outside the platform",
    "crypto": "a wallet address",
    "flooding": "a flood of messages",
    "repeating": "the same message again",
    "long_paste": "a very long text",
    "insult": "an insult",
    "threat": "a threat",
    "extortion": "a review used as a lever",
    "card": "the number of a card",
    "password": "a password",
    "token": "an access token",
    "code": "a one-time code",
}
_REMINDERS: Final = {
    CauseKind.CONTACT: "Please keep the talk and the payment on the platform: only here both sides are protected.",
    CauseKind.CONDUCT: "Please stay polite and to the point: support may read along.",
}
REMINDED_FOR: Final = timedelta(minutes=10)
"""Both sides are not reminded of the same kind of rule twice within this time."""
QUIET: Final = frozenset({"flooding", "repeating", "long_paste"})
"""What its author is told, and the other side need not be reminded of."""


@dataclass(frozen=True, slots=True)
class Screening:
    """What is wrong with a text, and what follows.

    Args:
        flag: goes with the entry.
        visibility: of the entry.
        shown: texts that are not shown as they were written, by field, with the parts masked.
        whole: the same as they were written.
        reminded: of what both sides were reminded a short time ago; they are not again.
    """

    flag: Flag
    visibility: Visibility = Visibility.ALL
    shown: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    reminded: frozenset[CauseKind] = frozenset()

    def applied(self, draft: Draft) -> Draft:
        """The draft as it is to be written."""
        body = {**draft.body, **{name: text for name, text in self.shown.items() if name in draft.body}}
        whole = {name: text for name, text in self.whole.items() if name in draft.body}
        visibility = self.visibility if draft.visibility is Visibility.ALL else draft.visibility
        return Draft(draft.author, draft.command_id, draft.kind, body, visibility, self.flag, whole or None)

    def reminder(self, seq: Seq) -> Draft | None:
        """What reminds both sides after the entry ``seq``, if anything does."""
        if self.flag.mark is Mark.NOTED:
            return None
        kinds = {cause.kind for cause in self.flag.causes if cause.category not in QUIET}
        kind = next((kind for kind in _REMINDERS if kind in kinds - self.reminded), None)
        if kind is None:
            return None
        body: dict[str, Any] = {"notice": kind.value, "about": seq, "text": _REMINDERS[kind]}
        return Draft(SYSTEM, CommandId(f"notice:{seq}"), EntryKind.NOTICE, body)


def reminded_of(entries: Iterable[Entry], user: UserId, now: datetime) -> frozenset[CauseKind]:
    """Of what both sides were reminded a short time ago, after something that a user wrote. What staff have released
    was nothing to be reminded of.

    Args:
        entries: the latest of the room.
    """
    found: set[CauseKind] = set()
    theirs: set[Seq] = set()
    for entry in entries:
        if entry.author.id == user and entry.flag is not None and entry.flag.state is not FlagState.RELEASED:
            theirs.add(entry.seq)
        elif entry.kind is EntryKind.NOTICE and entry.body.get("about") in theirs and now - entry.at <= REMINDED_FOR:
            found.add(CauseKind(entry.body["notice"]))
    return frozenset(found)


def for_author(flag: Flag) -> str:
    """What the author of a flagged text is told: which kind of part to say otherwise, never which words showed it."""
    masked = flag.mark is Mark.MASKED  # a secret is a reason to mask, and for nothing else
    surest = sorted(flag.causes, key=lambda cause: ((cause.kind is CauseKind.SECRET) is not masked, -cause.confidence))
    kinds = list(dict.fromkeys(_SAID[cause.category] for cause in surest))[:2]
    what = " and ".join(kinds)
    if flag.mark is Mark.WITHHELD:
        return f"This was not shown to the other side: it looks like {what}. Please say it again without that part."
    if flag.mark is Mark.MASKED:
        return f"A part of this is hidden from the other side: it looks like {what}."
    return f"This looks like {what}. {_reminder(flag)}"


def _reminder(flag: Flag) -> str:
    kinds = {cause.kind for cause in flag.causes}
    return next((text for kind, text in _REMINDERS.items() if kind in kinds), "")
