"""One transaction for everything that a dispute's entries mean elsewhere: snapshot, rooms, order, claim and outbox."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from policies.dispute.effects import told
from policies.dispute.evolve import evolve
from policies.dispute.rewording import reworded
from policies.dispute.state import Dispute
from policies.dispute.talking import room_facts
from policies.entry import Entry
from policies.errors import Conflict
from policies.room import RoomFacts, staff_room
from policies.vocabulary import RoomKind
from storage.claims import Claim, Claims
from storage.client import Session
from storage.disputes import Change, Current, Disputes
from storage.errors import AppendLost
from storage.orders import Order, Orders
from storage.outbox import Outbox, OutboxEvent
from storage.room_log import RoomLog, Ruling
from storage.rooms import Rooms


class Overtaken(AppendLost):
    """What the decision was made on has changed meanwhile: load again, decide again."""


class StillHeld(Exception):
    """The agent's claim has not run out."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Writes entries together with all that follows from them.

    ``claim_lease`` is how long an agent who has taken a case has it, until that is renewed.
    """

    log: RoomLog
    rooms: Rooms
    orders: Orders
    disputes: Disputes
    outbox: Outbox
    claims: Claims
    claim_lease: timedelta

    async def open(self, order: Order, entries: Sequence[Entry]) -> Dispute:
        """Write the first entries of a new dispute, with its rooms.

        Raises:
            AppendLost: the dispute exists, or the order is not as it was known.
            Unavailable: the outcome is unknown.
        """
        opened, events = _follow(None, entries, 0)

        async def work(session: Session) -> None:
            if not await self.orders.take_dispute(order, opened.id, session):
                raise Overtaken
            await self.disputes.create(opened, len(events), session)
            for room in _rooms(opened):
                await self.rooms.create(room, session)
            await self.outbox.put(events, session)

        await self.log.append_with(entries, work)
        return opened

    async def write(
        self,
        current: Current,
        entries: Sequence[Entry],
        *,
        lapsed_at: datetime | None = None,
        ruled: tuple[Entry, Ruling] | None = None,
    ) -> Dispute:
        """Write entries that change a dispute.

        Args:
            current: what they were decided on.
            entries: linked to its head.
            lapsed_at: they say that the agent's claim has run out by then, which must be so.
            ruled: an earlier entry as it was read, and what they say of it.

        Raises:
            AppendLost: somebody else wrote first.
            StillHeld: the claim has not run out, or is another agent's by now.
            Conflict: the order cannot take back a reopened dispute; ``details["dispute"]`` is the newer one, if that is
                why.
            Unavailable: the outcome is unknown.
        """
        before = current.dispute
        after, events = _follow(before, entries, current.told)
        if ruled is not None:
            after = reworded(after, replace(ruled[0], shown=ruled[1].shown))

        async def work(session: Session) -> None:
            if not await self.disputes.advance(Change(after, current.told, current.told + len(events)), session):
                raise Overtaken
            if ruled is not None and not await self.log.rule(*ruled, session):
                raise Overtaken
            await self._tell_others(before, after, lapsed_at, session)
            await self.outbox.put(events, session)

        try:
            await self.log.append_with(entries, work)
        except _Taken as error:
            order = await self.orders.get(after.order.id)
            newer = None if order is None else order.active_dispute or order.latest_dispute
            details = {} if newer in (None, after.id) else {"dispute": newer}
            raise Conflict("The order cannot be in this dispute again.", details=details) from error
        return after

    async def write_each(self, writes: Sequence[tuple[Current, Sequence[Entry]]]) -> None:
        """``write`` for what the clock does in several disputes: in one transaction, all or none.

        Raises:
            AppendLost: in one of them somebody else wrote first; try them one by one.
            Unavailable: the outcome is unknown.
        """
        followed = [(current, *_follow(current.dispute, entries, current.told)) for current, entries in writes]

        async def work(session: Session) -> None:
            changes = [Change(after, each.told, each.told + len(events)) for each, after, events in followed]
            if not await self.disputes.advance_each(changes, session):
                raise Overtaken
            for current, after, _ in followed:
                await self._tell_others(current.dispute, after, None, session)
            await self.outbox.put([event for _, _, events in followed for event in events], session)

        await self.log.append_each_with([entries for _, entries in writes], work)

    async def _tell_others(self, before: Dispute, after: Dispute, lapsed_at: datetime | None, session: Session) -> None:
        """What a change of a dispute means for its room, its order and its agent's claim."""
        facts = room_facts(after)
        if facts != room_facts(before):
            await self.rooms.set_state(facts, session)
        if before.active != after.active:
            await self._tell_order(after, session)
        if before.agent != after.agent:
            await self._tell_claims(before, after, lapsed_at, session)

    async def _tell_order(self, after: Dispute, session: Session) -> None:
        order = after.order.id
        if not after.active:
            await self.orders.leave_dispute(order, after.id, session)
        elif not await self.orders.retake_dispute(order, after.id, after.buyer.id, after.seller.id, session):
            raise _Taken

    async def _tell_claims(self, before: Dispute, after: Dispute, lapsed_at: datetime | None, session: Session) -> None:
        if after.agent is not None:
            until = after.agent.since + self.claim_lease
            await self.claims.hold(Claim(after.id, after.agent.id, until), session)
        elif lapsed_at is None or before.agent is None:
            await self.claims.release(after.id, session)
        elif not await self.claims.end_expired(after.id, before.agent.id, lapsed_at, session):
            raise StillHeld


class _Taken(Exception):
    """The order has another active dispute, or other parties."""


def _follow(before: Dispute | None, entries: Sequence[Entry], known: int) -> tuple[Dispute, list[OutboxEvent]]:
    """The state after entries, and what is to be told of them, numbered on from what is known."""
    state, events, numbers = before, [], count(known + 1)
    for entry in entries:
        after = evolve(state, entry)
        events += [
            OutboxEvent(after.id, next(numbers), event.type, event.data, entry.at)
            for event in told(state, entry, after)
        ]
        state = after
    if state is None:
        raise ValueError("a dispute begins with an entry")
    return state, events


def _rooms(dispute: Dispute) -> tuple[RoomFacts, RoomFacts]:
    order, buyer, seller, at = dispute.order.id, dispute.buyer, dispute.seller, dispute.opened_at
    return room_facts(dispute), RoomFacts(staff_room(dispute.id), RoomKind.STAFF, order, buyer, seller, at)
