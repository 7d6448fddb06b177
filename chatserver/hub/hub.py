"""One process's part of the chat: its rooms, their streams, and the way from an append to every socket.

Data travels one way: a session submits, the room's writer appends, the entries are published to the other processes
and taken by this one's live rooms, which deliver them to their members.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from random import Random
from typing import Any, Final

import orjson

from chatserver import slow_mode
from chatserver.access import Authenticator
from chatserver.clock import Clock, ShiftedClock
from chatserver.disputes.desk import Desk as DisputeDesk
from chatserver.errors import CloseCode
from chatserver.hub.attendance import Attendance
from chatserver.hub.bus import Bus
from chatserver.hub.changes import Changes
from chatserver.hub.crew import Crew
from chatserver.hub.disputes import LiveDisputes
from chatserver.hub.hubs import HubChange, HubRegistry
from chatserver.hub.live_room import LiveRoom, Member, partition_channel, partition_of
from chatserver.hub.mailbag import Mailbag
from chatserver.hub.notices import Notices
from chatserver.hub.pipe import Turn
from chatserver.hub.presence_store import PresenceStore
from chatserver.hub.publication import Publication
from chatserver.hub.rates import UserRates
from chatserver.hub.recovery import Recovery
from chatserver.hub.redis_url import Client
from chatserver.hub.relay import Relay, hub_channel, hub_of, submitted_by
from chatserver.hub.screening import MessageScreening
from chatserver.hub.seats import Seats
from chatserver.hub.sessions import Sessions
from chatserver.hub.staff_log import StaffLogs
from chatserver.hub.standings import Standings
from chatserver.hub.tally import Tally
from chatserver.hub.tasks import end
from chatserver.hub.unread_marks import UnreadMarks
from chatserver.hub.writer import Desk, Submission
from chatserver.hub.writers import Writers
from chatserver.metrics import Metrics
from chatserver.moderation_office import ModerationOffice
from chatserver.observers import BusMetrics
from chatserver.settings import Settings
from chatserver.tracing import Tracing
from policies.entry import Entry
from policies.errors import ChatError, Unavailable
from policies.room import RoomFacts
from policies.screener import Screener
from policies.vocabulary import EntryKind, RoomId, UserId
from storage.audit import Audit
from storage.claims import Claims
from storage.cursors import Cursors
from storage.disputes import Disputes
from storage.evidence import EvidenceStore
from storage.orders import Orders
from storage.revocations import Revocations
from storage.room_log import RoomLog
from storage.rooms import Rooms
from storage.unread import Unread

CONTROL: Final = "control"
"""Bus channel of what concerns every process: ``{"left": [hub, ...]}``, ``{"clock": [offset_ms, ...]}``,
``{"rate": [messages_per_s]}``."""
TICK_S: Final = 0.25
RESTART_S: Final = 1.0
_ORDER_UPDATED: Final = str(EntryKind.ORDER_UPDATED)
_NOTICE: Final = str(EntryKind.NOTICE)
_MESSAGE: Final = str(EntryKind.MESSAGE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubParts:
    """What a hub is made of. ``hub_id`` is unique among all processes; ``salt`` gives 16 random bytes; tokens
    live by ``real``, the time that no sandbox moves."""

    hub_id: str
    settings: Settings
    clock: ShiftedClock
    real: Clock
    random: Random
    salt: Callable[[], bytes]
    metrics: Metrics
    tracing: Tracing
    redis: Client
    log: RoomLog
    rooms: Rooms
    cursors: Cursors
    revocations: Revocations
    desk: DisputeDesk
    disputes: Disputes
    claims: Claims
    audit: Audit
    unread: Unread
    evidence: EvidenceStore
    orders: Orders
    screener: Callable[[], Screener]
    moderation: ModerationOffice
    auth: Authenticator


class Hub:
    """See the module. Made once for a process, by ``chatserver.app``."""

    def __init__(self, parts: HubParts) -> None:
        settings = parts.settings
        prefix = settings.redis_prefix
        self.id = parts.hub_id
        self.settings = settings
        self.clock = parts.clock
        self.real = parts.real
        self.metrics = parts.metrics
        self.tracing = parts.tracing
        self.auth = parts.auth
        self.log = parts.log
        self.evidence = parts.evidence
        self.rooms = parts.rooms
        self.cursors = parts.cursors
        self.moderation = parts.moderation
        self.live: dict[RoomId, LiveRoom] = {}
        self.message_rates = UserRates(settings.messages_per_s, settings.message_burst)
        self.sessions = Sessions(settings.connections, settings.reconnect_spread_s, parts.random, parts.metrics)
        self._loop = asyncio.get_running_loop()
        self.turn = Turn(self._loop.call_soon)
        self._bus_alive = False
        self.tally = Tally()
        self._revocations = parts.revocations
        self._revoked_until = parts.real.now()
        self._registry = HubRegistry(parts.redis, prefix=prefix, hub_id=self.id, lease_s=settings.hub_lease_s)
        self.seats = Seats(parts.redis, prefix=prefix, hubs=self._registry, limit=settings.connections_per_user)
        self._presence = PresenceStore(parts.redis, prefix=prefix, hubs=self._registry)
        self.bus = Bus(
            parts.redis,
            prefix=prefix,
            hub_id=self.id,
            on_message=self._on_message,
            on_trouble=self._on_trouble,
            uniform=parts.random.uniform,
            observer=BusMetrics(parts.metrics),
            on_unheard=self._on_unheard,
        )
        self._mailbag = Mailbag(self.id, self.bus.publish, self._loop.call_soon)
        self.attendance = Attendance(self.id, self._mailbag, self._presence, parts.clock, self.spawn)
        self.notices = Notices(settings, self._mailbag, parts.cursors, parts.clock, self.live, self.spawn)
        self._recovery = Recovery(parts.log, settings.sweep_s, parts.random, self.live, self.deliver, parts.metrics)
        self.disputes = LiveDisputes(
            parts.desk,
            parts.disputes,
            parts.claims,
            parts.audit,
            parts.log,
            parts.clock,
            self.live,
            timedelta(seconds=settings.claim_lease_s),
            self.spawn,
        )
        self.changes = Changes(parts.log, self.live, self.spawn)
        self.staff_logs = StaffLogs(parts.log, self.open_room, self.close_room, self.start_feed)
        self.screening = MessageScreening(parts.screener, parts.log, parts.orders, parts.clock)
        self._unread = UnreadMarks(
            parts.unread, parts.clock, timedelta(seconds=settings.unread_after_s / 2), self.spawn
        )
        self._standings = Standings(parts.disputes, self.spawn)
        desk = Desk(
            log=parts.log,
            rooms=parts.rooms,
            clock=parts.clock,
            salt=parts.salt,
            message_chars=settings.message_chars,
            publish=self.publish,
            dispute=self.disputes.change,
            spawn=self.spawn,
            time=self._loop.time,
        )
        self._writers = Writers(desk, self._loop.time)
        self._relay = Relay(settings.forward_timeout_s, self._mailbag, self._writers.submit, parts.metrics)
        self._crew = Crew(
            self._registry,
            partial(self._mailbag.put, CONTROL, "rate"),
            settings.messages_per_writer_s,
            self._loop.time,
            parts.metrics,
        )
        self._partition_rooms = [0] * settings.fanout_partitions
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._chores: tuple[tuple[float, Callable[[], Coroutine[Any, Any, None]]], ...] = (
            (1.0, self._crew.share),
            (5.0, self._look_after_sessions),
            (max(TICK_S, settings.claim_lease_s / 4), self.disputes.renew_claims),
            (30.0, self._forget_unused),
        )

    # Start and stop

    async def start(self) -> None:
        """Connect to the other processes. Redis may be away: then each process serves its own until it is back."""
        await self.bus.start()
        self._bus_alive = self.bus.alive
        await self.bus.subscribe(hub_channel(self.id))
        await self.bus.subscribe(CONTROL)
        await self._registry.start(self._on_hubs_changed)
        await self._presence.start()
        await self.seats.start()
        self._background = [
            asyncio.create_task(self._keep(self._recovery.run), name="sweep of heads"),
            asyncio.create_task(self._keep(self._tick), name="hub tick"),
        ]

    async def drain(self, seconds: float) -> None:
        """Planned stop: take no new commands, let what is under way be acknowledged, send everybody away.

        Args:
            seconds: the longest it may take.
        """
        deadline = self._loop.time() + seconds
        # First of all the others take over this process's partitions, so that nothing more is passed to it.
        await self._registry.leave()
        self._crew.choose()
        self._mailbag.put(CONTROL, "left", self.id)
        await self.sessions.say_goodbye()
        while not self._quiet() and self._loop.time() < deadline - 1.0:  # noqa: ASYNC110  (polled in a stop only)
            await asyncio.sleep(0.02)
        await self.notices.flush()
        await self.sessions.close_all(max(0.1, deadline - self._loop.time()))

    async def stop(self) -> None:
        """Let go of everything. Call ``drain`` before."""
        await end(*self._background, *self._tasks)
        with contextlib.suppress(Unavailable):  # then the next message does it
            await self._unread.flush()
            await self._standings.flush()
        await self._presence.stop()
        await self.seats.stop()
        await self._registry.leave()
        await self.bus.stop()

    def _quiet(self) -> bool:
        return self.disputes.idle and not self._relay.pending and self._writers.idle

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the flow of frames; it is kept until it is done and cancelled at the stop."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task failed", exc_info=error)

    # Writing

    def submit(self, live: LiveRoom, submission: Submission) -> None:
        """Send a message on its way: to the room's writer on this process, or to the process that has it."""
        if self._bus_alive:
            writer = self._crew.writer_for(live.partition)
            if writer != self.id:
                self.tally.forwarded += 1
                self._relay.forward(writer, submission, self._loop.time())
                return
        self._writers.submit(submission)

    def publish(self, entries: Sequence[Entry]) -> list[Publication]:
        """Tell everybody of entries of one room that are in the log: other processes, and this one's members."""
        self.tally.appended += len(entries)
        self._unread.note(entries)
        self._standings.note(entries)
        room_id = entries[0].room
        run = [Publication.of(entry) for entry in entries]
        live = self.live.get(room_id)
        channel = partition_channel(self._partition(room_id)) if live is None else live.channel
        for publication in run:
            self._mailbag.put(channel, "entries", publication.fields())
        if live is not None:
            self.take(live, run)
        return run

    def announce(self, entries: Sequence[Entry]) -> None:
        """``publish`` for entries that did not come from this process's room writers, such as an order's changes."""
        for room_id, group in groupby(entries, key=lambda entry: entry.room):
            of_room = list(group)
            self._writers.learn_head(room_id, of_room[-1].seq)
            self.publish(of_room)

    # Delivering

    def take(self, live: LiveRoom, publications: Iterable[Publication]) -> None:
        """Entries of a room from any source: deliver what continues its stream, note what is missing."""
        self.deliver(live, live.feed.offer(publications))
        self.repair_if_needed(live)

    def deliver(self, live: LiveRoom, run: list[Publication]) -> None:
        """Give the members of a room what its feed handed out."""
        if run:
            others = [publication for publication in run if publication.kind != _MESSAGE]
            for publication in others:
                if publication.kind == _ORDER_UPDATED:
                    self._order_changed(live, publication)
                elif publication.kind == _NOTICE:
                    self._noticed(live, publication)
            self.tally.delivered += live.deliver(run)
            if live.delivered is not None:
                live.delivered(run)
            if others:
                self.changes.delivered(live, others)
            if live.senders is not None:
                live.senders.offer(run)

    def start_feed(self, live: LiveRoom, head: int) -> None:
        """The log was read up to ``head``: the room's stream goes on, or begins, there."""
        self.deliver(live, live.feed.start(head))
        self.repair_if_needed(live)

    def _order_changed(self, live: LiveRoom, publication: Publication) -> None:
        """The log itself says when an order has other parties: so every process that serves the room hears of it."""
        parties = publication.body().get("parties")
        if parties is not None:
            for membership in live.change_parties(UserId(parties["buyer"]), UserId(parties["seller"])):
                membership.member.close(CloseCode.ACCESS_REVOKED, "no longer a party of this order")
        live.order = None  # it is read again with the next message

    @staticmethod
    def _noticed(live: LiveRoom, publication: Publication) -> None:
        """So it does of slow mode."""
        body = publication.body()
        if body.get("notice") == slow_mode.NOTICE:
            live.slowed = body["every_s"]

    # Rooms

    def _partition(self, room_id: RoomId) -> int:
        return partition_of(room_id, self.settings.fanout_partitions)

    async def open_room(self, facts: RoomFacts) -> LiveRoom:
        """The live room of these facts. When it returns, what is published from now on arrives, unless Redis is away:
        then the sweep finds it. Every call must be matched by ``close_room``."""
        live = self.live.get(facts.id)
        if live is None:
            partition = self._partition(facts.id)
            live = self.live[facts.id] = LiveRoom(facts, partition)
            self._partition_rooms[partition] += 1
            self.metrics.rooms.set(len(self.live))
        live.openers += 1
        try:
            await self.bus.subscribe(live.channel)
        except BaseException:
            self.close_room(live)
            raise
        return live

    def close_room(self, live: LiveRoom) -> None:
        """One who opened the room is done with it; the last one takes it out of service."""
        live.openers -= 1
        if live.openers == 0:
            del self.live[live.id]
            self.notices.closed(live.id)
            self._partition_rooms[live.partition] -= 1
            self.metrics.rooms.set(len(self.live))

    def leave(self, live: LiveRoom, member: Member) -> None:
        """A member has left, or its connection is gone."""
        live.members.pop(member, None)
        if not any(True for _ in live.of_user(member.user_id)):
            self.notices.left(live, member.user_id)
        self.attendance.changed(live, member.user_id)
        self.staff_logs.release(live)
        self.close_room(live)

    def repair_if_needed(self, live: LiveRoom) -> None:
        """Fetch what a read has shown to exist and the bus has not brought."""
        if live.feed.missing is not None:
            self._recovery.repair_soon(live)

    # What the bus brings

    def _on_message(self, channel: str, payload: bytes) -> None:
        if self._mailbag.is_own(payload):
            return
        message = orjson.loads(payload)
        if channel == CONTROL:
            self._on_control(message)
        elif channel == hub_channel(self.id):
            now = self._loop.time()
            for author in submitted_by(message):
                self.message_rates.taken_elsewhere(author, now)
            self._relay.on_message(message, now)
        else:
            self._on_partition(message)

    def _on_partition(self, message: dict[str, Any]) -> None:
        now = self._loop.time()
        for fields in message.get("entries", ()):
            publication = Publication.from_fields(fields)
            room = publication.room
            own = self._relay.pending > 0 and self._relay.on_published(publication)
            if not own and publication.kind == _MESSAGE:
                self.message_rates.taken_elsewhere(UserId(publication.author_id), now)
            self._writers.learn_head(room, publication.seq)
            if (live := self.live.get(room)) is not None:
                self.take(live, (publication,))
        for item in message.get("presence", ()):
            if (live := self.live.get(item[0])) is not None:
                self.attendance.on_item(live, message["from"], item)
        for item in message.get("present", ()):
            if (live := self.live.get(item[0])) is not None:
                self.attendance.on_announced(live, message["from"], item)
        for item in message.get("typing", ()):
            if (live := self.live.get(item[0])) is not None:
                self.notices.on_typing(live, item)
        for item in message.get("receipts", ()):
            if (live := self.live.get(item[0])) is not None:
                self.notices.on_receipt(live, item)

    def _on_trouble(self, reason: str) -> None:
        """Notifications may have been lost, and so may forwarded commands and what Redis kept of presence."""
        logger.warning("bus trouble", extra={"reason": reason})
        self._bus_alive = self.bus.alive
        self._relay.abandon()
        self._recovery.sweep_now()
        if self.bus.alive:
            self.attendance.announce(self.live.values())
            self.spawn(self.attendance.learn_all(self.live.values()))

    def _on_unheard(self, channel: str) -> None:
        hub = hub_of(channel)
        if hub is not None:
            self._relay.unheard(hub, self._loop.time())

    def _on_hubs_changed(self, change: HubChange) -> None:
        self._crew.choose()
        for hub_id in change.gone:
            self.attendance.drop_hub(self.live.values(), hub_id)
        if change.lapsed:
            self.attendance.announce(self.live.values())
            self.spawn(self._seat_again())

    async def _seat_again(self) -> None:
        """Others took this process for dead, or Redis lost everything: its users' connections count all the same."""
        await self.seats.renew()

    def _on_control(self, message: dict[str, Any]) -> None:
        if "left" in message:
            self.spawn(self._learn_hubs())
        for rate in message.get("rate", ()):
            self._crew.heard(message["from"], rate)
        for offset_ms in message.get("clock", ()):
            self.clock.offset = max(self.clock.offset, timedelta(milliseconds=offset_ms))
            self.spawn(self.disputes.renew_claims())

    async def _learn_hubs(self) -> None:
        await self._registry.announce()

    def tell_clock(self, offset: timedelta) -> None:
        """The sandbox's clock was moved: tell the other processes. To the agents who are here, no time has passed."""
        self.spawn(self.disputes.renew_claims())
        self._mailbag.put(CONTROL, "clock", offset // timedelta(milliseconds=1))

    # What time brings

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run what has to go on as long as the process does."""
        while True:
            try:
                await work()
            except Exception:  # one fault must not end the repairs of all rooms for good; it is logged, and they go on
                logger.exception("a part of the hub failed and is started again")
                await asyncio.sleep(RESTART_S)

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            now = self._loop.time()
            self._relay.expire(now)
            self._bus_alive = self.bus.alive
            self.tally.flush(self.metrics)
            for every, work in self._chores:
                if ticks % round(every / TICK_S) == 0:
                    self.spawn(work())

    async def _look_after_sessions(self) -> None:
        """Who went away from the keyboard, and who was revoked: what keeps them out is stored, what they have open is
        closed here."""
        self.sessions.check_away(self._loop.time())
        try:
            revoked = await self._revocations.since(self._revoked_until)
        except ChatError:
            return  # MongoDB is away; the same question is asked again
        for revocation in revoked:
            self._revoked_until = max(self._revoked_until, revocation.at)
            self.auth.forget_revocation(revocation.user)
            self.sessions.revoke(revocation.user, revocation.at)

    async def _forget_unused(self) -> None:
        self._writers.forget_unused()
        for partition, rooms in enumerate(self._partition_rooms):
            if rooms == 0:
                self.bus.unsubscribe(partition_channel(partition))
