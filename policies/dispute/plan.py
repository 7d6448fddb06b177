"""What a decision is about to write, and the state it leads to."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from policies.dispute.evolve import evolve
from policies.dispute.fact import foresee
from policies.dispute.state import Dispute
from policies.entry import Author, Draft
from policies.room import SYSTEM
from policies.screening import Screening
from policies.vocabulary import CommandId, EntryKind, Role, Seq, UserId, Visibility


class Plan:
    """Drafts in order. Each one is evolved at once, so that what follows is decided on the state it leads to, and
    nothing is written that does not replay.

    ``state`` is the state after the drafts so far, ``now`` the time that all of them will carry.

    Args:
        screening: what was found in the texts of the command that is decided, if anything was.
        author, command_id: of that command; its own entry is what the screening is about.
    """

    def __init__(
        self,
        state: Dispute,
        now: datetime,
        screening: Screening | None = None,
        author: UserId | None = None,
        command_id: CommandId | None = None,
    ) -> None:
        self.state = state
        self.now = now
        self.drafts: list[Draft] = []
        self._screening = screening
        self._screened = (author, command_id)
        self._about: Seq | None = None

    @property
    def next_seq(self) -> Seq:
        """The seq of the next draft as an entry."""
        return Seq(self.state.seq + 1)

    def add(self, draft: Draft) -> Seq:
        """Write a draft; its seq as an entry."""
        seq = self.next_seq
        if self._screening is not None and (draft.author.id, draft.command_id) == self._screened:
            draft = self._screening.applied(draft)
            self._about = seq
        self.state = evolve(self.state, foresee(draft, seq, self.now))
        self.drafts.append(draft)
        return seq

    def write(self, author: Author, command_id: CommandId, kind: EntryKind, body: Mapping[str, Any]) -> Seq:
        """Write what somebody did."""
        return self.add(Draft(author, command_id, kind, body))

    def follow(self, command_id: str, kind: EntryKind, body: Mapping[str, Any]) -> Seq:
        """Write what follows by itself, under an id that follows from its cause."""
        return self.write(SYSTEM, CommandId(command_id), kind, body)

    @property
    def withholds(self) -> bool:
        """Whether the command's own entry is hidden from the other side."""
        return self._screening is not None and self._screening.visibility is Visibility.WITHHELD

    def remind(self) -> None:
        """Remind both sides of the rules, if what was written gives reason to."""
        if self._screening is not None and self._about is not None:
            reminder = self._screening.reminder(self._about)
            if reminder is not None:
                self.add(reminder)

    def attended(self, author: Author, by: str, seq: Seq) -> None:
        """The entry ``seq`` was a real act: the seller's first one answers the dispute. What the buyer cannot see does
        not."""
        if self.withholds:
            return
        if author.role is Role.SELLER and self.state.attended_at is None and self.state.active:
            self.follow("attended", EntryKind.DISPUTE_ATTENDED, {"by": by, "entry": seq})
