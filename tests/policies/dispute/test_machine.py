"""Random play: buyer, seller, agents, the marketplace and the clock, with what must always hold."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from policies.dispute import commands as ask
from policies.dispute.actions import available_actions
from policies.dispute.deadlines import passed
from policies.dispute.decide import decide
from policies.dispute.effects import WebhookEvent, told
from policies.dispute.evolve import replay
from policies.dispute.fact import Foreseen
from policies.dispute.opening import eligibility
from policies.dispute.state import TALKS, Dispute, Rule
from policies.errors import ChatError, Refused
from policies.order import Chargeback, OrderEvent, OrderState, apply_event
from policies.room import SYSTEM
from policies.vocabulary import (
    DECIDERS,
    PARTIES,
    CommandId,
    EntryKind,
    OrderEventType,
    Resolution,
    Role,
    SettlementStatus,
    Stage,
    Status,
    WebhookType,
)
from tests.policies.dispute.moves import MOVES, PEOPLE, a_likely_move, a_move_of, an_event, any_move, is_explained
from tests.policies.dispute.story import AGENT, BUYER, FACTS, MS, PAID, SELLER, Story, policy

K = EntryKind
SYSTEM_ONLY = frozenset({Role.SYSTEM})
AUTHORS = {
    K.MESSAGE: PARTIES | DECIDERS,
    K.EVIDENCE_ADDED: PARTIES | DECIDERS,
    K.EVIDENCE_WITHDRAWN: PARTIES | DECIDERS,
    K.EVIDENCE_REQUESTED: DECIDERS,
    K.DISPUTE_OPENED: {Role.BUYER},
    K.DISPUTE_ATTENDED: SYSTEM_ONLY,
    K.PROPOSAL_MADE: PARTIES,
    K.PROPOSAL_ACCEPTED: PARTIES | SYSTEM_ONLY,
    K.PROPOSAL_REJECTED: PARTIES,
    K.PROPOSAL_WITHDRAWN: PARTIES,
    K.PROPOSAL_EXPIRED: SYSTEM_ONLY,
    K.FULFILLMENT_MARKED: {Role.SELLER},
    K.FULFILLMENT_CONFIRMED: {Role.BUYER},
    K.DISPUTE_ESCALATED: PARTIES | SYSTEM_ONLY,
    K.AGENT_JOINED: DECIDERS,
    K.AGENT_LEFT: DECIDERS | SYSTEM_ONLY,
    K.DECISION_RECOMMENDED: DECIDERS,
    K.DECISION_ISSUED: DECIDERS,
    K.DISPUTE_RESOLVED: SYSTEM_ONLY,
    K.DISPUTE_WITHDRAWN: {Role.BUYER},
    K.DISPUTE_REOPENED: {Role.BUYER},
    K.DISPUTE_FROZEN: SYSTEM_ONLY,
    K.DISPUTE_UNFROZEN: SYSTEM_ONLY,
    K.APPEAL_FILED: PARTIES,
    K.DEADLINE_APPROACHING: SYSTEM_ONLY,
    K.DEADLINE_EXTENDED: SYSTEM_ONLY,
    K.ORDER_UPDATED: SYSTEM_ONLY,
    K.NOTICE: SYSTEM_ONLY,
    K.MESSAGE_RELEASED: DECIDERS,
    K.MESSAGE_REDACTED: DECIDERS,
}
"""Who may write what."""

N, M, A = Stage.NEGOTIATION, Stage.MEDIATION, Stage.APPEAL
SELLERS, BUYERS, REVIEW = Status.WAITING_FOR_SELLER, Status.WAITING_FOR_BUYER, Status.UNDER_REVIEW
AWAITING, RESOLVED, WITHDRAWN = Status.AWAITING_FULFILLMENT, Status.RESOLVED, Status.WITHDRAWN
TABLE = {
    K.DISPUTE_ATTENDED: {((N, SELLERS), (N, BUYERS))},
    K.PROPOSAL_ACCEPTED: {
        ((stage, status), (stage, AWAITING)) for stage in Stage for status in (SELLERS, BUYERS, REVIEW)
    },
    K.DISPUTE_ESCALATED: {
        *(((N, status), (M, REVIEW)) for status in (SELLERS, BUYERS, AWAITING)),
        *(((stage, AWAITING), (stage, REVIEW)) for stage in (M, A)),
    },
    K.DISPUTE_RESOLVED: {
        ((stage, status), (stage, RESOLVED)) for stage in Stage for status in (SELLERS, BUYERS, REVIEW, AWAITING)
    },
    K.DISPUTE_WITHDRAWN: {
        ((stage, status), (stage, WITHDRAWN)) for stage in Stage for status in (SELLERS, BUYERS, REVIEW, AWAITING)
    },
    K.DISPUTE_REOPENED: {((N, WITHDRAWN), (N, SELLERS)), ((M, WITHDRAWN), (M, REVIEW)), ((A, WITHDRAWN), (A, REVIEW))},
    K.APPEAL_FILED: {((M, RESOLVED), (A, REVIEW))},
}
"""The transitions of the table: what each kind of entry may change. An act of a party passes the turn on besides."""
TURNS = {((N, SELLERS), (N, BUYERS)), ((N, BUYERS), (N, SELLERS))}
ACTIONS = {kind: name for name, (kind, _) in MOVES.items()}
REFUND, RELEASE = WebhookType.PAYMENT_REFUND_REQUESTED, WebhookType.PAYMENT_RELEASE_REQUESTED
MONEY = frozenset({REFUND, RELEASE})
PAID_OUT = {OrderEventType.PAYMENT_REFUNDED: REFUND, OrderEventType.PAYMENT_RELEASED: RELEASE}
CHARGEBACKS = frozenset(kind for kind in OrderEventType if kind.value.startswith("chargeback."))
DEPENDS = frozenset({"second_person", "new_evidence_required"})
"""Refused although it was offered: by what is decided, or for what was not brought."""


DICE = st.randoms(use_true_random=False)


class DisputeMachine(RuleBasedStateMachine):
    """The disputes of one order under random terms, one after another; people act in the latest."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = policy()
        self.story = Story()
        self.past: list[Story] = []
        self.order = OrderState()
        self.events = 0
        self.asked: set[tuple[WebhookType, str, int]] = set()
        self.sums: dict[tuple[WebhookType, str], int] = {}
        """What was asked for under a key, and was not given up since."""
        self.reversed = 0
        self.paid: Counter[tuple[WebhookType, str | None]] = Counter()
        self.lost: set[str] = set()
        """Disputes whose payment the bank has taken back."""

    @initialize(
        settle=st.sampled_from(["at_once", "when_final"]),
        second=st.sampled_from([{}, {"EUR": 6000}]),
        escalate_from=st.sampled_from(["24h", "1h"]),
        retries=st.integers(0, 2),
        reminders=st.booleans(),
        chapters=st.integers(0, 5),
        turn=st.sampled_from(["none", "promised", "marked", "frozen", "frozen with a promise", "withdrawn"]),
    )
    def opens(
        self,
        settle: str,
        second: dict[str, int],
        escalate_from: str,
        retries: int,
        reminders: bool,
        chapters: int,
        turn: str,
    ) -> None:
        terms: dict[str, Any] = {
            "settle": settle,
            "second_person_above": second,
            "escalate_from": escalate_from,
            "settlement_retries": retries,
        }
        if not reminders:
            terms["reminders"] = {}
        self.policy = policy(**terms)
        self.story = Story(self.policy, replayed=0)
        self.look_at(None, self.story.state, self.story.entries[0])
        self.skip(chapters)
        if self.story.state.active:
            self.take(turn)

    def skip(self, chapters: int) -> None:
        """Begin further on, so that the later chapters are played too."""
        story = self.story
        steps: list[Callable[[], Any]] = [
            story.attended,
            story.escalated,
            story.claimed,
            lambda: story.decides(AGENT, "compromise", "split", 4000),
            lambda: story.appeals(BUYER, "e1"),
        ]
        for step in steps[:chapters]:
            before = story.state
            written = len(story.entries)
            step()
            self.look(before, story.entries[written:])

    def take(self, turn: str) -> None:
        """Begin with what seldom happens by chance, so that what follows from it is played too."""
        if turn in ("promised", "marked", "frozen with a promise"):
            self.play(SELLER, ask.MakeProposal, {"resolution": Resolution.DELIVERY_FIX})
            offer = self.story.state.offer_of(Role.SELLER)
            assert offer is not None
            self.play(BUYER, ask.AcceptProposal, {"proposal": offer.seq})
            assert self.story.state.fulfillment is not None
        if turn == "marked":
            self.play(SELLER, ask.MarkFulfilled, {})
        if turn.startswith("frozen"):
            self.report(OrderEventType.CHARGEBACK_OPENED, self.story.now, {})
        if turn == "withdrawn":
            self.play(BUYER, ask.Close, {"reason": "It was found."})

    # Moves

    @rule(dice=DICE)
    def somebody_does_what_they_may(self, dice: Random) -> None:
        move = a_likely_move(dice, self.story.state, self.story.now)
        if move is not None:
            self.play(*move)

    @rule(dice=DICE)
    def somebody_does_what_they_may_again(self, dice: Random) -> None:
        self.somebody_does_what_they_may(dice)

    @rule(dice=DICE)
    def anybody_tries_anything(self, dice: Random) -> None:
        self.play(*any_move(dice))

    @rule(dice=DICE)
    def the_marketplace_reports(self, dice: Random) -> None:
        self.report(*an_event(dice, [each.state for each in (*self.past, self.story)], self.story.now))

    def report(self, kind: OrderEventType, at: datetime, fields: dict[str, Any]) -> None:
        stories = [*self.past, self.story]
        self.events += 1
        event = OrderEvent(f"event-{self.events}", kind, at, fields)
        before, key = self.order, fields.get("key")
        self.order = apply_event(self.order, event, PAID, self.still_asked(key))
        if self.order.chargeback is Chargeback.LOST and self.order != before:
            self.lost.update(each.state.id for each in stories)
        self.note_paid(kind, key, fields.get("amount"))
        for story in stories:
            asked = isinstance(key, str) and key.startswith(story.state.id)
            if story is self.story or asked or kind in CHARGEBACKS:
                story.until(self.story.now)
                state = story.state
                self.look(state, story.run(ask.ReportEvent(SYSTEM, CommandId(f"event:{event.id}"), event)), story)

    def still_asked(self, key: str | None) -> int | None:
        """What an order's store knows of a key."""
        for story in (*self.past, self.story):
            if key is not None and key.startswith(f"{story.state.id}:"):
                return sum(max(0, s.refund - s.refund_paid) for s in story.state.settlements if s.key == key)
        return None

    def note_paid(self, kind: OrderEventType, key: str | None, amount: int | None) -> None:
        if kind in PAID_OUT:
            self.paid[PAID_OUT[kind], key] += PAID if amount is None else amount

    @precondition(lambda self: not self.story.state.active)
    @rule()
    def the_buyer_opens_another(self) -> None:
        latest, now = self.story.state, self.story.now
        allowed = eligibility(FACTS, self.order, self.policy, now, latest)
        name = f"{latest.number + 1}" * 20
        try:
            story = Story(self.policy, replayed=0, now=now, order_state=self.order, earlier=latest, dispute=name)
        except ChatError as error:
            self.refused(error)
            expected = {allowed.rule, "already_refunded"}  # the buyer wants a refund, of which nothing may be left
            if error.details["rule"] not in expected:
                raise
            return
        assert allowed.allowed
        self.give_up(latest)
        self.past.append(self.story)
        self.story = story
        self.look_at(None, story.states[0], story.entries[0])
        self.look(story.states[0], story.entries[1:])

    def give_up(self, state: Dispute) -> None:
        """What failed for good was not asked for, whatever becomes of it later."""
        for each in state.settlements:
            if state.deadline(Rule.SETTLEMENT_RETRY, each.seq) is None:
                if each.refund_failed:
                    self.sums[REFUND, each.key] = each.refund_paid
                if each.release_failed:
                    self.sums[RELEASE, each.release_key] = each.release_paid

    @rule()
    def the_worker_comes_to_those_before(self) -> None:
        for story in self.past:
            story.until(self.story.now)
            before = story.state
            self.look(before, story.tick(), story)

    @precondition(lambda self: self.story.state.next_at is not None)
    @rule(past=st.sampled_from([-MS, timedelta(), MS, timedelta(hours=30)]), work=st.booleans())
    def time_passes_to_what_is_due(self, past: timedelta, work: bool) -> None:
        due = self.story.state.next_at
        assert due is not None
        self.story.until(max(self.story.now, due + past))
        if work:
            self.the_worker_comes()

    @rule(hours=st.sampled_from([1, 1, 5, 25]))
    def time_passes(self, hours: int) -> None:
        self.story.wait(timedelta(hours=hours))

    @rule()
    def the_worker_comes(self) -> None:
        before = self.story.state
        due = [each for each in before.deadlines if before.runs(each) and each.due_at < self.story.now]
        written = self.story.tick()
        self.look(before, written)
        assert bool(due) <= bool(written)
        state, now = self.story.state, self.story.now
        for deadline in state.deadlines:
            if state.runs(deadline):
                assert now <= deadline.due_at, "a deadline was missed"
                assert deadline.remind_at is None or now < deadline.remind_at, "a reminder was missed"
        assert self.story.tick() == []

    # What must hold

    def play(self, author: Any, kind: type[Any], fields: dict[str, Any]) -> None:
        before = self.story.state
        command = self.story.command(author, kind, **fields)
        try:
            drafts = decide(before, command, self.story.now)
        except ChatError as error:
            self.refused(error)
            return
        assert author.role is not Role.AUDITOR, "an auditor only reads"
        if drafts and kind in ACTIONS and author in PEOPLE and passed(before, self.story.now) is None:
            shown = available_actions(before, author.role, author.id, self.story.now)
            assert ACTIONS[kind] in {each.action for each in shown}, f"{ACTIONS[kind]} was not shown to {author.id}"
        assert decide(before, command, self.story.now) == drafts
        self.look(before, self.story.run(command))

    def refused(self, error: ChatError) -> None:
        assert is_explained(error), error.message

    def look(self, before: Dispute, written: list[Foreseen], story: Story | None = None) -> None:
        story = story or self.story
        states = [before]
        for entry in written:
            after = story.states[entry.seq - 1]
            self.look_at(states[-1], after, entry)
            for event in told(states[-1], entry, after):
                self.look_at_told(event, after)
            states.append(after)
        for each in story.state.settlements:  # what failed while a dispute went on is left to the end that comes
            for key, left in (((REFUND, each.key), each.refund), ((RELEASE, each.release_key), each.release)):
                if key in self.sums:
                    self.sums[key] = min(self.sums[key], left)

    def look_at_told(self, event: WebhookEvent, state: Dispute) -> None:
        if event.type is WebhookType.PAYMENT_HOLD_REQUESTED:
            assert event.data["amount"] > 0
            assert state.active
        if event.type is WebhookType.DISPUTE_RESOLVED:
            self.reversed += sum(event.data.get("reversal", {}).values())
        if event.type not in MONEY:
            return
        data = event.data
        assert state.id not in self.lost, "money was asked for that the bank has taken"
        request = (event.type, data["key"], data["attempt"])
        assert request not in self.asked, "money was asked for twice"
        assert data["amount"] > 0
        self.asked.add(request)
        self.sums.setdefault((event.type, data["key"]), data["amount"])

    def look_at(self, before: Dispute | None, after: Dispute, entry: Foreseen) -> None:
        assert entry.author.role in AUTHORS[entry.kind], f"{entry.author.role} wrote {entry.kind}"
        if before is None:
            return
        change = ((before.stage, before.status), (after.stage, after.status))
        if change[0] == change[1]:
            return
        acted = entry.author.role in PARTIES or "counts" in entry.body  # or what was withheld counts from now on
        turn = acted and change in TURNS
        assert turn or change in TABLE.get(entry.kind, ()), f"{entry.kind} made {change}"

    @invariant()
    def it_hangs_together(self) -> None:
        state = self.story.state
        rules = [deadline.rule for deadline in state.deadlines]
        assert len({(deadline.rule, deadline.of) for deadline in state.deadlines}) == len(rules)
        assert list(state.deadlines) == sorted(state.deadlines, key=lambda each: each.due_at)
        assert len(state.offers) == len({offer.side for offer in state.offers}) <= 2
        assert (state.fulfillment is not None) == (state.status is Status.AWAITING_FULFILLMENT)
        assert state.frozen == (state.frozen_at is not None)
        if state.stage is Stage.NEGOTIATION:
            assert state.agent is None
            assert state.escalation is None
        if state.appeal is not None:
            assert state.agent is None or state.agent.id != state.appeal.against, "the same agent again"
        if not state.active:
            assert not TALKS & set(rules), "an ended dispute escalates"
            assert not state.offers
            assert state.ended_at is not None
        if state.active:
            assert {Rule.APPEAL_WINDOW, Rule.REOPEN_WINDOW, Rule.ROOM_CLOSES}.isdisjoint(rules)
            retried = {deadline.of for deadline in state.deadlines if deadline.rule is Rule.SETTLEMENT_RETRY}
            assert retried <= {state.hold and state.hold.seq}
        if state.closed:
            assert set(rules) <= {Rule.SETTLEMENT_RETRY}
        elif not state.active:
            assert len({Rule.APPEAL_WINDOW, Rule.REOPEN_WINDOW, Rule.ROOM_CLOSES} & set(rules)) == 1
        if state.stage is Stage.NEGOTIATION and state.active and state.fulfillment is None:
            assert Rule.NO_UPDATE in rules, "nobody would come"

    @invariant()
    def no_more_is_asked_for_than_was_paid(self) -> None:
        """Over all disputes of the order: what both sides are to get, less what is to be taken back."""
        assert sum(self.sums.values()) - self.reversed <= PAID

    @invariant()
    def money_adds_up(self) -> None:
        for story in (*self.past, self.story):
            state = story.state
            assert 0 <= state.refundable <= state.disposable <= PAID or not state.active
            assert 0 <= state.refunded <= PAID
            for each in state.settlements:
                assert 0 <= each.refund + each.release <= PAID
                assert 0 <= each.buyer_gets + each.seller_gets <= PAID
                if each.status is SettlementStatus.DONE and each.attempts:
                    refunded = self.paid[REFUND, each.key] + self.paid[REFUND, None]
                    released = (each.key, each.release_key, None)
                    assert refunded >= each.refund, "it says done, and nobody reported so much"
                    assert sum(self.paid[RELEASE, key] for key in released) >= each.release
            if state.charged_back:
                assert state.deadline(Rule.SETTLEMENT_RETRY) is None

    @rule(dice=DICE)
    def what_is_offered_works(self, dice: Random) -> None:
        """The list of actions is what a person sees as buttons."""
        state, now = self.story.state, self.story.now
        if passed(state, now) is not None:
            return  # the worker will come first
        for author in PEOPLE:
            actions = available_actions(state, author.role, author.id, now)
            assert len({each.action for each in actions}) == len(actions)
            for action in actions:
                assert action.due_at is None or state.frozen or now <= action.due_at
                if action.action not in MOVES:
                    continue
                _, kind, fields = a_move_of(dice, state, author, action)
                try:
                    decide(state, self.story.command(author, kind, **fields), now)
                except Refused as error:
                    if error.details["rule"] not in DEPENDS:
                        raise

    def teardown(self) -> None:
        for story in (*self.past, self.story):
            assert replay(story.entries) == story.state


TestDispute = DisputeMachine.TestCase
TestDispute.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # to explain a failure takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
