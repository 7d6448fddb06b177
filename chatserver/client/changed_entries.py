"""Entries that look different by now, and that the application has as they were.

The log says of each ruling of staff that it was made, in an entry of its own; ``entry.changed``, which follows from the
server, shows what the entry that it is about looks like now. A connection may break in between, so the client keeps in
mind what it has not seen yet, and asks for it after a while.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from chatserver.client.frames import Entry
from policies.vocabulary import EntryKind

PATIENCE_S: Final = 5.0
"""How long ``entry.changed`` may take."""
_RULINGS: Final = frozenset({EntryKind.MESSAGE_RELEASED.value, EntryKind.MESSAGE_REDACTED.value})


class ChangedEntries:
    """Of one room. No I/O."""

    def __init__(self) -> None:
        self._known: set[int] = set()  # rulings: staff make them, so they are few
        self._unseen: dict[int, float] = {}  # when to ask, by seq
        self._before = 0

    def begin(self, before: int) -> None:
        """The application has no entry up to this one."""
        self._before = before

    def said_by(self, entries: Sequence[Entry]) -> Iterator[int]:
        """What entries that came together say of others: their seqs. What is among them was read with the ruling."""
        for entry in entries:
            if entry.kind in _RULINGS and entry.seq not in self._known:
                self._known.add(entry.seq)
                seq = entry.body.get("seq")
                if isinstance(seq, int) and self._before < seq < entries[0].seq:
                    yield seq

    def await_sight(self, seq: int, now: float) -> None:
        """The application has this entry as it was."""
        self.seen(seq)  # it goes to the end: they are in order of time
        self._unseen[seq] = now + PATIENCE_S

    def seen(self, seq: int) -> None:
        """The application was given this entry as it is."""
        self._unseen.pop(seq, None)

    @property
    def due(self) -> float | None:
        """When to ask for the first of them, should it not come before."""
        return next(iter(self._unseen.values()), None)

    def overdue(self, now: float) -> int | None:
        """The seq of what has not come in time."""
        return next((seq for seq, due in self._unseen.items() if due <= now), None)
