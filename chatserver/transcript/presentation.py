"""A case file as people read it, whatever it is printed with: every word and its order, and nothing of its looks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from chatserver.transcript.case_file import CaseFile, Chain, Cover, Span
from chatserver.transcript.kinds import tone, words
from chatserver.transcript.phrases import day, moment, person, phrase, sentence
from chatserver.transcript.state import Group, dispute_groups, order_group
from chatserver.transcript.text import isolated, shown_line
from chatserver.transcript.wording import Fact
from policies.entry import MASKED, Author, Entry
from policies.vocabulary import PARTIES, EntryKind, Role, RoomKind, Visibility

HASH_SHOWN: Final = 12
"""Digits of a hash beside an entry; the whole one stands in the list at the end."""

_TITLES: Final = {
    RoomKind.ORDER: "Conversation about the order",
    RoomKind.DISPUTE: "Dispute",
    RoomKind.STAFF: "Staff log",
}
_ROLES: Final = {
    Role.BUYER: "Buyer",
    Role.SELLER: "Seller",
    Role.AGENT: "Support agent",
    Role.SENIOR_AGENT: "Senior support agent",
    Role.AUDITOR: "Auditor",
    Role.SYSTEM: "System",
}
_READERS: Final = {**_ROLES, Role.SYSTEM: "Marketplace"}


@dataclass(frozen=True, slots=True)
class Item:
    """An entry on the page. ``mark`` says what is special about its content; ``hash`` is the whole one in hex."""

    seq: int
    time: str
    at: str
    author: str
    role: str
    side: str
    tone: str
    title: str
    text: str
    facts: tuple[Fact, ...]
    mark: str
    id: str
    hash: str
    picture: bytes = b""

    @property
    def short_hash(self) -> str:
        return self.hash[:HASH_SHOWN]


@dataclass(frozen=True, slots=True)
class Day:
    """The entries of one day, UTC. Each is put into words when its turn comes: read a day before the next one."""

    name: str
    items: Iterator[Item]


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above a room's timeline. ``span`` is a sentence about which entries follow."""

    id: str
    title: str
    room: str
    span: str
    head: str


@dataclass(frozen=True, slots=True)
class FrontPage:
    """What stands before the timelines."""

    title: str
    subtitle: str
    made: tuple[Fact, ...]
    groups: tuple[Group, ...]
    sections: tuple[Heading, ...]


def front_page(case: CaseFile) -> FrontPage:
    """The first page: what the case is about and how it stands."""
    cover = case.cover
    room = cover.main.room
    order = cover.order or {}
    title = shown_line(str(order.get("title", ""))) or f"Order {shown_line(room.order_id)}"
    groups: list[Group] = [_parties(case), *([order_group(order)] if order else [])]
    if cover.dispute is not None:
        groups += dispute_groups(cover.dispute)
    return FrontPage(
        title=title,
        subtitle=_subtitle(case),
        made=(
            Fact("Room", shown_line(room.id)),
            Fact("Generated", moment(cover.generated_at)),
            Fact("As seen by", _READERS[cover.reader.role] + _known_as(case)),
            Fact("Entries", str(cover.main.length)),
        ),
        groups=tuple(groups),
        sections=tuple(heading(span, number) for number, span in enumerate((cover.main, *cover.annexes))),
    )


def heading(span: Span, number: int) -> Heading:
    """The heading of the file's own room (number 0) or of an annex."""
    title = _TITLES[span.room.kind]
    first = span.after.seq + 1
    if not span.length:
        told = "No entries."
    elif span.after.seq:
        told = f"Entries {first} to {span.head.seq}. The {span.after.seq} before them are not part of this file."
    else:
        told = f"{span.length} {'entry' if span.length == 1 else 'entries'}, from the first to the last."
    return Heading(
        id=f"part-{number}",
        title=title if number == 0 else f"Annex {number}: {title[:1].lower()}{title[1:]}",
        room=shown_line(span.room.id),
        span=told,
        head=span.head.hash.hex(),
    )


@dataclass(frozen=True, slots=True)
class Exhibits:
    """What is known of evidence beside its entries. ``withdrawn``: the seq of the entry that says so, by its id."""

    pictures: Mapping[str, bytes] = field(default_factory=dict)
    withdrawn: Mapping[str, int] = field(default_factory=dict)


def exhibits(case: CaseFile, chain: Chain) -> Exhibits:
    """The evidence of a room."""
    withdrawn = {
        str(entry.body.get("evidence")): int(entry.seq)
        for entry in chain.entries
        if entry.kind is EntryKind.EVIDENCE_WITHDRAWN and entry.salt is not None
    }
    return Exhibits(case.pictures, withdrawn)


NO_EXHIBITS: Final = Exhibits()


def days(entries: Iterable[Entry], cover: Cover, span: Span, exhibits: Exhibits = NO_EXHIBITS) -> Iterator[Day]:
    """The timeline, one day after the other."""
    for name, of_day in groupby(entries, key=lambda entry: day(entry.at)):
        yield Day(name, (item(entry, cover, span, exhibits) for entry in of_day))


def item(entry: Entry, cover: Cover, span: Span, exhibits: Exhibits = NO_EXHIBITS) -> Item:
    """An entry on the page."""
    shown = str(entry.body.get("evidence", "")) if entry.kind is EntryKind.EVIDENCE_ADDED else ""
    withdrawn = exhibits.withdrawn.get(shown)
    missing = entry.salt is None
    currency = (cover.order or {}).get("currency")
    said = None if missing else words(entry.kind, entry.written, currency if isinstance(currency, str) else "")
    return Item(
        seq=entry.seq,
        time=f"{entry.at:%H:%M:%S}",
        at=f"{entry.at:%Y-%m-%dT%H:%M:%SZ}",
        author=_name(entry.author, span),
        role=_ROLES[entry.author.role],
        side=_side(entry.author.role),
        tone=(tone(entry.kind) if said is None else said.tone).value,
        title=(sentence(entry.kind.value) if said is None else said.title),
        text="" if said is None else said.text,
        facts=(() if said is None else said.facts) + _flagged(entry),
        mark=_mark(entry, cover.reader.role) or ("" if withdrawn is None else f"Withdrawn with entry {withdrawn}."),
        id=entry.id,
        hash=entry.hash.hex(),
        picture=exhibits.pictures.get(shown, b""),
    )


def hashes(chains: Sequence[Chain]) -> Iterator[tuple[str, Iterator[tuple[int, str]]]]:
    """The whole hashes of each room's entries, to compare a print with."""
    for number, chain in enumerate(chains):
        yield heading(chain.span, number).title, ((entry.seq, entry.hash.hex()) for entry in chain.entries)


def _parties(case: CaseFile) -> Group:
    room = case.cover.main.room
    facts = [
        Fact("Buyer", person(room.buyer.name, room.buyer.id)),
        Fact("Seller", person(room.seller.name, room.seller.id)),
    ]
    staff: dict[str, Author] = {}
    for entry in case.main.entries:
        if entry.author.role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR) and entry.author.name:
            staff.setdefault(entry.author.id, entry.author)
    facts += [Fact(_ROLES[each.role], person(each.name, each.id)) for each in staff.values()]
    return Group("Parties", tuple(facts))


def _known_as(case: CaseFile) -> str:
    user, room = case.cover.reader.user, case.cover.main.room
    if user is None:
        return ", by its back end"
    names = {room.buyer.id: room.buyer.name, room.seller.id: room.seller.name}
    return f", {isolated(shown_line(names.get(user) or user))}"


def _subtitle(case: CaseFile) -> str:
    cover = case.cover
    if cover.dispute is None:
        return f"Case file of order {shown_line(cover.main.room.order_id)}"
    return f"Case file of dispute {shown_line(str(cover.dispute.get('id', '')))}"


def _name(author: Author, span: Span) -> str:
    """Who wrote: the name is content, so where the content is missing the room still knows its parties."""
    if author.role is Role.SYSTEM:
        return ""
    known = {span.room.buyer.id: span.room.buyer.name, span.room.seller.id: span.room.seller.name}
    return isolated(shown_line(author.name or known.get(author.id, "") or author.id))


def _side(role: Role) -> str:
    return role.value if role in (Role.BUYER, Role.SELLER, Role.SYSTEM) else "staff"


def _mark(entry: Entry, reader: Role) -> str:
    if entry.salt is None:
        if entry.hidden and reader in PARTIES:
            return "Withheld. Its content is not part of this file; the hash shows that it was not changed."
        return "Erased. Only the hash of what was here is left."
    if entry.hidden:
        return "Withheld from the other party."
    if entry.released and (entry.visibility is Visibility.WITHHELD or entry.whole is not None):
        return "Released by support: both parties see all of it."
    if entry.whole is not None:
        return f"Masked for the other party: parts of the {' and the '.join(sorted(entry.whole.texts))}."
    if MASKED in entry.body:
        return "Masked in part. What is hidden is not part of this file; its hash shows that it was not changed."
    return ""


def _flagged(entry: Entry) -> tuple[Fact, ...]:
    """What staff are told of a flag."""
    flag = entry.flag
    if flag is None:
        return ()
    found = dict.fromkeys(f"{phrase(each.category)} ({each.kind.value}, {each.confidence} %)" for each in flag.causes)
    facts = [Fact("Flag", f"{phrase(flag.mark.value)}, {flag.state.value}"), Fact("Found", ", ".join(found))]
    if flag.decided_by is not None and flag.decided_at is not None:
        facts.append(Fact("Decided", f"{isolated(shown_line(flag.decided_by))}, {moment(flag.decided_at)}"))
    return tuple(facts)
