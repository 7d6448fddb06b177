"""The dispute of a live room: its state goes along with the room's stream.

No I/O. The state is always that of an entry which the stream has handed out, or will hand out next.
"""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Final

import orjson

from chatserver.hub.publication import Publication
from policies.dispute.evolve import evolve
from policies.dispute.fact import Foreseen
from policies.dispute.rewording import repeats
from policies.dispute.state import Deadline, Dispute, Rule
from policies.entry import Author
from policies.instant import read_rfc3339
from policies.verdicts import SHOWN
from policies.vocabulary import EntryKind, Role, Seq, UserId, Visibility

_MESSAGE: Final = EntryKind.MESSAGE.value
_RULINGS: Final = frozenset(kind.value for kind in SHOWN)
_steady: Final = attrgetter(*sorted({f.name for f in fields(Dispute)} - {"seq", "seen", "last_update_at", "deadlines"}))
"""What no plain message changes, unless it is worth telling."""


class LiveDispute:
    """See the module.

    Args:
        state: as of an entry that the room's stream has handed out, or will hand out next.
    """

    __slots__ = ("behind", "state")

    def __init__(self, state: Dispute) -> None:
        self.state = state
        self.behind = False
        """An entry is missing, or has changed: the state has to be read anew."""

    def take(self, run: Iterable[Publication]) -> bool:
        """Go along with entries of the stream. Returns whether readers have something new to see."""
        if self.behind:
            return False
        before = self.state
        quiet = True
        for publication in run:
            if publication.seq <= self.state.seq:
                continue  # read with the state
            if publication.seq != self.state.seq + 1:
                self.behind = True
                break
            if publication.kind in _RULINGS and repeats(self.state, publication.body()["seq"]):
                self.behind = True  # what it says now is not in the stream
                break
            quiet = quiet and publication.kind == _MESSAGE
            self.state = evolve(self.state, fact_of(publication))
        return self.state is not before and visibly_changed(before, self.state, quiet=quiet)

    def take_anew(self, state: Dispute) -> bool:
        """The state was read. Returns whether readers have something new to see."""
        self.behind = False
        before, self.state = self.state, state
        return visibly_changed(before, state, quiet=False)


def visibly_changed(before: Dispute, after: Dispute, *, quiet: bool) -> bool:
    """Whether a reader has to be told.

    Args:
        quiet: nothing but messages came in between. A message puts off the deadline for silence, and whoever sees the
            message knows that: to tell everybody so with every message would double what a conversation sends.
    """
    if _steady(before) != _steady(after):
        return True
    if quiet:
        return _louder(before) != _louder(after)
    return (before.last_update_at, before.deadlines) != (after.last_update_at, after.deadlines)


def fact_of(publication: Publication) -> Foreseen:
    """What a state is made of, out of what hubs pass on."""
    entry = orjson.loads(publication.json)["entry"]
    author = entry["author"]
    return Foreseen(
        Seq(publication.seq),
        EntryKind(publication.kind),
        Author(UserId(author["id"]), Role(author["role"]), author["name"]),
        read_rfc3339(publication.at),
        entry["body"],
        Visibility.WITHHELD if publication.withheld else Visibility.ALL,
    )


def _louder(state: Dispute) -> tuple[Deadline, ...]:
    return tuple(each for each in state.deadlines if each.rule is not Rule.NO_UPDATE)
