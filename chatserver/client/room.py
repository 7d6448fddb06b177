"""A room, as an application uses it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chatserver.client.attaching import Attached, Progress, attach, attachment_of
from chatserver.client.case import Case, Sent
from chatserver.client.commands import Write
from chatserver.client.errors import ClientClosed
from chatserver.client.events import Beside
from chatserver.client.frames import Acked, Entry, Opened, Page, command
from chatserver.client.joined_room import JoinedRoom
from chatserver.client.runner import Runner
from chatserver.client.stream import Stream
from chatserver.client.web import Web
from chatserver.protocol import (
    AvailableAction,
    Cursor,
    Dispute,
    DisputeNow,
    History,
    Member,
    MessageRedact,
    MessageRelease,
    MessageSend,
    Presence,
    ReceiptNow,
)
from policies.errors import BadRequest, ChatError
from policies.vocabulary import Role, RoomKind


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Entries of the past, oldest first; ``more``: there are others beyond this page."""

    entries: list[Entry]
    more: bool


class Room:
    """A room that is joined; made by ``ChatClient.join``.

    It stays joined through any number of lost connections, until ``leave`` or until the server ends it.
    """

    def __init__(self, runner: Runner, state: JoinedRoom, new_id: Callable[[], str], web: Web) -> None:
        self._runner = runner
        self._state = state
        self._new_id = new_id
        self._web = web
        self._opened: Opened | None = None
        self._settled = asyncio.Event()
        self._ended = False
        self._error: ChatError | None = None
        self._members: dict[str, Member] = {}
        self._cursors: dict[str, Cursor] = {}
        self._dispute: Dispute | None = None
        self._actions: tuple[AvailableAction, ...] = ()
        self._case = Case(self.id, self._write, new_id)
        self._entries = Stream(self._take)

    @property
    def id(self) -> str:
        return self._state.name

    @property
    def kind(self) -> RoomKind:
        """Whether it is an order's room or a dispute's."""
        return self._answer.kind

    @property
    def role(self) -> Role:
        """What the connected user is in this room."""
        return self._answer.you.role

    @property
    def members(self) -> Mapping[str, Member]:
        """Who is in the room and whether they are there, by user id; kept up to date."""
        return self._members

    @property
    def cursors(self) -> Mapping[str, Cursor]:
        """Up to which seq each user has received and read; kept up to date."""
        return self._cursors

    @property
    def dispute(self) -> Dispute | None:
        """The dispute of this room as this user sees it, kept up to date; None in a room of another kind."""
        return self._dispute

    @property
    def available_actions(self) -> tuple[AvailableAction, ...]:
        """What this user may do about the dispute now, by the types of the commands; kept up to date."""
        return self._actions

    @property
    def case(self) -> Case:
        """What can be done about the dispute."""
        return self._case

    @property
    def head(self) -> int:
        """The highest seq known to exist."""
        return self._state.feed.head

    @property
    def position(self) -> int:
        """The last seq that ``entries`` has yielded: what to pass as ``after`` when joining again another day."""
        return self._state.feed.position or 0

    @property
    def joined(self) -> bool:
        """Whether the room is joined on a connection that stands right now."""
        return self._state.joined

    @property
    def over(self) -> bool:
        """Whether it was left, or the server has ended it: then nothing can be sent any more."""
        return self._ended

    def entries(self) -> Stream[Entry]:
        """The room's entries from where it was joined, in order of seq, live, each exactly once.

        One reader at a time; a new loop goes on where the last one stopped. A reader that does not keep up costs a
        bounded amount of memory (``buffer`` of ``ChatClient``): what comes while the buffer is full is dropped and
        read from history when there is space, so it sees everything, only later.

        The iteration ends when the room is left or the client closed by the application.

        Raises:
            ChatError: (while iterating) the room may not be read any more, or the client has ended.
        """
        return self._entries

    async def send(
        self,
        text: str,
        *,
        reply_to: int | None = None,
        evidence: Sequence[str] = (),
        command_id: str | None = None,
    ) -> Sent:
        """Send a message and wait until it is stored durably.

        It is sent again under the same id until it is acknowledged: after lost connections, and after temporary
        errors (such as ``unavailable``, or ``rate_limited`` with its pause). Messages to a room are sent one after
        another, so calls made in one order are appended in that order. There is no time limit: use
        ``asyncio.timeout``. When the wait is cancelled the message may have been stored; sending it again with the
        same ``command_id`` tells, and never stores it twice.

        Args:
            text: 1 to ``limits.message_chars`` characters; longer text is refused here, it is never split.
            reply_to: seq of the entry it answers.
            evidence: ids of up to 10 sealed pieces that this user has added to the room, to show with it.
            command_id: the idempotency key, 1 to 64 characters, unique for this user; a random one by default.

        Raises:
            BadRequest, TooLarge: for a text that the server would not accept.
            Conflict: the id was used for another message.
            ChatError: the server's final error, or the client has ended.
        """
        self._check()
        message = command(
            MessageSend,
            type="message.send",
            id=command_id or self._new_id(),
            room=self.id,
            text=text,
            reply_to=reply_to,
            evidence=list(evidence) or None,
        )
        return await self._write(message)

    async def attach(
        self,
        content: Path | str | bytes,
        *,
        kind: str,
        caption: str = "",
        filename: str | None = None,
        content_type: str | None = None,
        captured_at: datetime | None = None,
        origin: str = "",
        progress: Progress | None = None,
    ) -> Attached:
        """Add evidence: announce it, upload it straight to the server's store, have it looked at and sealed.

        It goes on after lost connections and temporary errors; a large file, where it stopped. There is no time limit:
        use ``asyncio.timeout``. (This goes over HTTP and needs ``httpx``; ``tls`` of the client holds for the store,
        too.)

        Args:
            content: a file, or bytes.
            kind: one of ``policies.vocabulary.EvidenceKind``.
            caption: what it shows.
            filename: of bytes; a file has its own.
            content_type: such as ``image/jpeg``; by default it follows from the filename.
            captured_at: when you say it was taken; aware.
            origin: where it comes from, in your words.
            progress: called with the bytes sent so far, and all there are.

        Raises:
            OSError: the file cannot be read.
            BadRequest, TooLarge: of a kind, type or size that is not taken.
            Refused: ``details["rule"]`` says why it is not taken.
            ChatError: another final error.
        """
        self._check()
        attachment = attachment_of(
            content,
            kind=kind,
            caption=caption,
            filename=filename,
            content_type=content_type,
            captured_at=captured_at,
            origin=origin,
        )
        return await attach(self._web, self.id, attachment, progress)

    async def release(self, seq: int, reason: str = "", *, command_id: str | None = None) -> Sent | None:
        """As staff: everybody may see all of an entry that was withheld or masked.

        Like messages it is sent again under the same id until it is acknowledged. The members get the entry as it is
        then (``Changed``), and the log an entry that says so.

        Args:
            seq: of the entry.
            reason: for the record; both sides can read it.
            command_id: the idempotency key.

        Returns:
            Where the log says so; None when it need not: everybody could see it already.

        Raises:
            Forbidden: only support may, and not in a case of their own.
            ChatError: the server's final error, or the client has ended.
        """
        self._check()
        return await self._carry_out(
            command(
                MessageRelease,
                type="message.release",
                id=command_id or self._new_id(),
                room=self.id,
                seq=seq,
                reason=reason,
            )
        )

    async def redact(self, seq: int, reason: str, *, command_id: str | None = None) -> Sent | None:
        """As staff: hide a party's message, or evidence by the entry that added it, from the other side; or mask again
        what was released of any other text. As ``release``, with a reason that is required.

        Returns:
            Where the log says so; None when it was hidden already, and its flag is confirmed now.
        """
        self._check()
        return await self._carry_out(
            command(
                MessageRedact,
                type="message.redact",
                id=command_id or self._new_id(),
                room=self.id,
                seq=seq,
                reason=reason,
            )
        )

    async def history(self, *, before: int | None = None, after: int | None = None, limit: int = 50) -> HistoryPage:
        """A page of the past; it does not move ``entries``.

        Args:
            before: entries with a smaller seq, the nearest ones.
            after: entries with a larger seq, the nearest ones. Without either: the latest.
            limit: most entries to get, 1 to ``limits.history_page``.

        Raises:
            BadRequest: both ``before`` and ``after``, or a number out of its range.
            ChatError: the server's final error, or the client has ended.
        """
        self._check()
        if before is not None and after is not None:
            raise BadRequest("Either before or after, not both.")
        request = command(
            History, type="history", id=self._new_id(), room=self.id, before=before, after=after, limit=limit
        )
        page = (await self._runner.call(request)).answer
        assert isinstance(page, Page)
        return HistoryPage(page.entries, page.more)

    def typing(self, on: bool) -> None:
        """Tell the others that the user types, or has stopped. It lapses after 6 s without renewal.

        Sent now or, while there is no connection, not at all.
        """
        self._check()
        self._runner.core.typing(self._state, on)
        self._runner.poke()

    def receipt(self, *, delivered: int | None = None, read: int | None = None) -> None:
        """Report up to which seq entries were received, and read by the user.

        Returns at once. Calls are gathered for half a second and only ever move forward; after a lost connection the
        latest is sent again.
        """
        self._check()
        self._runner.core.receipt(self._state, delivered, read, self._runner.now())
        self._runner.poke()

    async def leave(self) -> None:
        """Leave the room: its entries end, and what is still being sent fails with ``ClientClosed``."""
        if self._ended:
            return
        runner = self._runner
        await runner.answer_to(runner.core.leave(self.id, runner.now()))

    # For the client that made it

    async def wait_joined(self) -> None:
        """Wait for the answer to the join.

        Raises:
            ChatError: the room cannot be joined.
        """
        await self._settled.wait()
        self._check()

    def opened(self, opened: Opened) -> None:
        self._opened = opened
        self._members = {member.user: member for member in opened.members}
        self._cursors = dict(opened.cursors)
        self._dispute, self._actions = opened.dispute, tuple(opened.available_actions)
        self._settled.set()

    def ended(self, error: ChatError | None) -> None:
        """The room was left (no error), or cannot be served any more."""
        self._ended, self._error = True, error
        self._entries.finish(None if isinstance(error, ClientClosed) else error)
        self._settled.set()

    def readable(self) -> None:
        self._entries.notify()

    def observed(self, frame: Beside) -> None:
        """Keep members, cursors and the dispute up to date."""
        if isinstance(frame, ReceiptNow):
            self._cursors[frame.user] = Cursor(delivered=frame.delivered, read=frame.read)
        elif isinstance(frame, Presence):
            known = self._members.get(frame.user)
            self._members[frame.user] = Member(
                user=frame.user,
                role=frame.role,
                name=known.name if known is not None else frame.user,
                state=frame.state,
                last_seen=frame.last_seen,
                strikes=known.strikes if known is not None else None,
            )
        elif isinstance(frame, DisputeNow):
            self._dispute, self._actions = frame.dispute, tuple(frame.available_actions)

    @property
    def _answer(self) -> Opened:
        assert self._opened is not None  # the application gets a room when it is joined
        return self._opened

    async def _write(self, request: Write) -> Sent:
        """Send a command until its entry is acknowledged."""
        self._check()
        sent = await self._carry_out(request)
        if sent is None:
            raise ChatError("The server acknowledged a command without saying where its entry is.")
        return sent

    async def _carry_out(self, request: Write) -> Sent | None:
        """Send a command until it is acknowledged; None when it wrote no entry."""
        ack = (await self._runner.call(request)).answer
        if not isinstance(ack, Acked) or ack.seq is None or ack.entry_id is None or ack.at is None:
            return None
        duplicate = ack.duplicate is True
        return Sent(ack.room or self.id, request.id, ack.seq, ack.entry_id, ack.at, duplicate, ack.notice)

    def _take(self) -> Entry | None:
        entry = self._runner.core.take(self._state, self._runner.now())
        if self._runner.core.outgoing:
            self._runner.poke()
        return entry

    def _check(self) -> None:
        if self._ended:
            raise self._error.with_traceback(None) if self._error is not None else ClientClosed("The room was left.")
