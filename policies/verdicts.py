"""What staff say of an entry that was flagged or hidden, or that should be hidden: release, redact, confirm.

Releasing and redacting change who sees an entry, so the log says so with an entry of its own. Where nothing changes in
what is shown, only the flag does, and the log says nothing: a party need not know what was merely looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from policies.dispute.acts import says_something
from policies.entry import HIDEABLE, Author, Draft, Entry, is_hidden
from policies.errors import BadRequest, Conflict, Forbidden, NotFound, Refused
from policies.flag import FlagState
from policies.report import require_text
from policies.vocabulary import DECIDERS, PARTIES, CommandId, EntryKind, Role, Seq, Visibility

REASON_CHARS: Final = 1_000


class Verdict(StrEnum):
    """What staff say."""

    RELEASE = "release"
    """Everybody may see all of it: nothing was wrong."""
    REDACT = "redact"
    """The other side must not see this message, or this evidence; or what was released of another text after all."""
    CONFIRM = "confirm"
    """It was rightly flagged, and stays as it is."""


SHOWN: Final[Mapping[EntryKind, Visibility]] = {
    EntryKind.MESSAGE_RELEASED: Visibility.ALL,
    EntryKind.MESSAGE_REDACTED: Visibility.WITHHELD,
}
"""How the entry that one of these is about (``seq`` of its body) is shown from then on."""
STATES: Final[Mapping[Verdict, FlagState]] = {
    Verdict.RELEASE: FlagState.RELEASED,
    Verdict.REDACT: FlagState.CONFIRMED,
    Verdict.CONFIRM: FlagState.CONFIRMED,
}
"""What a flag is after each verdict."""
_KINDS: Final = {Verdict.RELEASE: EntryKind.MESSAGE_RELEASED, Verdict.REDACT: EntryKind.MESSAGE_REDACTED}


@dataclass(frozen=True, slots=True)
class Target:
    """What matters of the entry that a verdict is about, as it is now.

    ``flag``: the state of its flag, None without one. ``masked``: parts of its texts are not shown to everybody.
    ``speaks``: it is a message that says something, or evidence.
    """

    seq: Seq
    kind: EntryKind
    author: Author
    visibility: Visibility
    shown: Visibility | None
    flag: FlagState | None
    masked: bool
    speaks: bool
    erased: bool

    @property
    def hidden(self) -> bool:
        return is_hidden(self.kind, self.visibility, self.shown)

    @property
    def whole(self) -> bool:
        """Whether everybody sees all of it."""
        return not self.hidden and (not self.masked or self.shown is Visibility.ALL)


def target_of(entry: Entry) -> Target:
    """What matters of an entry."""
    text = entry.written.get("text", "") if entry.kind is EntryKind.MESSAGE else ""
    speaks = entry.kind is EntryKind.EVIDENCE_ADDED or (isinstance(text, str) and says_something(text))
    return Target(
        entry.seq,
        entry.kind,
        entry.author,
        entry.visibility,
        entry.shown,
        None if entry.flag is None else entry.flag.state,
        entry.whole is not None,
        speaks,
        entry.erased,
    )


class Effect(StrEnum):
    """What a verdict does."""

    NOTHING = "nothing"
    """It is so already."""
    FLAG = "flag"
    """The flag is another one; what is shown stays as it is."""
    SHOWN = "shown"
    """What is shown changes, and the flag with it, if there is one."""


def judge(verdict: Verdict, target: Target | None, role: Role, reason: str) -> Effect:
    """What a verdict on an entry does.

    Args:
        target: the entry, None where there is none.
        role: of whoever says it, in this room.
        reason: for the record; both sides may read it where the log says what was done.

    Raises:
        Forbidden: not for this role.
        NotFound: there is no such entry.
        Refused: no party wrote it, it was erased, or it is nothing that could be hidden or confirmed.
        Conflict: it was released, so it cannot be confirmed.
        TooLarge, BadRequest: the reason is too long, or is missing where something is hidden.
    """
    if role not in DECIDERS:
        raise Forbidden("Only support staff can do this, and not in their own case.")
    require_text(reason, REASON_CHARS, "reason")
    if target is None:
        raise NotFound("There is no such entry.")
    if target.author.role not in PARTIES:
        raise Refused("Only what a buyer or seller wrote can be judged.", details={"rule": "not_a_partys"})
    if target.erased:
        raise Refused("The content of this entry was erased.", details={"rule": "erased"})
    if verdict is Verdict.RELEASE:
        return _release(target)
    return _redact(target, reason) if verdict is Verdict.REDACT else _confirm(target)


def _release(target: Target) -> Effect:
    if not target.whole:
        return Effect.SHOWN
    return Effect.NOTHING if target.flag in (None, FlagState.RELEASED) else Effect.FLAG


def _redact(target: Target, reason: str) -> Effect:
    if target.kind not in HIDEABLE and not target.masked:
        raise Refused("Only messages and evidence can be redacted.", details={"rule": "not_a_message"})
    if not reason.strip():
        raise BadRequest("Say why this is redacted.", details={"field": "reason"})
    if target.whole or (target.kind in HIDEABLE and not target.hidden):
        return Effect.SHOWN
    return Effect.NOTHING if target.flag in (None, FlagState.CONFIRMED) else Effect.FLAG


def _confirm(target: Target) -> Effect:
    if target.flag is None:
        raise Refused("Nothing was found in this entry.", details={"rule": "not_flagged"})
    if target.flag is FlagState.RELEASED:
        raise Conflict("This entry was released: redact it if it must be hidden.", details={"state": target.flag.value})
    return Effect.NOTHING if target.flag is FlagState.CONFIRMED else Effect.FLAG


def announcement(verdict: Verdict, target: Target, author: Author, command_id: CommandId, reason: str) -> Draft:
    """What the log says of a verdict that changes what is shown.

    ``side`` is who wrote the entry. ``counts``: it says something and was withheld from the beginning, so it counts as
    that side's act from now on, and not again when it is released once more.
    """
    body: dict[str, Any] = {"seq": target.seq, "side": target.author.role.value}
    if reason:
        body["reason"] = reason
    unseen = target.visibility is Visibility.WITHHELD and target.shown is None
    if verdict is Verdict.RELEASE and target.speaks and unseen:
        body["counts"] = True
    return Draft(author, command_id, _KINDS[verdict], body)


def same_verdict(verdict: Verdict, seq: Seq, reason: str, entry: Entry) -> bool:
    """Whether ``entry``, found under the author and command id of a verdict, is what that verdict wrote."""
    if _KINDS.get(verdict) is not entry.kind:
        return False
    return not entry.body or (entry.body.get("seq"), entry.body.get("reason", "")) == (seq, reason)
