"""What the client remembers across connections, and what it sends on each: a state machine without I/O.

Whoever runs it tells it what happened (``opened``, ``received``, ``closed``, ``tick``) and what the application wants
(``join``, ``submit`` ...), with the time as seconds of any monotonic clock, and then carries out what it finds in
``outgoing`` and ``events``. The rules:

- A command is sent again under the same id on every connection until it is answered. A temporary error is not an
  answer: it only says when to try again.
- Writes to a room go one at a time, so messages are appended in the order in which they were submitted, whatever is
  retried in between.
- What concerns a room waits until the room is joined on this connection.
"""

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import Final

from chatserver.client.attempt import Attempt
from chatserver.client.backoff import full_jitter
from chatserver.client.commands import Commands, Pending, Submittable, unfit
from chatserver.client.errors import ClientClosed, ConnectionEnded, error_of
from chatserver.client.events import (
    Answered,
    CoreEvent,
    Ended,
    Observed,
    Offline,
    Online,
    Postponed,
    Readable,
    RoomEnded,
    RoomOpened,
    TokenWanted,
)
from chatserver.client.frames import Acked, Arrived, Changed, Entry, Opened, Page, Received, encode
from chatserver.client.joined_room import JoinedRoom
from chatserver.errors import MESSAGE_TOO_BIG, CloseCode
from chatserver.protocol import (
    Bye,
    ClientInfo,
    Connect,
    Connected,
    Error,
    Leave,
    Limits,
    Pong,
    Resync,
    RoomPosition,
    TokenExpiring,
    TokenRefresh,
    Typing,
)
from policies.errors import ChatError, Conflict, ErrorCode

ANSWER_TIMEOUT_S: Final = 20.0
"""A command unanswered for this long means that the connection, or the process behind it, is stuck: use another."""
CONNECT_TIMEOUT_S: Final = 10.0
"""How long ``connect`` may stay unanswered."""
HEARTBEAT_MARGIN_S: Final = 10.0
"""How much later than the server's ping interval its silence counts as a dead connection."""
STABLE_S: Final = 10.0
"""A connection that held this long sets the backoff to its start again."""
CLOSE_WAIT_S: Final = 2.0
"""How long the server may take to close after it refused ``connect``, or after the pause that ``bye`` announced."""
TOLD_PAUSE_S: Final = 2.0
"""A command that has to wait for so long is worth a word to whoever has written it."""
EPHEMERAL_FRAMES: Final = 64
"""With this much waiting to be sent, typing notices are left out."""


class Link(Enum):
    """Where the connection stands."""

    DOWN = "down"
    OPENING = "opening"
    """``connect`` is sent, its answer is awaited."""
    UP = "up"
    ENDED = "ended"
    """It will not be tried again."""


class ClientCore:
    """The client's state machine.

    Args:
        info: name and version that the server logs.
        rng: source of the jitter.
        new_id: makes an id of 1 to 64 characters, never the same one twice for this user.
        capacity: entries that are held per room for a slow reader.
        renewable: whether a token that has expired can be replaced by another.
        now: the current time.
    """

    def __init__(
        self,
        *,
        info: ClientInfo,
        rng: Random,
        new_id: Callable[[], str],
        capacity: int,
        renewable: bool,
        now: float,
    ) -> None:
        self._info = info
        self._rng = rng
        self._new_id = new_id
        self._capacity = capacity
        self._renewable = renewable
        self._rooms: dict[str, JoinedRoom] = {}
        self._commands = Commands()
        self._tries = 0
        self._connect_id = ""
        self._complaint: Error | None = None
        self._bye: Bye | None = None
        self._up_since = now
        self._silence_s = CONNECT_TIMEOUT_S
        self._give_up_at: float | None = None
        self.link = Link.DOWN
        self.limits: Limits | None = None
        self.retry_at = now
        """When to connect next, while ``link`` is DOWN."""
        self.token_stale = False
        """Whether the token must be replaced before the next connection."""
        self.broken: str | None = None
        """Why the connection must be closed from this side, or None."""
        self.outgoing: deque[bytes] = deque()
        """Text messages to send, in order."""
        self.events: deque[CoreEvent] = deque()
        """What to tell, in order."""

    # What the application wants

    def join(self, name: str, after: int | None, now: float) -> JoinedRoom:
        """Join a room, now and on every later connection. ``RoomOpened`` or ``RoomEnded`` follows.

        Raises:
            Conflict: the room is joined or being joined.
        """
        if name in self._rooms:
            raise Conflict("The room is joined already.")
        room = self._rooms[name] = JoinedRoom(name, after, self._capacity, now)
        self._flush(now)
        return room

    def leave(self, name: str, now: float) -> str:
        """Leave a room. What is still pending in it fails; ``Answered`` follows for the id that is returned."""
        self._drop(name, None)
        command = Leave(type="leave", id=self._new_id(), room=name)
        if self.link is Link.UP:
            self.submit(command, now)
        else:
            self.events.append(Answered(command.id, Acked(id=command.id, room=name)))
        return command.id

    def submit(self, command: Submittable, now: float) -> None:
        """Send a command until it is answered; ``Answered`` follows. Submitting it twice is submitting it once.

        Raises:
            Conflict: another command with this id is pending.
            BadRequest, TooLarge: the server is known not to accept it.
        """
        self._commands.add(command, self.limits, now)
        self._flush(now)

    def abandon(self, command_id: str, now: float) -> None:
        """Stop retrying a command whose caller no longer waits. It may have been carried out."""
        self._commands.remove(command_id)
        self._flush(now)

    def typing(self, room: JoinedRoom, on: bool) -> None:
        """Tell the others now or never: after a lost connection it would no longer be true."""
        if self.link is Link.UP and room.joined and len(self.outgoing) < EPHEMERAL_FRAMES:
            self.outgoing.append(encode(Typing(type="typing", room=room.name, on=on)))

    def receipt(self, room: JoinedRoom, delivered: int | None, read: int | None, now: float) -> None:
        """Report up to where entries were received and read. Only the latest is sent, and again after a loss."""
        room.receipts.want(delivered, read)
        self._flush(now)

    def take(self, room: JoinedRoom, now: float) -> Entry | None:
        """The next entry of the room for its reader, or None when it has to wait."""
        entry = room.feed.take()
        if entry is not None and room.feed.missing is not None:
            self._flush(now)  # there is space again for what was dropped
        return entry

    def refresh(self, token: str, now: float) -> None:
        """Give the server a new token on the connection that stands; without one, the next ``connect`` carries it."""
        self.token_stale = False
        if self.link is Link.UP:
            self.submit(TokenRefresh(type="token.refresh", id=self._new_id(), token=token), now)

    # What happens to the connection

    def opened(self, token: str, now: float) -> None:
        """The WebSocket stands: say who we are, and where we stopped in each room."""
        self.link, self._complaint = Link.OPENING, None
        self._connect_id = self._new_id()
        self._silence_s = CONNECT_TIMEOUT_S
        self._give_up_at = now + CONNECT_TIMEOUT_S
        for room in self._rooms.values():
            room.join.sent(self._connect_id, now)
        positions = [RoomPosition(room=room.name, after=room.feed.tail) for room in self._rooms.values()]
        connect = Connect(type="connect", id=self._connect_id, token=token, client=self._info, rooms=positions)
        self.outgoing.append(encode(connect))

    def closed(self, close_code: int | None, reason: str, now: float) -> None:
        """The connection is gone, or none came about. ``close_code``: of the server's close frame, if it sent one."""
        if self.link is Link.ENDED:
            return
        error = self._verdict(close_code, reason)
        if error is not None:
            self.end(error)
            return
        if self.link is Link.UP and now - self._up_since >= STABLE_S:
            self._tries = 0
        if self._bye is not None:
            pause = self._bye.reconnect_after_ms / 1000
        else:
            asked = self._complaint.retry_after_ms if self._complaint is not None else None
            pause = max(full_jitter(self._tries, self._rng), (asked or 0) / 1000)
            self._tries += 1
        self._disconnect()
        self.retry_at = now + pause
        self.events.append(Offline(reason, pause))

    def end(self, error: ChatError) -> None:
        """Stop for good: everything that waits fails with ``error``."""
        self._disconnect()
        self.link = Link.ENDED
        self.events.extend(Answered(pending.id, error) for pending in self._commands)
        self.events.extend(RoomEnded(name, error) for name in self._rooms)
        self.events.append(Ended(error))
        self._commands = Commands()
        self._rooms.clear()

    def tick(self, now: float, heard_at: float) -> None:
        """Do what is due. ``heard_at``: when the connection last gave a sign of life, pings included."""
        if self._give_up_at is not None and now >= self._give_up_at:
            self.broken = self._complaint.message if self._complaint is not None else "the server did not answer"
        elif now >= heard_at + self._silence_s:
            self.broken = "the server is silent"
        elif any(now >= at + ANSWER_TIMEOUT_S for at in self._sent_times()):
            self.broken = "the server did not answer a command"
        self._flush(now)

    def wakes_at(self, heard_at: float) -> float:
        """When ``tick`` is needed next, if nothing else happens before."""
        times = [heard_at + self._silence_s, *(at + ANSWER_TIMEOUT_S for at in self._sent_times())]
        if self._give_up_at is not None:
            times.append(self._give_up_at)
        if self.link is Link.UP and self._bye is None:
            times += [pending.due for pending in self._commands.foremost() if self._sendable(pending)]
            for room in self._rooms.values():
                times += room.due_times()
        return min(times)

    def received(self, frame: Received, now: float) -> None:
        """A frame arrived."""
        match frame:
            case Arrived():
                self._arrived(frame, now)
            case Acked() | Pong():
                self._answered(frame.id, frame, now)
            case Page():
                self._page(frame, now)
            case Opened():
                self._room_opened(frame, now)
            case Error():
                self._failed(frame, now)
            case Connected():
                self._connected(frame, now)
            case Bye():
                self._bye = frame
                self._give_up_at = now + frame.reconnect_after_ms / 1000 + CLOSE_WAIT_S
            case Resync():
                if (room := self._rooms.get(frame.room)) is not None:
                    room.lost()
                    self._flush(now)
            case TokenExpiring():
                self.events.append(TokenWanted(frame.in_s))
            case Changed():
                if (room := self._rooms.get(frame.room)) is not None:
                    self._changed(room, frame)
            case _:
                if frame.room in self._rooms:
                    self.events.append(Observed(frame))

    def _connected(self, frame: Connected, now: float) -> None:
        self.link, self.limits, self._up_since, self._give_up_at = Link.UP, frame.limits, now, None
        self._silence_s = frame.heartbeat_s + HEARTBEAT_MARGIN_S
        self.events.append(Online(frame))
        self._flush(now)

    def _room_opened(self, frame: Opened, now: float) -> None:
        room = self._rooms.get(frame.room)
        if room is None or frame.id not in (None, room.join.id):
            return  # left meanwhile, or the answer to an earlier join
        room.opened(frame, now)
        self.events += (RoomOpened(frame), Readable(frame.room))
        self._flush(now)

    def _arrived(self, frame: Arrived, now: float) -> None:
        room = self._rooms.get(frame.room)
        if room is None:
            return
        room.feed.offer(frame.entry)
        room.read([frame.entry], now)
        self.events.append(Readable(frame.room))
        if room.feed.missing is not None:
            self._flush(now)

    def _changed(self, room: JoinedRoom, frame: Changed) -> None:
        room.feed.amend(frame.entry)
        room.changed.seen(frame.entry.seq)
        self.events.append(Observed(frame))

    def _page(self, page: Page, now: float) -> None:
        room = self._rooms.get(page.room)
        if room is not None and page.id == room.look.id:
            room.looked(page, now, self._rng)
            for entry in page.entries:
                self._changed(room, Changed(type="entry.changed", room=page.room, entry=entry))
            self._flush(now)
            return
        if room is None or page.id != room.fetch.id:
            self._answered(page.id, page, now)
            return
        room.fetched(page, now, self._rng)
        self.events.append(Readable(page.room))
        self._flush(now)

    def _answered(self, command_id: str | None, answer: Acked | Page | Pong | ChatError, now: float) -> None:
        pending = self._commands.remove(command_id or "")
        if pending is None:
            return  # nobody waits for it any more, or it was answered twice
        took_s = now - pending.sent_at if pending.sent_at is not None else 0.0
        self.events.append(Answered(pending.id, answer, took_s))
        self._flush(now)

    def _failed(self, frame: Error, now: float) -> None:
        if self.link is Link.OPENING:
            self._complaint = frame  # a close follows; should it not, we close
            self._give_up_at = now + CLOSE_WAIT_S
        elif (pending := self._commands.get(frame.id or "")) is not None:
            if frame.temporary:
                pending.postpone(frame.retry_after_ms, now, self._rng)
                if (pause := pending.due - now) >= TOLD_PAUSE_S:
                    self.events.append(Postponed(pending.id, pending.room, frame.message, pause))
            else:
                self._answered(frame.id, error_of(frame), now)
        elif frame.id == self._connect_id:
            self._connect_failed(frame, now)
        elif frame.id is not None:
            for room in list(self._rooms.values()):
                for attempt in room.attempts:
                    if attempt.id == frame.id:
                        self._room_failed(room, attempt, frame, now)
        self._flush(now)

    def _connect_failed(self, frame: Error, now: float) -> None:
        """One of the rooms in ``connect`` could not be joined."""
        named = (frame.details or {}).get("room")
        for room in list(self._rooms.values()):
            if room.join.id != frame.id:
                continue
            if room.name == named:
                self._room_failed(room, room.join, frame, now)
            elif named is None:
                room.lost()  # ask for each by itself: that answer will say which room it is about

    def _room_failed(self, room: JoinedRoom, attempt: Attempt, frame: Error, now: float) -> None:
        if frame.temporary:
            attempt.postpone(frame.retry_after_ms, now, self._rng)
        else:
            self._drop(room.name, error_of(frame))

    def _verdict(self, close_code: int | None, reason: str) -> ChatError | None:
        """Why there will be no other connection, or None when there will be one."""
        complaint = self._complaint
        if close_code is not None and (4000 <= close_code < 5000 or close_code == MESSAGE_TOO_BIG):
            expired = close_code == CloseCode.TOKEN_EXPIRED
            final = close_code >= 4500 or close_code == MESSAGE_TOO_BIG
        else:  # no word from the server's table of codes: what it said about ``connect`` decides
            expired = complaint is not None and complaint.code is ErrorCode.TOKEN_EXPIRED
            final = complaint is not None and not complaint.temporary and not expired
        if expired:
            self.token_stale = True
            final = not self._renewable
        if not final:
            return None
        error = ConnectionEnded(complaint.message if complaint else reason, close_code=close_code)
        error.__cause__ = error_of(complaint) if complaint else None
        return error

    def _disconnect(self) -> None:
        self.link, self.broken, self._bye, self._complaint, self._give_up_at = Link.DOWN, None, None, None, None
        self.outgoing.clear()
        for room in self._rooms.values():
            room.lost()
        for pending in self._commands:
            pending.sent_at = None
            if isinstance(pending.command, Leave | TokenRefresh):
                # The server forgot the room with the connection, and the next connect carries the token.
                self._commands.remove(pending.id)
                self.events.append(Answered(pending.id, Acked(id=pending.id)))

    def _drop(self, name: str, error: ChatError | None) -> None:
        """Forget a room; what is pending in it fails."""
        for pending in self._commands:
            if pending.room == name:
                self._commands.remove(pending.id)
                self.events.append(Answered(pending.id, error or ClientClosed("The room was left.")))
        del self._rooms[name]
        self.events.append(RoomEnded(name, error))

    # What goes out

    def _sent_times(self) -> Iterator[float]:
        """When what is under way was sent."""
        for room in self._rooms.values():
            yield from (attempt.sent_at for attempt in room.attempts if attempt.sent_at is not None)
        yield from (pending.sent_at for pending in self._commands.foremost() if pending.sent_at is not None)

    def _sendable(self, pending: Pending) -> bool:
        """Whether nothing but time keeps a command from being sent."""
        return pending.sent_at is None and (pending.room is None or self._rooms[pending.room].joined)

    def _flush(self, now: float) -> None:
        """Send what is due."""
        if self.link is not Link.UP or self.limits is None or self._bye is not None:
            return
        for room in self._rooms.values():
            self.outgoing.extend(map(encode, room.requests(now, self._new_id, self.limits)))
        turned_away = True
        while turned_away:  # each lets the next one of its lane come forward
            ready = [one for one in self._commands.foremost() if self._sendable(one) and one.due <= now]
            turned_away = not all(self._transmit(pending, self.limits, now) for pending in ready)

    def _transmit(self, pending: Pending, limits: Limits, now: float) -> bool:
        """Send a command, unless the limits, which may not have been known when it was submitted, forbid it."""
        problem = unfit(pending, limits)
        if problem is None:
            pending.sent(pending.id, now)
            self.outgoing.append(pending.payload)
            return True
        self._commands.remove(pending.id)
        self.events.append(Answered(pending.id, problem))
        return False
