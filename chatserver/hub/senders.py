"""What each sender of a room has written lately, as screening reads a new message together with it.

The log is the source: the room's stream brings what is written anywhere, and what was there before comes from the log
once somebody writes. A message that is still on its way counts already.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from chatserver.hub.publication import Publication
from chatserver.reminders import ENTRIES
from policies.conduct import Said
from policies.flag import CauseKind, Flag, Mark
from policies.instant import read_rfc3339
from policies.screener import Earlier
from policies.screening import QUIET, REMINDED_FOR
from policies.vocabulary import EntryKind, Seq

CHARS: Final = 2_000
"""Of each message, how many are kept: its end."""
_MESSAGE: Final = EntryKind.MESSAGE.value
_RELEASED: Final = EntryKind.MESSAGE_RELEASED.value
_FLAGGED: Final = frozenset({Mark.WARNED.value, Mark.MASKED.value, Mark.WITHHELD.value})


class _Sender:
    __slots__ = ("heard", "reminded", "said")

    def __init__(self, remembered: int) -> None:
        self.said: dict[str, Said] = {}  # by command id, oldest first
        self.heard: deque[Publication] = deque(maxlen=remembered)  # messages that are read when this one writes
        self.reminded: dict[CauseKind, tuple[datetime, str]] = {}  # when, and the command id


class Senders:
    """The latest messages of a room by sender, in bounded memory.

    Args:
        remembered: messages of one sender that are kept.
    """

    __slots__ = ("_flagged", "_of", "_remembered", "_seq", "_unread", "begun")

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._unread: deque[Publication] = deque(maxlen=ENTRIES)
        self._of: dict[str, _Sender] = {}
        self._flagged: deque[tuple[int, _Sender, str]] = deque(maxlen=ENTRIES)  # seq, whose, command id
        self._seq = Seq(0)
        self.begun = False
        """Whether it is known what was there before."""

    def offer(self, run: Iterable[Publication]) -> None:
        """What the room's stream brings, in order. It is read when somebody writes."""
        self._unread.extend(run)

    def begin(self, page: Iterable[Publication]) -> None:
        """What was there before, in order; what the stream brought meanwhile comes after it."""
        brought = tuple(self._unread)
        self._unread.clear()
        self._unread.extend(page)
        self._read()
        self._unread.extend(brought)
        self.begun = True

    def sent(self, user: str, command_id: str, text: str, at: datetime) -> None:
        """A message goes on its way."""
        said = self._listened(user).said
        if command_id not in said:
            self._add(said, command_id, text, at)

    def found(self, user: str, command_id: str, flag: Flag, at: datetime) -> None:
        """A message that goes on its way is flagged: what comes right after it is read accordingly."""
        if flag.mark.value in _FLAGGED:
            causes = [(cause.kind, cause.category) for cause in flag.causes]
            _remember(self._sender(user), command_id, causes, at)

    def last(self, user: str, command_id: str) -> datetime | None:
        """When a sender has last written something else; None when they have not, or this is being sent again."""
        sender = self._listened(user)
        if not sender.said or command_id in sender.said:
            return None
        return max(said.at for said in sender.said.values())

    def earlier(self, user: str, command_id: str, now: datetime) -> Earlier:
        """What is known of a sender who writes something new; a message sent again is not its own predecessor."""
        sender = self._listened(user)
        reminded = _NOTHING.reminded
        if sender.reminded:
            reminded = frozenset(
                kind
                for kind, (at, known) in sender.reminded.items()
                if known != command_id and now - at <= REMINDED_FOR
            )
        if command_id in sender.said:
            return Earlier([said for known, said in sender.said.items() if known != command_id], reminded)
        return Earlier(list(sender.said.values()), reminded)

    def _read(self) -> None:
        while self._unread:
            publication = self._unread.popleft()
            if publication.kind == _RELEASED:
                self._acquit(publication.body().get("seq", 0))
            if publication.seq <= self._seq:
                continue
            self._seq = Seq(publication.seq)
            sender = self._sender(publication.author_id)
            if publication.mark in _FLAGGED:  # a note, a reason or a caption, too
                causes = publication.entry().get("flag", {}).get("causes", ())
                found = [(CauseKind(cause["kind"]), cause["category"]) for cause in causes]
                _remember(sender, publication.command_id, found, read_rfc3339(publication.at))
                self._flagged.append((publication.seq, sender, publication.command_id))
            if publication.kind == _MESSAGE:
                sender.heard.append(publication)

    def _listened(self, user: str) -> _Sender:
        """A sender, all of whose messages were read. Mostly a process reads none: those of the users that write by it
        are known since they went on their way, and nobody asks for the others'."""
        self._read()
        sender = self._sender(user)
        while sender.heard:
            publication = sender.heard.popleft()
            if publication.command_id not in sender.said:
                text = publication.body().get("text", "")
                self._add(sender.said, publication.command_id, text, read_rfc3339(publication.at))
        return sender

    def _add(self, said: dict[str, Said], command_id: str, text: str, at: datetime) -> None:
        if len(said) == self._remembered:
            del said[next(iter(said))]
        said[command_id] = Said(at, text[-CHARS:])

    def _acquit(self, seq: int) -> None:
        """Staff have released a message: nothing was wrong with it, so its author was not told of anything."""
        for known, sender, command_id in self._flagged:
            if known == seq:
                sender.reminded = {kind: each for kind, each in sender.reminded.items() if each[1] != command_id}

    def _sender(self, user: str) -> _Sender:
        sender = self._of.get(user)
        if sender is None:
            sender = self._of[user] = _Sender(self._remembered)
        return sender


def _remember(sender: _Sender, command_id: str, found: Iterable[tuple[CauseKind, str]], at: datetime) -> None:
    """A flag is followed by a reminder, unless there was one of its kind within the time, or it is of a secret."""
    for kind, category in found:
        if kind is CauseKind.SECRET or category in QUIET:
            continue
        if kind not in sender.reminded or at - sender.reminded[kind][0] > REMINDED_FOR:
            sender.reminded[kind] = (at, command_id)


_NOTHING: Final = Earlier()
