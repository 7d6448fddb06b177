"""Where disputes change: load the state, decide, write the entries with all that follows from them, tell the rooms.

Two who act at the same moment both decide on the state that they have read; the log takes the entries of one of them,
and the other one decides again on what that left. So every race has one winner, on any number of processes.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

import structlog

from chatserver.clock import Clock
from chatserver.disputes.ledger import Ledger, StillHeld
from chatserver.reminders import in_view_of
from chatserver.rulings import ruling_of
from policies.dispute.commands import Command, LapseClaim, ReportEvent, RuleOnMessage, Tick
from policies.dispute.decide import decide
from policies.dispute.opening import OpenDispute, open_dispute
from policies.dispute.policy import Policy
from policies.dispute.retries import same_command
from policies.dispute.state import Dispute
from policies.entry import Author, Entry
from policies.errors import ChatError, Conflict, NotFound, Unavailable
from policies.instant import instant
from policies.order import CHARGEBACKS, OrderEvent
from policies.room import SYSTEM, dispute_room
from policies.screening import Screening
from policies.verdicts import SHOWN, target_of
from policies.vocabulary import CommandId, DisputeId, OrderId, Reason, Resolution, SettlementStatus
from storage.chain import KEY_SEPARATOR, genesis, link
from storage.disputes import Current
from storage.errors import AppendLost, CommandTaken
from storage.orders import Order

ATTEMPTS: Final = 50
"""How often a command may lose against others of the same dispute before it is told to come back."""
LAG_MAX: Final = 200
"""A snapshot that so many messages have followed is brought up to date, so that not everybody has to read them all."""
DISPUTE_ID_CHARS: Final = 20

T = TypeVar("T")

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opening:
    """What a buyer asks for. ``key``: the same one again, of the same buyer and order, is the same dispute.
    ``screening`` is what was found in the description."""

    order: OrderId
    buyer: Author
    reason: Reason
    description: str
    desired_resolution: Resolution
    amount: int | None = None
    key: str | None = None
    screening: Screening | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The dispute. ``entries`` are its first ones; none when it is a ``duplicate``: it was open already. ``first`` is
    the one that opened it, now or before."""

    dispute: Dispute
    entries: tuple[Entry, ...]
    duplicate: bool
    first: Entry


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did.

    ``entries`` are what it wrote; none when there was nothing to do, or when it is a ``duplicate``: it was carried out
    before. ``state`` is the dispute now; ``first`` the command's own entry, now or before, if it has one.
    """

    entries: tuple[Entry, ...]
    state: Dispute
    duplicate: bool
    first: Entry | None


class DeskObserver(Protocol):
    """Is told what the desk does, for metrics."""

    def ran(self, command: str, result: str) -> None:
        """A command (the name of its class) ended: ``done``, ``nothing``, ``duplicate``, or the code of an error."""

    def overtaken(self) -> None:
        """A command lost against another one, and is decided again."""


class _Unobserved:
    def ran(self, command: str, result: str) -> None: ...

    def overtaken(self) -> None: ...


class Desk:
    """Carries out what people, the marketplace and the clock ask of disputes.

    What was begun is finished even when the caller is cancelled.

    Args:
        ledger: writes.
        clock: the time.
        salt: gives 16 fresh random bytes at each call.
        new_id: gives a fresh dispute id at each call: 20 characters of lower-case hex.
        policy: gives the policy in force, for opening.
        announce: told the entries that have become durable; tells the members of their room.
        observer: is told of commands, for metrics.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        salt: Callable[[], bytes],
        new_id: Callable[[], DisputeId],
        policy: Callable[[], Policy],
        announce: Callable[[Sequence[Entry]], Awaitable[None]],
        observer: DeskObserver | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._salt = salt
        self._new_id = new_id
        self._policy = policy
        self._announce = announce
        self._observer: DeskObserver = observer or _Unobserved()
        self._begun: set[asyncio.Task[Any]] = set()

    async def open(self, opening: Opening) -> Opened:
        """Open a dispute.

        Raises:
            NotFound: there is no such order.
            Conflict: the order has an active dispute, ``details["dispute"]``; or the key was used for something else.
            Forbidden, Refused, BadRequest, TooLarge: as ``policies.dispute.opening.open_dispute``.
            Unavailable: the outcome is unknown, or too many are at it; the same may be asked for again.
        """
        return await self._finish("OpenDispute", self._open(opening))

    async def run(self, dispute: DisputeId, command: Command, screening: Screening | None = None) -> Ran:
        """Carry out a command. ``screening`` is what was found in its texts.

        Raises:
            NotFound: there is no such dispute.
            Conflict: the author used this command id for something else; or what ``decide`` says.
            Unavailable: the outcome is unknown, or too many are at it; the same command may be sent again.
            ChatError: what ``policies.dispute.decide.decide`` says.
        """
        return await self._finish(type(command).__name__, self._run(dispute, command, screening))

    async def state(self, dispute: DisputeId) -> Dispute:
        """The state as of the last entry.

        Raises:
            NotFound: there is no such dispute.
        """
        return (await self._load(dispute)).dispute

    async def report_event(self, order: OrderId, event: OrderEvent) -> None:
        """Tell an order's disputes of an event that was recorded, and that they have heard of it.

        Those are the active one, or else the latest; the one whose request the event answers, by its key; and of a
        chargeback all in which money may still move.

        Raises:
            Unavailable: not all of them have; the event stays pending.
        """
        await self._keep(self._report(order, event))

    async def close(self) -> None:
        """Wait for what was begun."""
        while self._begun:
            await asyncio.wait(self._begun)

    # Opening

    async def _open(self, opening: Opening) -> Opened:
        dispute = self._new_id() if opening.key is None else keyed_id(opening.order, opening.buyer, opening.key)
        command_id = CommandId(f"open:{dispute}")
        command = OpenDispute(
            opening.buyer,
            command_id,
            dispute,
            opening.reason,
            opening.description,
            opening.desired_resolution,
            opening.amount,
        )
        for _ in range(ATTEMPTS):
            order = await self._ledger.orders.get(opening.order)
            if order is None:
                raise NotFound("There is no such order.")
            if opening.key is not None and (known := await self._opened_before(command)) is not None:
                return known
            if order.active_dispute is not None:
                details = {"dispute": order.active_dispute}
                raise Conflict("This order has an active dispute already.", details=details)
            await self._report_pending(order)
            try:
                opened, entries = await self._write_opening(order, command, opening.screening)
            except AppendLost:
                self._observer.overtaken()
                continue
            await self._tell(entries)
            return Opened(opened, entries, duplicate=False, first=entries[0])
        raise _busy()

    async def _report_pending(self, order: Order) -> None:
        """Let earlier disputes hear of what the order knows, so that a new one does not see it as still to come.

        Whatever is reported after the order was read makes another version of it, of which nothing can be opened yet.
        """
        if order.latest_dispute is not None:
            for event in await self._ledger.orders.pending_events_of(order.facts.id):
                await self._report(order.facts.id, event)

    async def _opened_before(self, command: OpenDispute) -> Opened | None:
        current = await self._ledger.disputes.current(command.dispute)
        if current is None:
            return None
        first = await self._ledger.log.find(current.dispute.room, command.author.id, command.command_id)
        if first is None or not same_command(command, first):
            details = {"dispute": command.dispute}
            raise Conflict("This key was used to open a dispute that says something else.", details=details)
        return Opened(current.dispute, (), duplicate=True, first=first)

    async def _write_opening(
        self, order: Order, command: OpenDispute, screening: Screening | None
    ) -> tuple[Dispute, tuple[Entry, ...]]:
        now = instant(self._clock.now())
        talked = await self._ledger.log.has_message_of(order.room, command.author.id)
        earlier = None if order.latest_dispute is None else await self.state(order.latest_dispute)
        drafts = open_dispute(
            order.facts,
            order.state,
            command,
            self._policy(),
            now,
            talked=talked,
            earlier=earlier,
            version=order.version,
            screening=screening,
        )
        room = dispute_room(command.dispute)
        entries = link(room, genesis(room), drafts, now, self._salt)
        return await self._ledger.open(order, entries), tuple(entries)

    # Commands

    async def _run(self, dispute: DisputeId, command: Command, screening: Screening | None = None) -> Ran:
        for _ in range(ATTEMPTS):
            current = await self._load(dispute)
            try:
                return await self._attempt(current, command, screening)
            except CommandTaken as taken:
                if (taken.author, taken.command_id) == (command.author.id, command.command_id):
                    return await self._answer_taken(current, command)
                self._observer.overtaken()  # somebody else wrote what follows from the same cause
            except AppendLost:
                self._observer.overtaken()
        raise _busy()

    async def _attempt(self, current: Current, command: Command, screening: Screening | None) -> Ran:
        now = max(instant(self._clock.now()), current.head.at)  # the time that the entries will have
        screening = await in_view_of(self._ledger.log, current.dispute.room, command.author.id, now, screening)
        read: Entry | None = None
        if isinstance(command, RuleOnMessage):
            read = await self._ledger.log.read(current.dispute.room, command.seq)
            command = replace(command, target=None if read is None else target_of(read))
        try:
            drafts = decide(current.dispute, command, now, screening)
        except ChatError:
            # What is refused now may have been done before: then the first answer is the answer.
            first = await self._written_before(current, command)
            if first is None or not same_command(command, first):
                raise
            return Ran((), current.dispute, duplicate=True, first=first)
        if not drafts:
            # Nothing to do, perhaps because this very command has done it.
            first = await self._written_before(current, command)
            if first is not None and same_command(command, first):
                return Ran((), current.dispute, duplicate=True, first=first)
            await self._ledger.disputes.put_later(current.dispute, current.saved)
            return Ran((), current.dispute, duplicate=False, first=None)
        entries = tuple(link(current.dispute.room, current.head, drafts, now, self._salt))
        try:
            state = await self._ledger.write(
                current,
                entries,
                lapsed_at=now if isinstance(command, LapseClaim) else None,
                ruled=None if read is None else (read, ruling_of(next(each for each in entries if each.kind in SHOWN))),
            )
        except StillHeld:
            return Ran((), current.dispute, duplicate=False, first=None)
        await self._tell(entries)
        return Ran(
            entries, state, duplicate=False, first=next((each for each in entries if _is_of(each, command)), None)
        )

    async def _answer_taken(self, current: Current, command: Command) -> Ran:
        first = await self._written_before(current, command)
        if first is None:
            raise Unavailable("The first answer cannot be read yet.", retry_after_ms=200)
        if not same_command(command, first):
            raise Conflict("This command id was used for something else.", details={"seq": first.seq})
        return Ran((), await self.state(current.dispute.id), duplicate=True, first=first)

    async def _written_before(self, current: Current, command: Command) -> Entry | None:
        if isinstance(command, Tick):  # has no entry of its own
            return None
        return await self._ledger.log.find(current.dispute.room, command.author.id, command.command_id)

    async def _load(self, dispute: DisputeId) -> Current:
        current = await self._ledger.disputes.current(dispute)
        if current is None:
            raise NotFound("There is no such dispute.")
        if current.head.seq - current.saved >= LAG_MAX:
            await self._ledger.disputes.put_later(current.dispute, current.saved)
        return current

    # Events of orders

    async def _report(self, order: OrderId, event: OrderEvent) -> None:
        command = ReportEvent(SYSTEM, CommandId(f"event:{event.id}"), event)
        for dispute in await self._concerned(order, event):
            try:
                await self._observed("ReportEvent", self._run(dispute, command))
            except ChatError as error:
                if error.temporary:
                    raise
                # The event is on record in the order room; a dispute that cannot take it must not block the others.
                logger.warning("event_refused", dispute=dispute, order=order, event_id=event.id, reason=error.message)
        await self._ledger.orders.event_done(order, event.id)

    async def _concerned(self, order: OrderId, event: OrderEvent) -> list[DisputeId]:
        known = await self._ledger.orders.get(order)
        if known is None or known.latest_dispute is None:
            return []
        main = known.active_dispute or known.latest_dispute
        key = event.data.get("key")
        asked_by = key.partition(":")[0] if isinstance(key, str) else None
        since = await self._ledger.orders.version_with(order, event.id)
        return [
            each.id
            for each in await self._ledger.disputes.of_order(order)
            if (each.id in (main, asked_by) or (event.type in CHARGEBACKS and _money_may_move(each)))
            # What the order knew when a dispute was opened is part of it, however late it is reported.
            and (since is None or since > each.order.version)
        ]

    # Finishing

    async def _tell(self, entries: Sequence[Entry]) -> None:
        """Announce what is durable by now. Who cannot be told finds it in the log, which every hub compares with."""
        with contextlib.suppress(Unavailable):
            await self._announce(entries)

    async def _finish(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        return await self._keep(self._observed(name, work))

    async def _keep(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end, whether the caller is cancelled or not."""
        task = asyncio.ensure_future(work)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # seen here, for the case that nobody waits

    async def _observed(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            result = await work
        except ChatError as error:
            self._observer.ran(name, error.code.value)
            raise
        if isinstance(result, Opened | Ran) and result.duplicate:
            outcome = "duplicate"
        else:
            outcome = "nothing" if isinstance(result, Ran) and not result.entries else "done"
        self._observer.ran(name, outcome)
        return result


def keyed_id(order: OrderId, buyer: Author, key: str) -> DisputeId:
    """The id of the dispute that a buyer opens about an order under an Idempotency-Key."""
    named = f"{order}{KEY_SEPARATOR}{buyer.id}{KEY_SEPARATOR}{key}"
    return DisputeId(hashlib.sha256(named.encode()).hexdigest()[:DISPUTE_ID_CHARS])


def _is_of(entry: Entry, command: Command) -> bool:
    return (entry.author.id, entry.command_id) == (command.author.id, command.command_id)


def _money_may_move(dispute: Dispute) -> bool:
    unsettled = any(each.status is not SettlementStatus.DONE for each in dispute.settlements)
    return not dispute.closed or unsettled


def _busy() -> Unavailable:
    return Unavailable("Too many are acting on this dispute at once.", retry_after_ms=1000)
