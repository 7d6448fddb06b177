"""One connection: what its client asks, in order, and what it is told.

Frames are handled synchronously as they arrive: a message goes on its way without a task of its own. A command that
needs MongoDB or Redis runs as a task, and the frames behind it wait, so that a client sees its commands take effect
in the order it sent them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from pydantic import ValidationError

from chatserver import protocol
from chatserver.auth import Identity, Revoked
from chatserver.errors import CloseCode
from chatserver.hub import answers, dispute_commands
from chatserver.hub.history import read_history
from chatserver.hub.hub import Hub
from chatserver.hub.joining import join
from chatserver.hub.live_room import LiveRoom
from chatserver.hub.pipe import HOLD_BACKLOG, HOLD_FLOOD, Pipe, Send
from chatserver.hub.rates import TokenBucket
from chatserver.hub.rulings import RulingFrame, rule
from chatserver.hub.shown_evidence import check_shown
from chatserver.hub.socket import FrameSocket
from chatserver.hub.writer import Submission, Written, written
from chatserver.protocol import CLIENT_FRAME
from policies.errors import (
    ChatError,
    Conflict,
    Forbidden,
    NotFound,
    RateLimited,
    TokenExpired,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from policies.screening import Screening
from policies.vocabulary import PARTIES, CommandId, Role, RoomId, Seq, UserId

WAITING_MAX: Final = 64
"""Frames that may wait behind a running command before the socket is no longer read."""
FLOOD_PAUSE_S: Final = 1.0
"""A client that goes on after so many refusals is not read for so long; TCP lets it wait."""

_read_frame: Final = CLIENT_FRAME.validator.validate_json
"""The adapter's own method prepares options for every call that are not used here."""

logger = logging.getLogger(__name__)


class Session:
    """A connection from accept to the end. It is a ``Listener`` of its socket and a ``Member`` of its rooms.

    Args:
        session_id: names the connection in logs and in ``connected``.
        address: of the client, for the limit on bad tokens.
        header_token: the token of the Authorization header, if there was one.
    """

    __slots__ = (
        "_active_at",
        "_address",
        "_commands",
        "_header_token",
        "_hub",
        "_identity",
        "_loop",
        "_pipe",
        "_refusals",
        "_rooms",
        "_seated",
        "_stopping",
        "_task",
        "_timer",
        "_waiting",
        "away",
        "send",
        "session_id",
    )

    def __init__(self, hub: Hub, socket: FrameSocket, session_id: str, address: str, header_token: str | None) -> None:
        self._hub = hub
        self._pipe = Pipe(socket, hub.turn, hub.settings.queue_frames, hub.settings.queue_bytes, hub.metrics)
        self.send: Send = self._pipe.send
        self._loop = asyncio.get_running_loop()
        self.session_id = session_id
        self._address = address
        self._header_token = header_token
        self.away = False
        self._identity: Identity | None = None
        self._rooms: dict[RoomId, LiveRoom] = {}
        self._commands = TokenBucket(hub.settings.commands_per_s, hub.settings.command_burst)
        self._waiting: deque[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._refusals = 0
        self._stopping = False
        self._seated = False
        self._active_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(
            hub.settings.connect_timeout_s, self.close, CloseCode.NO_CONNECT, "no connect frame in time"
        )
        hub.sessions.add(self)

    # As a member of rooms

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            raise Unauthenticated("The first frame must be 'connect'.")
        return self._identity

    @property
    def user_id(self) -> UserId:
        return self.identity.user_id

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def token_role(self) -> Role | None:
        return self.identity.role

    def close(self, code: CloseCode, reason: str) -> None:
        self._pipe.close(code, reason)

    def left(self, room: RoomId) -> None:
        live = self._rooms.pop(room, None)
        if live is not None:
            self._hub.leave(live, self)

    def goodbye(self, reason: str, reconnect_after_ms: int) -> None:
        self._stopping = True
        self._pipe.tell({"type": "bye", "reason": reason, "reconnect_after_ms": reconnect_after_ms})

    def check_away(self, now: float) -> None:
        away = now - self._active_at > self._hub.settings.away_after_s
        if away is not self.away and self._identity is not None:
            self.away = away
            for live in self._rooms.values():
                self._hub.attendance.changed(live, self.user_id)

    # As the listener of its socket

    def on_text(self, payload: bytes) -> None:
        if self._task is None and not self._waiting:
            self._handle(payload)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(payload)
        if len(self._waiting) >= WAITING_MAX:
            self._pipe.hold(HOLD_BACKLOG)

    def on_binary(self) -> None:
        self.close(CloseCode.BAD_FRAME, "binary frames are not part of the protocol")

    def on_writable(self) -> None:
        if self._pipe.drain():
            for live in self._rooms.values():
                self._hub.attendance.tell_all(live, self)
        self._go_on()

    def on_no_heartbeat(self) -> None:
        self.close(CloseCode.NO_HEARTBEAT, "no answer to a ping")

    def on_lost(self) -> None:
        self._pipe.lost()
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        for room in list(self._rooms):
            self.left(room)
        self._hub.sessions.remove(self, self._identity.user_id if self._identity is not None else None)
        if self._seated:
            self._hub.spawn(self._hub.seats.release(self.user_id, self.session_id))

    # Frames, one after the other

    def _handle(self, payload: bytes) -> None:
        """Take one frame. What cannot be done at once becomes the session's task."""
        try:
            frame: protocol.ClientFrame = _read_frame(payload)
        except ValidationError as error:
            self._refuse_frame(payload, error)
            return
        if isinstance(frame, protocol.MessageSend):
            self._active()
            if not frame.evidence:
                later = self._send_message(frame)
                if later is not None:
                    self._task = self._loop.create_task(self._run(frame.type, frame.id, later))
                return
        work: Coroutine[Any, Any, None] | None = None
        try:
            self._take_command()
            work = self._work(frame)
        except ChatError as error:
            self._refuse(getattr(frame, "id", None), error)
        if work is not None:
            self._task = self._loop.create_task(self._run(frame.type, getattr(frame, "id", None), work))

    def _work(self, frame: protocol.ClientFrame) -> Coroutine[Any, Any, None] | None:
        """Do a command, or return what does it."""
        match frame:
            case protocol.Ping():
                self._pipe.tell(answers.pong(frame, self._hub.clock.now()))
            case protocol.Typing():
                self._active()
                self._hub.notices.typing(self._room(frame.room), self.user_id, frame.on)
            case protocol.Receipt():
                self._hub.notices.receipt(self._room(frame.room), self.user_id, frame.delivered, frame.read)
            case protocol.Leave():
                self.left(self._room(frame.room).id)
                self._pipe.tell({"type": "ack", "id": frame.id, "room": frame.room})
            case protocol.MessageSend():
                return self._send_with_evidence(frame)
            case protocol.Connect():
                return self._connect(frame)
            case protocol.TokenRefresh():
                return self._refresh(frame)
            case protocol.Join():
                self._active()
                return self._join(frame.id, RoomId(frame.room), frame.after)
            case protocol.History():
                self._active()
                return self._history(frame)
            case protocol.MessageRelease() | protocol.MessageRedact():
                self._active()
                return self._rule(frame)
            case protocol.DisputeCommand():
                self._active()
                return self._dispute(frame)
        return None

    async def _run(self, name: str, command_id: str | None, work: Coroutine[Any, Any, None]) -> None:
        try:
            with self._hub.tracing.span(name, {"session": self.session_id}):
                await work
        except ChatError as error:
            self._refuse(command_id, error)
        except Exception:  # a fault of ours in one command: said and logged, the connection starts afresh
            logger.exception("a command failed", extra={"session": self.session_id})
            self._refuse(command_id, ChatError("The server failed; nothing is known of this command's outcome."))
            self.close(CloseCode.SERVER_ERROR, "internal error")
        self._task = None
        self._go_on()

    def _go_on(self) -> None:
        """Handle the frames that waited, as long as their answers find a place."""
        while self._waiting and self._task is None and not self._pipe.closed and not self._pipe.congested:
            self._handle(self._waiting.popleft())
        if not self._waiting or len(self._waiting) < WAITING_MAX // 2:
            self._pipe.release(HOLD_BACKLOG)

    def _room(self, room: str) -> LiveRoom:
        """A room that this connection has joined. Any other may exist or not: the answer is the same."""
        identity = self.identity
        live = self._rooms.get(RoomId(room))
        if live is None:
            raise NotFound(f"{identity.name or 'You'} joined no such room on this connection.")
        return live

    # Messages

    def _send_message(self, frame: protocol.MessageSend) -> Coroutine[Any, Any, None] | None:
        """Send a message on its way, or return what does it: where screening takes a while."""
        hub = self._hub
        started = self._loop.time()
        try:
            identity = self.identity
            live = self._rooms.get(RoomId(frame.room)) or self._room(frame.room)
            if self._stopping:
                raise Unavailable("The server is stopping.", retry_after_ms=0)
            if len(frame.text) > hub.settings.message_chars:
                limit = hub.settings.message_chars
                raise TooLarge(f"A message has at most {limit} characters.", details={"limit": limit})
            wait = hub.message_rates.take(identity.user_id, started)
            if wait:
                raise RateLimited("Too many messages.", retry_after_ms=_milliseconds(wait))
        except ChatError as error:
            self._refuse(frame.id, error)
            return None
        self._refusals = 0
        member = live.members.get(self)
        if member is None or member.role not in PARTIES:
            self._submit(live, frame, started, None)
        elif hub.screening.at_once(live, frame.text):
            try:
                found = hub.screening.screen(live, identity.user_id, frame.id, frame.text)
            except RateLimited as error:  # of the room, in slow mode
                self._refuse(frame.id, error)
                return None
            except Exception:  # a fault of ours in one text: nothing unscreened is shown, and the others go on
                logger.exception("a message could not be screened", extra={"session": self.session_id})
                self._refuse(frame.id, ChatError("The server failed; this message is not stored."))
                return None
            self._submit(live, frame, started, found)
        else:
            return self._screen_and_submit(live, frame, started)
        return None

    async def _screen_and_submit(self, live: LiveRoom, frame: protocol.MessageSend, started: float) -> None:
        found = await self._hub.screening.screen_later(live, self.user_id, frame.id, frame.text)
        self._submit(live, frame, started, found)

    def _submit(self, live: LiveRoom, frame: protocol.MessageSend, started: float, screening: Screening | None) -> None:
        hub, identity = self._hub, self.identity

        def done(outcome: Written | ChatError) -> None:
            took = self._loop.time() - started
            if isinstance(outcome, Written):
                hub.tally.acknowledged(took)
                self.send(answers.ack(frame.id, frame.room, outcome))
            else:
                self._refuse(frame.id, outcome)
            if hub.tracing.on:
                result = "ok" if isinstance(outcome, Written) else outcome.code.value
                hub.tracing.ended(frame.type, took, {"session": self.session_id, "result": result})

        hub.submit(
            live,
            Submission(
                live.id,
                identity.user_id,
                identity.name,
                identity.role,
                CommandId(frame.id),
                frame.text,
                None if frame.reply_to is None else Seq(frame.reply_to),
                done,
                tuple(frame.evidence or ()),
                screening,
            ),
        )

    # Commands that wait for something

    async def _connect(self, frame: protocol.Connect) -> None:
        if self._identity is not None:
            raise Conflict("This connection is connected already.")
        hub = self._hub
        try:
            identity = await hub.auth.user(frame.token or self._header_token or "", self._address)
        except ChatError as error:
            self._refuse(frame.id, error)
            if isinstance(error, TokenExpired):
                self.close(CloseCode.TOKEN_EXPIRED, "token expired")
            elif isinstance(error, Revoked):
                self.close(CloseCode.ACCESS_REVOKED, "access revoked")
            elif isinstance(error, Unauthenticated):
                self.close(CloseCode.INVALID_TOKEN, "invalid token")
            return
        if not await hub.seats.take(identity.user_id, self.session_id):
            limit = hub.settings.connections_per_user
            self._refuse(frame.id, Forbidden("Too many connections.", details={"limit": limit}))
            self.close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections of this user")
            return
        self._seated = True
        self._identity = identity
        self._header_token = None
        hub.sessions.admit(self)
        self._watch_expiry()
        self._pipe.tell(answers.connected(frame.id, self.session_id, identity, hub.settings, hub.clock.now()))
        for place in frame.rooms:
            try:
                await self._join(None, RoomId(place.room), place.after)
            except ChatError as error:
                error.details.setdefault("room", place.room)
                self._refuse(frame.id, error)

    async def _join(self, command_id: str | None, room: RoomId, after: int | None) -> None:
        limit = answers.rooms_limit(self.identity, self._hub.settings)
        live = self._rooms.get(room)
        if live is None and len(self._rooms) >= limit:
            raise Forbidden(f"A connection joins at most {limit} rooms.", details={"limit": limit})
        try:
            self._rooms[room] = await join(self._hub, self, room, after, command_id, live)
        except BaseException:
            if live is not None:
                self.left(room)
            raise

    async def _send_with_evidence(self, frame: protocol.MessageSend) -> None:
        """A message that shows evidence: whether its author may show it is looked up first."""
        live = self._room(frame.room)
        found = await check_shown(self._hub, live.id, self.user_id, frame)
        if found is None:
            later = self._send_message(frame)
            if later is not None:
                await later
        else:
            self.send(answers.ack(frame.id, frame.room, written(found)))

    async def _history(self, frame: protocol.History) -> None:
        live = self._room(frame.room)
        self._pipe.tell(await read_history(self._hub, live, live.members[self], frame))

    async def _dispute(self, frame: dispute_commands.DisputeFrame) -> None:
        live = self._room(frame.room)
        if self._stopping:
            raise Unavailable("The server is stopping.", retry_after_ms=0)
        if wait := self._hub.message_rates.take(self.user_id, self._loop.time()):
            raise RateLimited("Too many commands.", retry_after_ms=_milliseconds(wait))
        self.send(await dispute_commands.carry_out(self._hub, live, live.members[self], frame))

    async def _rule(self, frame: RulingFrame) -> None:
        live = self._room(frame.room)
        if self._stopping:
            raise Unavailable("The server is stopping.", retry_after_ms=0)
        if wait := self._hub.message_rates.take(self.user_id, self._loop.time()):
            raise RateLimited("Too many commands.", retry_after_ms=_milliseconds(wait))
        self.send(await rule(self._hub, live, live.members[self], frame))

    async def _refresh(self, frame: protocol.TokenRefresh) -> None:
        held = self.identity
        identity = await self._hub.auth.user(frame.token, self._address)
        if identity.user_id != held.user_id or identity.role is not held.role:
            raise Forbidden("The new token is another user's, or has another role: connect anew with it.")
        self._identity = identity
        self._watch_expiry()
        self._pipe.tell({"type": "ack", "id": frame.id})

    # The token's end

    def _watch_expiry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        warn_in = self._token_left() - self._hub.settings.token_warning_s
        self._timer = self._loop.call_later(max(0.0, warn_in), self._warn_of_expiry)

    def _token_left(self) -> float:
        return (self.identity.expires_at - self._hub.real.now()).total_seconds()

    def _warn_of_expiry(self) -> None:
        left = max(0.0, self._token_left())
        self._pipe.tell({"type": "token.expiring", "in_s": round(left, 3)})
        self._timer = self._loop.call_later(left + self._hub.settings.token_grace_s, self._expire)

    def _expire(self) -> None:
        self.close(CloseCode.TOKEN_EXPIRED, "token expired")

    # Answers

    def _refuse(self, command_id: str | None, error: ChatError) -> None:
        self._hub.metrics.refused(error.code.value)
        self._pipe.tell(answers.refusal(command_id, error))
        self._refusals += 1
        if self._refusals > self._hub.settings.command_burst:
            self._refusals = 0
            self._pipe.hold(HOLD_FLOOD)
            self._loop.call_later(FLOOD_PAUSE_S, self._pipe.release, HOLD_FLOOD)

    def _refuse_frame(self, payload: bytes, error: ValidationError) -> None:
        """A frame that is no command: if it is not even an object, the peer speaks another protocol."""
        wrong = answers.misread(payload, error)
        if wrong is None:
            self.close(CloseCode.BAD_FRAME, "not a JSON object, or nested too deeply")
        elif self._commands.take(self._loop.time()):
            self._refuse(None, RateLimited("Too many frames.", retry_after_ms=1000))
        else:
            self._refuse(*wrong)

    def _take_command(self) -> None:
        wait = self._commands.take(self._loop.time())
        if wait:
            raise RateLimited("Too many commands.", retry_after_ms=_milliseconds(wait))
        self._refusals = 0

    def _active(self) -> None:
        self._active_at = self._loop.time()
        if self.away:
            self.check_away(self._active_at)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
