"""A dispute played step by step, without a database: what is decided is written, evolved and checked at once."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from policies.dispute import commands as ask
from policies.dispute.actions import Action, available_actions
from policies.dispute.commands import Command
from policies.dispute.decide import decide
from policies.dispute.effects import WebhookEvent, told
from policies.dispute.evolve import evolve, replay
from policies.dispute.fact import Foreseen, foresee
from policies.dispute.opening import OpenDispute, open_dispute
from policies.dispute.policy import Opening, Policy, Terms
from policies.dispute.state import Dispute
from policies.entry import Author, Draft
from policies.errors import ChatError
from policies.order import OrderEvent, OrderFacts, OrderState, Seller
from policies.plain import require_plain
from policies.room import SYSTEM, Party
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    EvidenceKind,
    OrderCategory,
    OrderEventType,
    OrderId,
    Outcome,
    Reason,
    Resolution,
    Role,
    Seq,
    Status,
    TrustLevel,
    UserId,
    WebhookType,
)

PLACED: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
OPENED: Final = PLACED + timedelta(hours=1)
BUYER: Final = Author(UserId("b"), Role.BUYER, "Bo")
SELLER: Final = Author(UserId("s"), Role.SELLER, "Sue")
AGENT: Final = Author(UserId("a"), Role.AGENT, "Ada")
SECOND: Final = Author(UserId("a2"), Role.AGENT, "Al")
SENIOR: Final = Author(UserId("senior"), Role.SENIOR_AGENT, "Sam")
AUDITOR: Final = Author(UserId("auditor"), Role.AUDITOR, "Audrey")
PAID: Final = 10_000
FACTS: Final = OrderFacts(
    id=OrderId("1"),
    buyer=Party(BUYER.id, "Bo"),
    seller=Seller(SELLER.id, "Sue", TrustLevel.VERIFIED),
    title="A lamp",
    category=OrderCategory.ITEM,
    amount=PAID,
    currency="EUR",
    placed_at=PLACED,
)
DISPUTE: Final = DisputeId("d" * 20)
MS: Final = timedelta(milliseconds=1)
H: Final = timedelta(hours=1)
REPLAYED: Final = 60
"""Stories of up to so many entries are replayed whole at every step."""


def policy(**terms: Any) -> Policy:
    return Policy(opening=Opening(), terms=Terms(**terms))


class Story:
    """One dispute from its opening on. ``now`` moves by ``wait`` only."""

    def __init__(
        self,
        rules: Policy | None = None,
        *,
        facts: OrderFacts = FACTS,
        order_state: OrderState | None = None,
        talked: bool = True,
        now: datetime = OPENED,
        replayed: int = REPLAYED,
        earlier: Dispute | None = None,
        **said: Any,
    ) -> None:
        self.replayed = replayed
        self.states: list[Dispute] = []
        self.now = now
        self.entries: list[Foreseen] = []
        self.webhooks: list[WebhookEvent] = []
        self.known: Dispute | None = None
        self._ids: set[tuple[UserId, CommandId]] = set()
        command = opening(**said)
        order_state = order_state or OrderState()
        self._write(open_dispute(facts, order_state, command, rules or Policy(), now, talked=talked, earlier=earlier))

    @property
    def state(self) -> Dispute:
        assert self.known is not None
        return self.known

    def stands(self) -> Status:
        """The status, as a call: so that a type checker expects it to change."""
        return self.state.status

    @property
    def kinds(self) -> list[EntryKind]:
        return [entry.kind for entry in self.entries]

    @property
    def last(self) -> Foreseen:
        return self.entries[-1]

    def wait(self, time: timedelta) -> "Story":
        self.now += time
        return self

    def until(self, at: datetime) -> "Story":
        self.now = at
        return self

    def run(self, command: Command) -> list[Foreseen]:
        """Decide and write; what was written."""
        return self._write(decide(self.state, command, self.now))

    def did(self, author: Author, kind: type[Any], /, *fields: Any, **more: Any) -> list[Foreseen]:
        """An author's command, under a fresh id."""
        return self.run(self.command(author, kind, *fields, **more))

    def command(self, author: Author, kind: type[Any], /, *fields: Any, **more: Any) -> Any:
        return kind(author, CommandId(f"c{len(self._ids)}"), *fields, **more)

    def refusal(self, author: Author, kind: type[Any], /, *fields: Any, **more: Any) -> ChatError:
        """The error that a command gets; nothing is written."""
        try:
            decide(self.state, self.command(author, kind, *fields, **more), self.now)
        except ChatError as error:
            return error
        raise AssertionError(f"{kind.__name__} of {author.id} was not refused")

    def tick(self) -> list[Foreseen]:
        return self.run(ask.Tick(SYSTEM, CommandId("tick")))

    def event(self, kind: OrderEventType, at: datetime | None = None, **data: Any) -> list[Foreseen]:
        event = OrderEvent(f"{kind.value}-{len(self.entries)}", kind, at or self.now, data)
        return self.run(ask.ReportEvent(SYSTEM, CommandId(f"event:{event.id}"), event))

    def actions(self, who: Author) -> dict[str, Action]:
        return {each.action: each for each in available_actions(self.state, who.role, who.id, self.now)}

    def told(self, *kinds: WebhookType) -> list[dict[str, Any]]:
        """What the marketplace was told, of these types."""
        return [each.data for each in self.webhooks if each.type in kinds]

    # Well-trodden ways

    def says(self, author: Author, text: str) -> list[Foreseen]:
        return self.did(author, ask.SendMessage, text)

    def attended(self) -> "Story":
        self.says(SELLER, "Let me see what I can do.")
        return self

    def offers(self, author: Author, resolution: Resolution, amount: int | None = None, **more: Any) -> Seq:
        entries = self.did(author, ask.MakeProposal, resolution, amount, **more)
        return next(entry.seq for entry in entries if entry.kind is EntryKind.PROPOSAL_MADE)

    def escalated(self) -> "Story":
        """Attended, and called to support a day after opening."""
        if self.state.attended_at is None:
            self.attended()
        self.until(max(self.now, self.state.opened_at + self.state.terms.escalate_from))
        self.did(BUYER, ask.Escalate, "Help")
        return self

    def claimed(self, by: Author = AGENT) -> "Story":
        if self.state.escalation is None:
            self.escalated()
        self.did(by, ask.JoinAsAgent)
        return self

    def decides(self, by: Author, outcome: str, resolution: str, amount: int | None = None) -> list[Foreseen]:
        return self.run(self.ruling(ask.Decide, by, outcome, resolution, amount))

    def shows(self, author: Author, *evidence: str) -> "Story":
        """Evidence of these ids."""
        for each in evidence:
            self.did(author, ask.AddEvidence, each, EvidenceKind.PHOTO)
        return self

    def appeals(self, author: Author, *evidence: str, reason: str = "No!") -> list[Foreseen]:
        """Add new evidence, and appeal with it."""
        return self.shows(author, *evidence).did(author, ask.FileAppeal, reason, evidence)

    def recommends(self, by: Author, outcome: str, resolution: str, amount: int | None = None) -> list[Foreseen]:
        return self.run(self.ruling(ask.Recommend, by, outcome, resolution, amount))

    def ruling(self, kind: type[Any], by: Author, outcome: str, resolution: str, amount: int | None = None) -> Any:
        return self.command(by, kind, *ruling(outcome, resolution, amount))

    def _write(self, drafts: list[Draft]) -> list[Foreseen]:
        written = []
        for draft in drafts:
            key = (draft.author.id, draft.command_id)
            assert key not in self._ids, f"{draft.command_id} is taken"
            self._ids.add(key)
            require_plain(dict(draft.body))
            entry = foresee(draft, Seq(len(self.entries) + 1), self.now)
            before, self.known = self.known, evolve(self.known, entry)
            self.webhooks.extend(told(before, entry, self.known))
            self.entries.append(entry)
            written.append(entry)
            self.states.append(self.known)
        if len(self.entries) <= self.replayed:
            assert replay(self.entries) == self.known
        return written


def ruling(outcome: str, resolution: str, amount: int | None = None) -> tuple[Any, ...]:
    return Outcome(outcome), Resolution(resolution), "This is why.", ("not_as_described",), amount


def opening(**said: Any) -> OpenDispute:
    fields: Mapping[str, Any] = {
        "author": BUYER,
        "command_id": CommandId("open"),
        "dispute": DISPUTE,
        "reason": Reason.DEFECTIVE,
        "description": "The lamp does not work.",
        "desired_resolution": Resolution.FULL_REFUND,
        "amount": None,
        **said,
    }
    return OpenDispute(**fields)
