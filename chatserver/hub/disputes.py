"""The disputes of a process's live rooms: read when a room is opened, kept up with its stream, told to its members."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import orjson

from chatserver.clock import Clock
from chatserver.disputes.desk import Desk
from chatserver.disputes.view import actions_view, dispute_view
from chatserver.hub.live_dispute import LiveDispute, visibly_changed
from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.publication import Publication
from chatserver.hub.socket import text_frame
from chatserver.hub.writer import Written, written
from policies.dispute.commands import Command
from policies.dispute.evolve import evolve
from policies.dispute.rewording import repeats, reworded
from policies.dispute.state import Dispute
from policies.entry import Entry
from policies.errors import ChatError, NotFound
from policies.room import RoomFacts, dispute_of
from policies.screening import Screening
from policies.verdicts import SHOWN
from policies.vocabulary import STAFF, DisputeId, Role, RoomId, RoomKind, Seq, UserId
from storage.audit import Audit, AuditRecord
from storage.claims import Claims
from storage.disputes import Disputes
from storage.room_log import RoomLog

RELOAD_PAUSE_S: Final = 1.0

logger = logging.getLogger(__name__)


class LiveDisputes:
    """See the module.

    Args:
        live: the rooms in service, owned by the hub.
        lease: how long an agent keeps a case after the connection to its room is gone.
        spawn: runs a coroutine beside the flow of frames.
    """

    def __init__(
        self,
        desk: Desk,
        disputes: Disputes,
        claims: Claims,
        audit: Audit,
        log: RoomLog,
        clock: Clock,
        live: Mapping[RoomId, LiveRoom],
        lease: timedelta,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._desk = desk
        self._disputes = disputes
        self._claims = claims
        self._audit = audit
        self._log = log
        self._clock = clock
        self._live = live
        self._lease = lease
        self._spawn = spawn
        self._under_way = 0

    # Changing

    @property
    def idle(self) -> bool:
        """No command is under way."""
        return not self._under_way

    async def change(self, facts: RoomFacts, command: Command, screening: Screening | None = None) -> Written | None:
        """Carry out a command; its entries are delivered when this returns.

        Args:
            facts: of the dispute's room.
            screening: what was found in the command's texts.

        Returns:
            The command's own entry; None when there was nothing to do.

        Raises:
            ChatError: as ``chatserver.disputes.desk.Desk.run``.
        """
        dispute = dispute_of(facts)
        if dispute is None:
            raise NotFound("There is no such dispute.")
        self._under_way += 1
        try:
            ran = await self._desk.run(dispute, command, screening)
        finally:
            self._under_way -= 1
        return None if ran.first is None else written(ran.first, duplicate=ran.duplicate)

    # Joining

    async def record_read(self, facts: RoomFacts, reader: UserId, role: Role, action: str, **details: Any) -> None:
        """Put what a member of staff is about to be told of a room on record.

        Raises:
            Unavailable: it cannot be put on record, so it must not be told either.
        """
        if role in STAFF:
            told = {name: value for name, value in details.items() if value is not None}
            record = AuditRecord(self._clock.now(), reader, role, action, dispute_of(facts), facts.id, told)
            await self._audit.record(record)

    async def known(self, live: LiveRoom) -> Dispute | None:
        """The dispute of a room, as of some entry that is in the log; None where the room is none of a dispute."""
        if live.facts.kind is not RoomKind.DISPUTE:
            return None
        if live.dispute is not None and not live.dispute.behind:
            return live.dispute.state
        return await self._read(live)

    async def at(self, known: Dispute, page: Sequence[Entry], head: Seq) -> Dispute:
        """How a dispute was at ``head``.

        Args:
            known: as of an entry that is not after the head.
            page: entries that were read, in order; perhaps all that is missing is among them.
        """
        state = known
        while state.seq < head:
            if not page or not page[0].seq <= state.seq + 1 <= page[-1].seq:
                page = await self._log.read_after(state.room, state.seq, 500)
            for entry in page:
                if state.seq < entry.seq <= head:
                    state = await self._with_words(evolve(state, entry), entry)
        return state

    async def _with_words(self, state: Dispute, entry: Entry) -> Dispute:
        """A state after an entry; where that is a ruling, with the words that it is about as they are shown now."""
        if entry.kind not in SHOWN or not repeats(state, entry.body["seq"]):
            return state
        about = await self._log.read(state.room, entry.body["seq"])
        return state if about is None or about.erased else reworded(state, about)

    def joined(self, live: LiveRoom, membership: Membership, told: Dispute, held: list[Publication]) -> None:
        """A member has gone live. Nothing must be awaited between that and this.

        Args:
            told: the dispute as the member was told, at the head of its read.
            held: what the stream brought meanwhile, after that head.
        """
        dispute = live.dispute
        if dispute is None:
            dispute = live.dispute = LiveDispute(told)
            dispute.take(held)
            live.delivered = partial(self._go_along, live, dispute)
            if dispute.behind:
                self._spawn(self._reload(live, dispute))
        if dispute.state.seq > told.seq and visibly_changed(told, dispute.state, quiet=False):
            tell_one(live, membership, dispute.state, self._clock.now())

    # Living

    def _go_along(self, live: LiveRoom, dispute: LiveDispute, run: list[Publication]) -> None:
        """The members were given entries."""
        if dispute.behind:
            return  # it is being read
        try:
            changed = dispute.take(run)
        except Exception:  # whatever an entry holds, it must not keep the members of a room from the next one
            logger.exception("a dispute could not follow its room", extra={"room": live.id})
            changed, dispute.behind = False, True
        if changed:
            tell_dispute(live, dispute.state, self._clock.now())
        if dispute.behind:
            self._spawn(self._reload(live, dispute))

    async def _reload(self, live: LiveRoom, dispute: LiveDispute) -> None:
        """Read the state anew, until it has caught up with the stream."""
        while dispute.behind and self._live.get(live.id) is live:
            try:
                state = await self._read(live)
            except ChatError as error:
                logger.warning("a dispute could not be read", extra={"room": live.id, "code": error.code.value})
                await asyncio.sleep(RELOAD_PAUSE_S)
                continue
            if state.seq < live.feed.position:
                continue  # entries came while it was read
            if dispute.take_anew(state):
                tell_dispute(live, state, self._clock.now())

    async def _read(self, live: LiveRoom) -> Dispute:
        dispute = dispute_of(live.facts)
        current = None if dispute is None else await self._disputes.current(dispute)
        if current is None:
            raise NotFound("There is no such dispute.")
        return current.dispute

    # Agents

    async def renew_claims(self) -> None:
        """Prolong the leases of agents who are in the rooms of the cases that they have claimed."""
        held: dict[UserId, list[DisputeId]] = {}
        for live in self._live.values():
            dispute = live.dispute
            if dispute is None or (agent := dispute.state.agent) is None:
                continue
            if any(True for _ in live.of_user(agent.id)):
                held.setdefault(agent.id, []).append(dispute.state.id)
        until = self._clock.now() + self._lease
        for agent_id, disputes in held.items():
            try:
                await self._claims.renew(agent_id, disputes, until)
            except ChatError as error:
                logger.warning("claims could not be renewed", extra={"code": error.code.value})
                return  # MongoDB is away; the next round comes well before they lapse


def shown(state: Dispute, role: Role, user: UserId, now: datetime) -> dict[str, Any]:
    """The fields ``dispute`` and ``available_actions`` of a frame for one reader."""
    return {"dispute": dispute_view(state, role), "available_actions": actions_view(state, role, user, now)}


def tell_dispute(live: LiveRoom, state: Dispute, now: datetime) -> None:
    """Tell every member how the dispute is now.

    Who has a later entry already was told with it, or is told when the stream gets there.
    """
    frames: dict[Role | UserId, bytes] = {}
    views: dict[bool, orjson.Fragment] = {}
    for membership in tuple(live.members.values()):
        position = membership.position
        if position.joining or position.seq > state.seq:
            continue
        role, user = membership.role, membership.user_id
        whole = role in STAFF
        # Both parties see the same of a dispute and may do different things; staff may do what their claims allow.
        audience: Role | UserId = user if whole else role
        frame = frames.get(audience)
        if frame is None:
            if whole not in views:
                views[whole] = orjson.Fragment(orjson.dumps(dispute_view(state, role)))
            told = {
                "type": "dispute",
                "room": live.id,
                "dispute": views[whole],
                "available_actions": actions_view(state, role, user, now),
            }
            frame = frames[audience] = text_frame(orjson.dumps(told))
        membership.send(frame)


def tell_one(live: LiveRoom, membership: Membership, state: Dispute, now: datetime) -> None:
    """Tell one member how the dispute is now."""
    told = shown(state, membership.role, membership.user_id, now)
    membership.send(text_frame(orjson.dumps({"type": "dispute", "room": live.id, **told})))
