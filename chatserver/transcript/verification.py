"""Checking a case file without the server: what holds, where it breaks, and what cannot be known from the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chatserver.disputes.view import dispute_view
from chatserver.transcript.case_file import CaseFile, Chain, Place
from policies.dispute.evolve import Unreplayable, replay
from policies.entry import MASKED, Entry
from policies.room import RoomFacts, dispute_of, dispute_room, order_room, staff_room
from policies.verdicts import SHOWN
from policies.vocabulary import EntryKind, RoomId, RoomKind, Seq, Visibility
from storage.chain import BreakKind, Head, Verification, genesis

MEANINGS: Final[Mapping[BreakKind, str]] = {
    BreakKind.GAP: "an entry is missing, doubled or out of order",
    BreakKind.ROOM: "the entry belongs to another room",
    BreakKind.PREV_HASH: "it does not follow from the entry before it",
    BreakKind.HASH: "its metadata or its hash was changed",
    BreakKind.TIME: "it is older than the entry before it",
    BreakKind.CONTENT: "its content was changed",
}
SEQS_NAMED: Final = 20
"""Entries that a note names one by one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something does not hold. ``seq``: at which entry of the room, None where it is about more than one."""

    room: RoomId
    seq: Seq | None
    problem: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    ``holds``: sentences about what was proven; ``unknown``: about what the file cannot prove. Both are for people.
    """

    findings: tuple[Finding, ...]
    holds: tuple[str, ...]
    unknown: tuple[str, ...]


def verify_case_file(case: CaseFile, head: bytes | None = None) -> Verdict:
    """Check everything that a case file proves.

    Args:
        head: the hash of an entry of the room that is known from elsewhere, such as the head that another copy shows.
            The file has to hold that entry.
    """
    report = _Report([], [], [])
    for chain in (case.main, *case.annexes):
        _check_chain(chain, report)
    _check_rooms(case, report)
    if not report.findings:
        _check_dispute(case, report)
    _check_head(case.main, head, report)
    unproven = "when and for whom the file was made, names outside of entries, and the order's facts"
    if any(entry.flag is not None for chain in (case.main, *case.annexes) for entry in chain.entries):
        unproven += ", and what was found wrong with entries"
    report.unknown.append(unproven)
    return Verdict(tuple(report.findings), tuple(report.holds), tuple(report.unknown))


@dataclass(frozen=True, slots=True)
class _Report:
    """A verdict in the making."""

    findings: list[Finding]
    holds: list[str]
    unknown: list[str]


def _check_chain(chain: Chain, report: _Report) -> None:
    span = chain.span
    room = span.room.id
    if span.after.seq == 0 and span.after.hash != genesis(room).hash:
        report.findings.append(Finding(room, None, "it does not begin where a room of this name begins"))
        return
    verification = Verification(room, Head(span.after.seq, span.after.hash, genesis(room).at))
    for entry in chain.entries:
        if (broken := verification.feed(entry)) is not None:
            report.findings.append(Finding(broken.room, broken.seq, MEANINGS[broken.kind]))
            return
    if Place.of(verification.head) != span.head:
        report.findings.append(Finding(room, None, "it does not end at the head that it names"))
        return
    count = len(chain.entries)
    report.holds.append(f"{room}: {count} {'entry' if count == 1 else 'entries'}, head {span.head.hash.hex()}")
    if span.after.seq:
        report.unknown.append(
            f"{room}: the {span.after.seq} entries before entry {span.after.seq + 1}; they are not here"
        )
    _name_unseen(chain, report)
    _name_unexplained(chain, report)


def _name_unexplained(chain: Chain, report: _Report) -> None:
    """Who sees an entry is no part of its hash, but the log says whenever staff have changed it."""
    said = _said(chain.entries)
    if other := [each.seq for each in chain.entries if each.shown is not said[each.seq]]:
        room = chain.span.room.id
        report.unknown.append(f"{room}: why {_named(other)} is shown as it is: nothing here says that staff changed it")


def _said(entries: Sequence[Entry]) -> dict[int, Visibility | None]:
    """How each entry is shown, as the others say."""
    said: dict[int, Visibility | None] = {each.seq: None for each in entries}
    for entry in entries:
        about = entry.body.get("seq")
        if entry.kind in SHOWN and type(about) is int and about in said:
            said[about] = SHOWN[entry.kind]
    return said


def _name_unseen(chain: Chain, report: _Report) -> None:
    withheld = [each.seq for each in chain.entries if each.salt is None and each.hidden]
    erased = [each.seq for each in chain.entries if each.salt is None and not each.hidden]
    masked = [each.seq for each in chain.entries if MASKED in each.body and each.whole is None]
    for seqs, how in ((withheld, "withheld (or erased)"), (erased, "erased")):
        if seqs:
            report.unknown.append(f"{chain.span.room.id}: what was {how} in {_named(seqs)}; only its digest is here")
    if masked:
        report.unknown.append(f"{chain.span.room.id}: what is masked in {_named(masked)}; only its digest is here")


def _named(seqs: Sequence[Seq]) -> str:
    named = ", ".join(str(seq) for seq in seqs[:SEQS_NAMED])
    more = f" and {len(seqs) - SEQS_NAMED} more" if len(seqs) > SEQS_NAMED else ""
    return f"{'entry' if len(seqs) == 1 else 'entries'} {named}{more}"


def _check_rooms(case: CaseFile, report: _Report) -> None:
    """Whether the rooms belong together, as far as their names say: an annex of another case proves nothing here."""
    room = case.main.span.room
    if not _is_named_right(room):
        report.findings.append(Finding(room.id, None, f"no room of kind {room.kind} has this name"))
    for annex in case.annexes:
        other = annex.span.room
        if (
            room.kind is not RoomKind.DISPUTE
            or other.kind is RoomKind.DISPUTE
            or other.order_id != room.order_id
            or (other.kind is RoomKind.STAFF and dispute_of(other) != dispute_of(room))
            or not _is_named_right(other)
        ):
            report.findings.append(Finding(other.id, None, "this annex belongs to another case"))


def _is_named_right(room: RoomFacts) -> bool:
    dispute = dispute_of(room)
    if dispute is None:
        return room.id == order_room(room.order_id)
    return room.id == (dispute_room if room.kind is RoomKind.DISPUTE else staff_room)(dispute)


def _check_dispute(case: CaseFile, report: _Report) -> None:
    """Compare the state that the file tells with what its entries add up to by the rules."""
    room, told = case.main.span.room, case.cover.dispute
    if room.kind is not RoomKind.DISPUTE or told is None:
        if (room.kind is RoomKind.DISPUTE) is not (told is not None):
            report.findings.append(Finding(room.id, None, "a dispute's file tells its state, and no other does"))
        return
    # As of the head: staff may have ruled on an entry while the file was made.
    said = _said(case.main.entries)
    entries = [replace(entry, shown=said[entry.seq]) for entry in case.main.entries]
    if (needed := next(filter(_is_needed, entries), None)) is not None:
        report.unknown.append(f"{room.id}: the state of the dispute, which needs the content of entry {needed.seq}")
        return
    try:
        state = replay(entries)
    except (Unreplayable, ValueError, TypeError, AttributeError, OverflowError) as error:
        # Whoever makes a file may put in bodies that no server would. Whatever that does, it is no dispute.
        report.findings.append(Finding(room.id, None, f"its entries are not those of a dispute ({error})"))
        return
    computed = dispute_view(state, case.cover.reader.role)
    differing = sorted(name for name in computed.keys() | told.keys() if computed.get(name) != told.get(name))
    if differing:
        problem = f"the state of the dispute is not what its entries add up to: {', '.join(differing)}"
        report.findings.append(Finding(room.id, None, problem))
    elif (state.room, state.order.id) != (room.id, room.order_id):
        report.findings.append(Finding(room.id, None, "its entries are those of another dispute"))
    else:
        report.holds.append(f"{room.id}: the state of the dispute is what its entries add up to")


def _is_needed(entry: Entry) -> bool:
    """Whether the rules need content that is not there. Of a withheld message they need none."""
    if entry.released and MASKED in entry.body and entry.whole is None and entry.kind is not EntryKind.MESSAGE:
        return True
    return entry.salt is None and not (entry.kind is EntryKind.MESSAGE and entry.visibility is Visibility.WITHHELD)


def _check_head(main: Chain, head: bytes | None, report: _Report) -> None:
    room, last = main.span.room.id, main.span.head
    if head is None or head == last.hash:
        if head is not None:
            report.holds.append(f"{room}: it ends at the head that is known")
        else:
            report.unknown.append(
                f"{room}: whether anything came after entry {last.seq}; compare its head with one known from elsewhere "
                "(--head)"
            )
        return
    place = next((entry.seq for entry in main.entries if entry.hash == head), None)
    if place is None:
        report.findings.append(
            Finding(room, None, "the head that is known is not in it: it is cut off, or another record")
        )
        return
    report.holds.append(f"{room}: the head that is known is that of entry {place}")
    report.unknown.append(f"{room}: whether anything came after entry {last.seq}")
