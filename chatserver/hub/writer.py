"""Writing to one room: decide, link, append, and decide again when another writer was first.

There is at most one append of a room under way on a process. Commands that arrive meanwhile wait; when many wait,
they are decided and appended together as one burst.
"""

import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from chatserver.clock import Clock
from chatserver.hub.publication import Publication
from chatserver.rendering import notice_of
from policies.dispute.commands import SendMessage
from policies.entry import Author, Draft, Entry
from policies.errors import BadRequest, ChatError, Conflict, NotFound, TooLarge, Unavailable
from policies.instant import rfc3339
from policies.names import shown_name
from policies.room import RoomFacts, decide_message, role_in_room
from policies.screening import Screening
from policies.vocabulary import STAFF, CommandId, Role, RoomId, RoomKind, Seq, UserId
from storage.chain import Head, head_of, link, same_content
from storage.commit import Outcome
from storage.errors import AppendLost, CommandTaken
from storage.room_log import RoomLog
from storage.rooms import Rooms

BURST_FROM: Final = 4
"""So many commands of one room must wait before they are appended together: a burst needs a commit of its own, while
single entries of many rooms share one."""
BURST_MAX: Final = 64
CALM: Final = 16
"""After a lost race so many entries are appended one by one before the next burst. A burst waits longer for its commit,
so while another process writes to the room it loses again and again, and with it all that waits behind it."""
WAITING_MAX: Final = 2_000
"""Commands that may wait for one room; more are told to come back."""
ATTEMPTS_MAX: Final = 100
"""How often a command may lose the race for its place before it is told to come back. Each loss means that somebody
else wrote, so only a room under attack by many processes gets here."""

logger = logging.getLogger(__name__)


class Written(NamedTuple):
    """A command's entry, durable in the log. ``notice``: what became of its text, and what its author is told of that,
    if it was not shown as it was written."""

    seq: int
    entry_id: str
    at: str
    duplicate: bool
    notice: tuple[str, str] | None = None


Done = Callable[[Written | ChatError], None]


@dataclass(slots=True, eq=False)
class Submission:
    """A message on its way into a room, and whom to tell.

    ``token_role`` is the staff role of the author's token; what the author is in the room is decided on the room's
    current facts, at the place in the log where the message lands. ``screening`` is what was found in the text.
    ``given_up_at`` (of ``Desk.time``): by then the process that passed it to this one has begun to write it itself.
    """

    room: RoomId
    author_id: UserId
    author_name: str
    token_role: Role | None
    command_id: CommandId
    text: str
    reply_to: Seq | None
    done: Done
    evidence: tuple[str, ...] = ()
    screening: Screening | None = None
    given_up_at: float = math.inf
    attempts: int = field(default=0)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every room's writer on a process uses.

    ``dispute`` carries out a message that may change the state of the room's dispute. ``time`` is a monotonic clock, in
    seconds.
    """

    log: RoomLog
    rooms: Rooms
    clock: Clock
    salt: Callable[[], bytes]
    message_chars: int
    publish: Callable[[Sequence[Entry]], list[Publication]]
    dispute: Callable[[RoomFacts, SendMessage, Screening | None], Awaitable[Written | None]]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    time: Callable[[], float]


_Taken = tuple[Submission | None, Draft]
"""What is to be appended: a message, or the reminder that follows one."""


class RoomWriter:
    """The one place on a process from which a room is appended to."""

    __slots__ = ("_busy", "_desk", "_facts", "_head", "_one_by_one", "_room", "_waiting", "used_at")

    def __init__(self, room: RoomId, desk: Desk) -> None:
        self._room = room
        self._desk = desk
        self._head: Head | None = None
        self._facts: RoomFacts | None = None
        self._waiting: deque[Submission] = deque()
        self._busy = False
        self._one_by_one = 0  # so many more
        self.used_at = 0.0

    @property
    def idle(self) -> bool:
        return not self._busy and not self._waiting

    def submit(self, submission: Submission) -> None:
        """Take a message in; its ``done`` is called once, with the outcome."""
        if len(self._waiting) >= WAITING_MAX:
            submission.done(Unavailable("too many messages are waiting for this room", retry_after_ms=1000))
            return
        self._waiting.append(submission)
        if not self._busy:
            self._next()

    def learn_head(self, seq: int) -> None:
        """Somebody else's entry was seen: the next append would lose, so reload first."""
        if not self._busy and self._head is not None and seq > self._head.seq:
            self._head = None

    def _next(self) -> None:
        while self._waiting:
            if self._head is None or self._facts is None:
                self._busy = True
                self._desk.spawn(self._reload())
                return
            if (author := self._author_to_dispute(self._facts)) is not None:
                self._busy = True
                self._desk.spawn(self._send_to_dispute(self._facts, author, self._waiting.popleft()))
                return
            count = len(self._waiting)
            single = count < BURST_FROM or self._one_by_one > 0
            taken = self._decide(self._head, self._facts, 1 if single else min(count, BURST_MAX))
            if taken:
                self._append(self._head, taken)
                return

    async def _reload(self) -> None:
        """Read the head first and the facts second: facts older than the head would let somebody write who has just
        lost the right to, while newer facts only make the append lose its place."""
        try:
            self._head = await self._desk.log.head(self._room)
            self._facts = await self._desk.rooms.facts(self._room)
        except ChatError as error:
            self._fail_waiting(error)
        else:
            if self._facts is None:
                self._fail_waiting(NotFound("no such room"))
        finally:
            self._busy = False
        self._next()

    def _fail_waiting(self, error: ChatError) -> None:
        failed, self._waiting = self._waiting, deque()
        for submission in failed:
            submission.done(error)

    def _decide(self, head: Head, facts: RoomFacts, most: int) -> list[_Taken]:
        taken: list[_Taken] = []
        now = self._desk.time()
        while self._waiting and len(taken) < most and self._author_to_dispute(facts) is None:
            submission = self._waiting.popleft()
            if submission.given_up_at <= now:
                continue  # to write it twice only makes a process that is behind fall further behind
            try:
                taken.append((submission, self._draft(submission, Seq(head.seq + len(taken)), facts)))
                if submission.screening is not None:
                    reminder = submission.screening.reminder(Seq(head.seq + len(taken)))
                    if reminder is not None:
                        taken.append((None, reminder))
            except (BadRequest, TooLarge) as error:
                submission.done(error)
            except ChatError as error:
                # What is refused now may have been accepted before: a retry gets the first answer back.
                self._desk.spawn(self._answer_refused(submission, error))
        return taken

    def _draft(self, submission: Submission, head_seq: Seq, facts: RoomFacts) -> Draft:
        role = role_in_room(facts, submission.author_id, submission.token_role)
        if role is None:
            raise NotFound("no such room")
        draft = decide_message(
            facts,
            head_seq,
            Author(submission.author_id, role, shown_name(submission.author_name, role)),
            submission.command_id,
            submission.text,
            submission.reply_to,
            submission.evidence,
            max_chars=self._desk.message_chars,
        )
        return draft if submission.screening is None else submission.screening.applied(draft)

    def _author_to_dispute(self, facts: RoomFacts) -> Author | None:
        """The author of the message that is next, when it may change the state of the room's dispute, or when only that
        state says whether they may write: with staff, and where the room should have been closed by now. Any other
        message needs no transaction."""
        if facts.kind is not RoomKind.DISPUTE or not self._waiting:
            return None
        submission = self._waiting[0]
        role = role_in_room(facts, submission.author_id, submission.token_role)
        overdue = facts.closes_at is not None and self._desk.clock.now() > facts.closes_at
        if role in STAFF or (role is Role.SELLER and facts.unattended) or (role is not None and overdue):
            return Author(submission.author_id, role, shown_name(submission.author_name, role))
        return None

    async def _send_to_dispute(self, facts: RoomFacts, author: Author, submission: Submission) -> None:
        answer: Written | ChatError = ChatError("the message could not be stored")
        try:
            command = SendMessage(
                author,
                submission.command_id,
                submission.text,
                submission.reply_to,
                self._desk.message_chars,
                submission.evidence,
            )
            answer = await self._desk.dispute(facts, command, submission.screening) or answer
        except ChatError as error:
            answer = error
        finally:
            self._busy = False
            self._head = None  # the dispute's entries did not come from here
            submission.done(answer)
        self._next()

    def _append(self, head: Head, taken: list[_Taken]) -> None:
        drafts = [draft for _, draft in taken]
        entries = link(self._room, head, drafts, self._desk.clock.now(), self._desk.salt)
        self._busy = True
        self._desk.log.put(entries, lambda outcome: self._committed(outcome, entries, taken))

    def _committed(self, outcome: Outcome | Exception, entries: list[Entry], taken: list[_Taken]) -> None:
        self._busy = False
        if not isinstance(outcome, Outcome):
            logger.error("an entry could not be stored", exc_info=outcome)
            self._head = None
            for submission, _ in taken:
                if submission is not None:
                    submission.done(ChatError("the message could not be stored"))
            self._next()
            return
        appended = entries if outcome.failure is None else entries[: outcome.appended]
        if self._one_by_one:
            self._one_by_one -= 1
        if appended:
            self._head = head_of(appended[-1])
            for publication, (submission, _) in zip(self._desk.publish(appended), taken, strict=False):
                if submission is not None:
                    submission.done(first_written(publication, submission))
        if outcome.failure is not None:
            self._recover(outcome.failure, taken[outcome.appended :])
        if not self._busy:
            self._next()

    def _recover(self, failure: AppendLost | Unavailable, left: list[_Taken]) -> None:
        """After a failed append nothing is known of the head; what was not written is decided again. A reminder is made
        anew with its message; one whose message was written is not missed."""
        self._head = None
        rest = [(submission, draft) for submission, draft in left if submission is not None]
        if isinstance(failure, Unavailable):
            for submission, _ in rest:
                submission.done(failure)
            return
        self._one_by_one = CALM
        if isinstance(failure, CommandTaken) and left[0][0] is not None:
            self._busy = True
            self._desk.spawn(self._answer_taken(rest))
        else:
            self._decide_again(rest)

    def _decide_again(self, rest: Sequence[tuple[Submission, Draft]]) -> None:
        for submission, _ in reversed(rest):
            submission.attempts += 1
            if submission.attempts > ATTEMPTS_MAX:
                submission.done(Unavailable("the room is too busy", retry_after_ms=1000))
            else:
                self._waiting.appendleft(submission)

    async def _answer_taken(self, rest: Sequence[tuple[Submission, Draft]]) -> None:
        """The first one's command id is in use: by this very command, or by another one. The others' may be, too, as
        when a process that had passed them to this one did not get its answers in time, so they are looked up at once.
        """
        left: list[tuple[Submission, Draft]] = []
        try:
            found = await self._desk.log.find_all(self._room, [(one.author_id, one.command_id) for one, _ in rest])
            for number, (submission, draft) in enumerate(rest):
                entry = found.get((submission.author_id, submission.command_id))
                if entry is not None:
                    submission.done(_taken(entry, draft))
                elif number == 0:
                    submission.done(Unavailable("the first answer cannot be read yet", retry_after_ms=200))
                else:
                    left.append((submission, draft))
        except ChatError as error:
            rest[0][0].done(error)
            left += rest[1:]
        finally:
            self._busy = False
        self._decide_again(left)
        self._next()

    async def _answer_refused(self, submission: Submission, refusal: ChatError) -> None:
        answer: Written | ChatError = refusal
        with contextlib.suppress(Unavailable):  # then the refusal stands, which is also true
            found = await self._desk.log.find(self._room, submission.author_id, submission.command_id)
            if found is not None and found.written == message_body(submission):
                answer = written(found)
        submission.done(answer)


def _taken(entry: Entry, draft: Draft) -> Written | ChatError:
    """The answer to a command whose id is that of an entry."""
    if same_content(entry, draft):
        return written(entry)
    return Conflict("this command id was used for something else", details={"seq": entry.seq})


def message_body(submission: Submission) -> dict[str, Any]:
    """What a message's entry holds."""
    body: dict[str, Any] = {"text": submission.text}
    if submission.reply_to is not None:
        body["reply_to"] = submission.reply_to
    if submission.evidence:
        body["evidence"] = list(submission.evidence)
    return body


def written(entry: Entry, *, duplicate: bool = True) -> Written:
    """What the author of an entry is told, by default when the same command comes again."""
    notice = None if entry.released else notice_of(entry.flag)
    return Written(entry.seq, entry.id, rfc3339(entry.at), duplicate, notice)


def first_written(publication: Publication, submission: Submission) -> Written:
    """What the author of a message is told of it the first time."""
    flag = None if submission.screening is None else submission.screening.flag
    return Written(publication.seq, publication.entry_id, publication.at, False, notice_of(flag))
