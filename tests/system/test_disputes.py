"""Disputes between people whose connections are on different processes."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from chatserver.errors import CloseCode
from policies.entry import Author
from policies.vocabulary import Role, UserId
from tests.eventually import eventually
from tests.system.case import (
    NOTE_CHARS,
    RULING,
    Case,
    actions,
    add_evidence,
    disputes,
    open_case,
    report,
    told,
    write_policy,
)
from tests.system.conftest import Dial, Serve
from tests.system.peer import Peer, new_id
from tests.system.record import Record
from tests.system.site import Server, Site, token, unique

Pair = tuple[Server, Server]
LEASE_S = 4


@pytest.fixture(scope="session")
def court(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two processes with a policy for tests."""
    policy = write_policy(tmp_path_factory.mktemp("policy"))
    settings = {"policy_file": policy, "sweep_s": 1, "claim_lease_s": LEASE_S, "messages_per_s": 1000}
    apart = site.apart()
    with ExitStack() as stack:
        begun = [apart.begin(message_burst=1000, **settings) for _ in range(2)]
        for server in begun:
            stack.enter_context(server.program)
        one, two = (server.await_start() for server in begun)
        yield one, two


@pytest.fixture
def case(site: Site, court: Pair) -> Case:
    return open_case(site, court[0])


@pytest.fixture
async def buyer(dial: Dial, court: Pair, case: Case) -> Peer:
    return await dial(court[0], case.order.buyer, [case.room])


@pytest.fixture
async def seller(dial: Dial, court: Pair, case: Case) -> Peer:
    return await dial(court[1], case.order.seller, [case.room])


async def staff(dial: Dial, server: Server, case: Case, role: str = "agent") -> Peer:
    return await dial(server, unique(role), [case.room], role=role)


async def do(peer: Peer, kind: str, case: Case, **fields: Any) -> dict[str, Any]:
    """A command to a dispute; its ``ack``."""
    return await peer.ask(kind, expect="ack", room=case.room, **fields)


async def mediated(dial: Dial, server: Server, case: Case, buyer: Peer, role: str = "agent") -> Peer:
    """Support is called in, and an agent has the case."""
    await do(buyer, "dispute.escalate", case, reason="We are stuck.")
    agent = await staff(dial, server, case, role)
    await do(agent, "agent.join", case)
    return agent


def kinds(peer: Peer, room: str) -> list[str]:
    return [entry["kind"] for entry in peer.entries(room) if entry["kind"] != "notice"]


# The life of a dispute


async def test_an_agreement_from_opening_to_the_money(
    site: Site, court: Pair, case: Case, buyer: Peer, seller: Peer
) -> None:
    joined = await buyer.expect("joined", room=case.room)
    assert joined["kind"] == "dispute"
    assert joined["dispute"]["seq"] == joined["head"]
    assert joined["dispute"]["status"] == "waiting_for_seller"
    assert (joined["dispute"]["id"], joined["dispute"]["order"]["id"]) == (case.id, case.order.id)
    await seller.say(case.room, "Let me look at the picture.")
    for peer in (buyer, seller):
        view = await told(peer, case.room, status="waiting_for_buyer")
        assert view["attended_at"]
    offer = await do(seller, "proposal.make", case, resolution="partial_refund", amount=2_500, note="for the scratch")
    for peer in (buyer, seller):
        view = await told(peer, case.room, seq=offer["seq"])
        assert [(each["seq"], each["amount"]) for each in view["offers"]] == [(offer["seq"], 2_500)]
    assert "proposal.accept" in actions(buyer, case.room) - actions(seller, case.room)
    assert "proposal.withdraw" in actions(seller, case.room) - actions(buyer, case.room)
    accepted = await do(buyer, "proposal.accept", case, proposal=offer["seq"])
    assert accepted["duplicate"] is False
    for peer in (buyer, seller):
        view = await told(peer, case.room, status="resolved")
        assert (view["outcome"], view["resolution"], view["resolved_amount"]) == ("agreed", "partial_refund", 2_500)
        assert (view["settlement"]["status"], view["settlement"]["refund"]) == ("pending", 2_500)
    report(site, court[1], case.order, "payment.refunded", amount=2_500)
    for peer in (buyer, seller):
        view = (await told_settlement(peer, case, refund_done=True))["settlement"]
        assert view["status"] == "pending"
    report(site, court[0], case.order, "payment.released")
    for peer in (buyer, seller):
        assert (await told_settlement(peer, case, status="done"))["status"] == "resolved"
        assert kinds(peer, case.room) == [
            "dispute.opened",
            "message",
            "dispute.attended",
            "proposal.made",
            "proposal.accepted",
            "dispute.resolved",
            "order.updated",
            "order.updated",
        ]


async def told_settlement(peer: Peer, case: Case, **fields: Any) -> dict[str, Any]:
    def match() -> dict[str, Any] | None:
        for view in disputes(peer, case.room):
            if "settlement" in view and fields.items() <= view["settlement"].items():
                return view
        return None

    return await peer.until(match, f"a settlement with {fields}")


async def test_mediation_to_a_decision_and_its_appeal(
    dial: Dial, court: Pair, case: Case, buyer: Peer, seller: Peer
) -> None:
    await seller.say(case.room, "There was no scratch.")
    agent = await mediated(dial, court[1], case, buyer)
    view = await told(buyer, case.room, stage="mediation")
    assert view["status"] == "under_review"
    assert view["escalation"]["rule"] == "by_buyer"
    assert (await told_agent(buyer, case))["agent"].keys() == {"name", "since"}
    assert (await told_agent(agent, case))["agent"]["id"] == agent.user
    await agent.say(case.room, "Please show me a picture.")
    request = await do(agent, "evidence.request", case, of="seller", what="A picture from before.", kinds=["photo"])
    view = await told(seller, case.room, seq=request["seq"])
    assert [(each["of"], each["met"]) for each in view["requests"]] == [("seller", False)]
    refusal = await agent.refusal("decision.issue", "refused", room=case.room, **RULING)
    assert refusal["details"]["rule"] == "right_to_be_heard"
    assert refusal["details"]["side"] == "seller"
    assert refusal["details"]["due_at"] == view["requests"][0]["due_at"]


async def told_agent(peer: Peer, case: Case) -> dict[str, Any]:
    return await peer.until(
        lambda: next((view for view in disputes(peer, case.room) if "agent" in view), None), "an agent"
    )


async def test_a_decision_is_told_with_what_it_means(
    dial: Dial, site: Site, court: Pair, case: Case, buyer: Peer, seller: Peer
) -> None:
    await seller.say(case.room, "There was no scratch.")
    agent = await mediated(dial, court[1], case, buyer)
    decided = await do(agent, "decision.issue", case, **RULING)
    for peer in (buyer, seller, agent):
        view = await told(peer, case.room, status="resolved")
        assert view["decision"]["seq"] == decided["seq"]
        assert (view["outcome"], view["resolved_amount"]) == ("compromise", 4_000)
        assert ("agent" in view["decision"]) is (peer is agent)
    refusal = await seller.refusal("dispute.appeal", "refused", room=case.room, reason="No.", evidence=[])
    assert refusal["details"]["rule"] == "new_evidence_required"
    await add_evidence(site, case, Author(UserId(case.order.seller), Role.SELLER, "Sue"), "ev_1")
    appealed = await do(seller, "dispute.appeal", case, reason="Here is the picture.", evidence=["ev_1"])
    for peer in (buyer, seller, agent):
        view = await told(peer, case.room, stage="appeal")
        assert view["appeal"]["seq"] == appealed["seq"]
    refusal = await agent.refusal("agent.join", "refused", room=case.room)
    assert refusal["details"]["rule"] == "another_agent"


async def test_a_fix_is_promised_made_and_confirmed(case: Case, buyer: Peer, seller: Peer) -> None:
    offer = await do(seller, "proposal.make", case, resolution="replacement")
    await do(buyer, "proposal.accept", case, proposal=offer["seq"])
    view = await told(seller, case.room, status="awaiting_fulfillment")
    assert view["fulfillment"]["offer"]["seq"] == offer["seq"]
    assert "fulfillment.mark" in actions(seller, case.room)
    await do(seller, "fulfillment.mark", case, note="Sent.")
    await do(buyer, "fulfillment.confirm", case)
    for peer in (buyer, seller):
        assert (await told(peer, case.room, status="resolved"))["outcome"] == "agreed"


async def test_a_buyer_withdraws_and_comes_back(case: Case, buyer: Peer, seller: Peer) -> None:
    await do(buyer, "dispute.close", case, reason="It has arrived.")
    for peer in (buyer, seller):
        assert (await told(peer, case.room, status="withdrawn"))["outcome"] == "withdrawn"
    await do(buyer, "dispute.reopen", case, reason="It was the wrong parcel.")
    for peer in (buyer, seller):
        assert (await told(peer, case.room, reopened=True))["stage"] == "negotiation"


async def test_an_order_event_is_told_in_both_rooms(
    site: Site, court: Pair, case: Case, dial: Dial, seller: Peer
) -> None:
    watcher = await dial(court[0], case.order.buyer, [case.room, case.order.room])
    report(site, court[1], case.order, "chargeback.opened")
    for peer in (watcher, seller):
        assert (await told(peer, case.room, frozen=True))["frozen"]
        await peer.find("entry", room=case.room, kind="order.updated")
    await watcher.find("entry", room=case.order.room, kind="order.updated")


# What members are told


async def test_both_processes_tell_the_same(dial: Dial, court: Pair, case: Case, buyer: Peer, seller: Peer) -> None:
    others = [
        await dial(court[1], case.order.buyer, [case.room]),
        await dial(court[0], case.order.seller, [case.room]),
    ]
    peers = [buyer, seller, *others]
    seq = 0
    for number in range(6):
        peer = peers[number % 4]
        seq = (await do(peer, "proposal.make", case, resolution="partial_refund", amount=100 + number))["seq"]
    for peer in peers:
        await told(peer, case.room, seq=seq)
    shared = [{view["seq"]: view for view in disputes(peer, case.room)} for peer in peers]
    for one in shared[1:]:
        for at in one.keys() & shared[0].keys():
            assert one[at] == shared[0][at]
    assert all(len(one) >= 6 for one in shared)


async def test_a_dispute_is_told_after_the_entries_that_changed_it(case: Case, buyer: Peer, seller: Peer) -> None:
    offer = await do(seller, "proposal.make", case, resolution="full_refund")
    await do(buyer, "proposal.accept", case, proposal=offer["seq"])
    await told(seller, case.room, status="resolved")
    for peer in (buyer, seller):
        head = 0
        for frame in peer.frames:
            if frame.get("room") != case.room:
                continue
            if frame["type"] == "entry":
                head = frame["entry"]["seq"]
            elif frame["type"] == "joined":
                head = frame["head"]
            if "dispute" in frame:
                assert frame["dispute"]["seq"] == head


async def test_messages_that_change_nothing_bring_no_dispute(case: Case, buyer: Peer, seller: Peer) -> None:
    await seller.say(case.room, "Hello.")
    await buyer.say(case.room, "Hello.")
    await told(seller, case.room, status="waiting_for_seller", seq=(await buyer.say(case.room, "Well?"))["seq"] - 1)
    before = [len(peer.of_type("dispute")) for peer in (buyer, seller)]
    for number in range(5):
        last = await buyer.say(case.room, f"And {number}?")
    for peer in (buyer, seller):
        await peer.reaches(case.room, last["seq"])
        await peer.in_step()
    assert [len(peer.of_type("dispute")) for peer in (buyer, seller)] == before
    # Who joins now is told of the deadline as those messages have put it off.
    again = await buyer.join(case.room)
    (silence,) = [each for each in again["dispute"]["deadlines"] if each["rule"] == "no_update"]
    assert silence["moved_by"] == last["seq"] == again["dispute"]["seq"]


async def test_who_joins_in_the_midst_of_changes_misses_none(
    dial: Dial, court: Pair, case: Case, buyer: Peer, seller: Peer
) -> None:
    async def quarrel(peer: Peer, least: int) -> None:
        for number in range(15):
            await do(peer, "proposal.make", case, resolution="partial_refund", amount=least + number)

    quarrels = [asyncio.create_task(quarrel(peer, least)) for peer, least in ((buyer, 2_000), (seller, 100))]
    late: list[Peer] = []
    while not all(task.done() for task in quarrels):
        late.append(await dial(court[len(late) % 2], case.order.buyer if len(late) < 3 else case.order.seller))
        joined = await late[-1].join(case.room)
        assert joined["dispute"]["seq"] == joined["head"]
        if len(late) == 6:
            break
    await asyncio.gather(*quarrels)
    last = await do(buyer, "proposal.make", case, resolution="full_refund")
    for peer in late:
        view = await told(peer, case.room, seq=last["seq"])
        assert view == (await told(buyer, case.room, seq=last["seq"]))
        seqs = [each["seq"] for each in disputes(peer, case.room)]
        assert seqs == sorted(seqs)


async def test_without_the_bus_the_other_process_tells_it_all_the_same(
    site: Site, court: Pair, dial: Dial, case: Case, buyer: Peer, fast: Server
) -> None:
    far = await dial(fast, case.order.seller, [case.room])  # it hears of nothing, and compares heads
    offer = await do(buyer, "proposal.make", case, resolution="full_refund")
    view = await told(far, case.room, seq=offer["seq"])
    assert view["offers"][0]["seq"] == offer["seq"]


# Two at the same moment


async def test_an_offer_is_either_accepted_or_withdrawn(case: Case, buyer: Peer, seller: Peer) -> None:
    for _ in range(6):
        offer = await do(seller, "proposal.make", case, resolution="replacement")
        ids = new_id(), new_id()
        await asyncio.gather(
            buyer.send("proposal.accept", id=ids[0], room=case.room, proposal=offer["seq"]),
            seller.send("proposal.withdraw", id=ids[1], room=case.room, proposal=offer["seq"]),
        )
        answers = await buyer.answer(ids[0]), await seller.answer(ids[1])
        assert sorted(answer["type"] for answer in answers) == ["ack", "error"]
        if answers[0]["type"] == "ack":
            break
        assert answers[0]["code"] == "conflict"
    outcomes = {"proposal.accepted", "proposal.withdrawn"}
    last = max(entry["seq"] for entry in buyer.entries(case.room))
    await seller.reaches(case.room, last)
    for peer in (buyer, seller):
        decided = [entry["body"]["proposal"] for entry in peer.entries(case.room) if entry["kind"] in outcomes]
        assert len(decided) == len(set(decided))


async def test_two_who_escalate_at_once_escalate_once(site: Site, court: Pair, dial: Dial) -> None:
    for _ in range(5):
        case = open_case(site, court[0])
        buyer = await dial(court[0], case.order.buyer, [case.room])
        seller = await dial(court[1], case.order.seller, [case.room])
        ids = new_id(), new_id()
        await asyncio.gather(
            *(
                peer.send("dispute.escalate", id=id_, room=case.room, reason="Stuck.")
                for peer, id_ in zip((buyer, seller), ids, strict=True)
            )
        )
        answers = await buyer.answer(ids[0]), await seller.answer(ids[1])
        (refused,) = [answer for answer in answers if answer["type"] == "error"]
        assert refused["code"] == "refused"
        assert refused["details"]["rule"] == "already_escalated"
        await told(buyer, case.room, stage="mediation")
        assert kinds(buyer, case.room).count("dispute.escalated") == 1


async def test_two_agents_who_claim_at_once_do_not_both_get_the_case(
    dial: Dial, court: Pair, case: Case, buyer: Peer
) -> None:
    await do(buyer, "dispute.escalate", case, reason="Stuck.")
    one, two = [await staff(dial, server, case) for server in court]
    for _ in range(4):
        ids = new_id(), new_id()
        await asyncio.gather(
            *(peer.send("agent.join", id=id_, room=case.room) for peer, id_ in zip((one, two), ids, strict=True))
        )
        answers = await one.answer(ids[0]), await two.answer(ids[1])
        (refused,) = [answer for answer in answers if answer["type"] == "error"]
        winner = one if answers[0]["type"] == "ack" else two
        assert refused["code"] == "conflict"
        assert refused["details"]["agent"] == winner.user
        await do(winner, "agent.leave", case)


async def test_what_was_superseded_meanwhile_is_a_conflict_with_what_there_is(
    case: Case, buyer: Peer, seller: Peer
) -> None:
    first = await do(seller, "proposal.make", case, resolution="replacement")
    second = await do(seller, "proposal.make", case, resolution="full_refund")
    refusal = await buyer.refusal("proposal.accept", "conflict", room=case.room, proposal=first["seq"])
    assert [each["proposal"] for each in refusal["details"]["offers"]] == [second["seq"]]
    await seller.refusal("proposal.accept", "forbidden", room=case.room, proposal=second["seq"])
    await do(buyer, "proposal.accept", case, proposal=second["seq"])


# Retries


async def test_every_command_sent_again_gets_its_first_answer(
    dial: Dial, court: Pair, case: Case, buyer: Peer, seller: Peer, record: Record
) -> None:
    """Each command is sent again over a new connection to the other process, as after a lost answer."""
    agent = await staff(dial, court[0], case)
    senior = await staff(dial, court[0], case, "senior_agent")
    elsewhere = {
        buyer: await dial(court[1], case.order.buyer, [case.room]),
        seller: await dial(court[0], case.order.seller, [case.room]),
        agent: await dial(court[1], agent.user, [case.room], role="agent"),
        senior: await dial(court[1], senior.user, [case.room], role="senior_agent"),
    }

    async def twice(peer: Peer, kind: str, /, **fields: Any) -> dict[str, Any]:
        command = new_id()
        first = await peer.ask(kind, expect="ack", id=command, room=case.room, **fields)
        if kind == "note.add":  # the other process knows of it: until then its first answer is as good as this one
            await elsewhere[peer].expect("note")
        else:
            await elsewhere[peer].reaches(case.room, first["seq"])
        again = await elsewhere[peer].ask(kind, expect="ack", id=command, room=case.room, **fields)
        assert first["duplicate"] is False
        assert again == {**first, "duplicate": True}, kind
        return first

    await twice(seller, "message.send", text="I am here.")
    offer = await twice(seller, "proposal.make", resolution="partial_refund", amount=100, note="n")
    await twice(buyer, "proposal.reject", proposal=offer["seq"], reason="Too little.")
    offer = await twice(seller, "proposal.make", resolution="full_refund")
    await twice(seller, "proposal.withdraw", proposal=offer["seq"])
    offer = await twice(seller, "proposal.make", resolution="delivery_fix")
    await twice(buyer, "proposal.accept", proposal=offer["seq"])
    await twice(seller, "fulfillment.mark", note="done")
    await twice(seller, "dispute.escalate", reason="It does not fit.")
    await twice(agent, "agent.join")
    await twice(agent, "note.add", text="Looks honest.")
    await twice(agent, "message.send", text="I look into it.")
    await twice(agent, "evidence.request", of="buyer", what="a picture")
    await twice(senior, "agent.join", take_over=True)
    await twice(senior, "agent.leave", reason="not mine")
    await twice(agent, "agent.join")
    await twice(buyer, "dispute.close", reason="We agreed.")
    await twice(buyer, "dispute.reopen", reason="We did not.")
    # The order of these is that of the log, once each.
    entries = [entry for entry in await record.whole(case.room) if entry.author.role.value != "system"]
    assert len({entry.command_id for entry in entries}) == len(entries) == 18


async def test_decisions_sent_again_get_their_first_answer(
    dial: Dial, site: Site, court: Pair, case: Case, buyer: Peer, seller: Peer
) -> None:
    await seller.say(case.room, "I am here.")
    agent = await mediated(dial, court[0], case, buyer)
    other = await staff(dial, court[1], case)
    recommended = await agent.ask("decision.recommend", expect="ack", id="r", room=case.room, **RULING)
    again = await agent.ask("decision.recommend", expect="ack", id="r", room=case.room, **RULING)
    assert again == {**recommended, "duplicate": True}
    decided = await agent.ask("decision.issue", expect="ack", id="d", room=case.room, **RULING)
    again = await agent.ask("decision.issue", expect="ack", id="d", room=case.room, **RULING)
    assert again == {**decided, "duplicate": True}
    await add_evidence(site, case, Author(UserId(case.order.seller), Role.SELLER, "Sue"), "e")
    filed = await seller.ask("dispute.appeal", expect="ack", id="a", room=case.room, reason="r", evidence=["e"])
    again = await seller.ask("dispute.appeal", expect="ack", id="a", room=case.room, reason="r", evidence=["e"])
    assert again == {**filed, "duplicate": True}
    await do(other, "agent.join", case)
    await buyer.say(case.room, "I disagree.")
    final = await do(other, "decision.issue", case, **RULING)
    view = await told(buyer, case.room, seq=disputes(buyer, case.room)[-1]["seq"])
    assert final["seq"] > decided["seq"]
    assert view["id"] == case.id


async def test_the_same_id_for_something_else_is_a_conflict(case: Case, buyer: Peer, seller: Peer) -> None:
    first = await do(buyer, "proposal.make", case, id="x", resolution="partial_refund", amount=100)
    for kind, fields in (
        ("proposal.make", {"resolution": "partial_refund", "amount": 101}),
        ("proposal.withdraw", {"proposal": first["seq"]}),
        ("message.send", {"text": "hello"}),
    ):
        refusal = await buyer.refusal(kind, "conflict", id="x", room=case.room, **fields)
        assert refusal["details"]["seq"] == first["seq"]
    # Another author may use it.
    assert (await do(seller, "proposal.make", case, id="x", resolution="full_refund"))["duplicate"] is False


async def test_what_a_lost_connection_began_is_finished_and_told(
    dial: Dial, court: Pair, case: Case, seller: Peer
) -> None:
    for number in range(5):
        peer = await dial(court[0], case.order.buyer, [case.room])
        command = new_id()
        await peer.send("proposal.make", id=command, room=case.room, resolution="partial_refund", amount=100 + number)
        peer.abort()
        again = await dial(court[1], case.order.buyer, [case.room])
        ack = await do(again, "proposal.make", case, id=command, resolution="partial_refund", amount=100 + number)
        await seller.reaches(case.room, ack["seq"])
    assert kinds(seller, case.room).count("proposal.made") == 5


async def test_a_planned_stop_loses_no_command_and_doubles_none(
    site: Site, serve: Serve, dial: Dial, court: Pair, record: Record
) -> None:
    leaving = await serve(site.apart(), message_burst=1000, messages_per_s=1000, drain_s=5)
    case = open_case(site, leaving)
    buyer = await dial(leaving, case.order.buyer, [case.room])
    ids = [new_id() for _ in range(30)]
    for number, command in enumerate(ids):
        fields = {"id": command, "room": case.room, "resolution": "partial_refund", "amount": 100 + number}
        await buyer.send("proposal.make", **fields)
    await buyer.answer(ids[2])
    leaving.terminate()
    assert await buyer.closed() == CloseCode.GOING_AWAY
    acks = {frame["id"]: frame for frame in buyer.of_type("ack")}
    assert ids[0] in acks
    again = await dial(court[0], case.order.buyer, [case.room])
    for number, command in enumerate(ids):
        fields = {"id": command, "resolution": "partial_refund", "amount": 100 + number}
        ack = await do(again, "proposal.make", case, **fields)
        if command in acks:
            assert ack == {**acks[command], "duplicate": True}
    made = [entry.command_id for entry in await record.whole(case.room) if entry.kind.value == "proposal.made"]
    assert sorted(made) == sorted(ids)
    assert await leaving.ended() == 0


# Who may what


@pytest.mark.parametrize(
    ("who", "kind", "fields", "code"),
    [
        ("buyer", "agent.join", {}, "forbidden"),
        ("seller", "agent.leave", {}, "forbidden"),
        ("buyer", "evidence.request", {"of": "seller", "what": "w"}, "forbidden"),
        ("seller", "decision.recommend", RULING, "forbidden"),
        ("buyer", "decision.issue", RULING, "forbidden"),
        ("seller", "note.add", {"text": "t"}, "forbidden"),
        ("buyer", "note.add", {"text": "t"}, "forbidden"),
        ("seller", "dispute.close", {"reason": "r"}, "forbidden"),
        ("agent", "proposal.make", {"resolution": "full_refund"}, "forbidden"),
        ("agent", "dispute.escalate", {"reason": "r"}, "forbidden"),
        ("agent", "dispute.close", {"reason": "r"}, "forbidden"),
        ("agent", "message.send", {"text": "hello"}, "forbidden"),
        ("auditor", "agent.join", {}, "forbidden"),
        ("auditor", "note.add", {"text": "t"}, "forbidden"),
        ("auditor", "message.send", {"text": "t"}, "forbidden"),
        ("agent", "agent.join", {}, "refused"),
        ("agent", "decision.issue", RULING, "refused"),
        ("stranger", "dispute.escalate", {"reason": "r"}, "not_found"),
    ],
)
async def test_nobody_acts_out_of_their_role(
    dial: Dial,
    court: Pair,
    case: Case,
    buyer: Peer,
    seller: Peer,
    record: Record,
    who: str,
    kind: str,
    fields: dict[str, Any],
    code: str,
) -> None:
    if who == "stranger":
        peer = await dial(court[0], unique("stranger"))
    elif who in ("buyer", "seller"):
        peer = buyer if who == "buyer" else seller
    else:
        peer = await staff(dial, court[0], case, who)
    before = await record.whole(case.room)
    await peer.refusal(kind, code, room=case.room, **fields)
    assert await record.whole(case.room) == before


async def test_only_the_agent_who_has_the_case_acts_on_it(dial: Dial, court: Pair, case: Case, buyer: Peer) -> None:
    await mediated(dial, court[0], case, buyer)
    other = await staff(dial, court[1], case)
    for kind, fields in (
        ("evidence.request", {"of": "seller", "what": "w"}),
        ("decision.issue", RULING),
        ("message.send", {"text": "hello"}),
        ("agent.leave", {}),
    ):
        error = await other.ask(kind, expect="error", room=case.room, **fields)
        assert error["code"] in ("refused", "forbidden"), error
    taken = await other.refusal("agent.join", "forbidden", room=case.room, take_over=True)
    assert "details" not in taken or "rule" not in taken["details"]
    senior = await staff(dial, court[1], case, "senior_agent")
    await do(senior, "agent.join", case, take_over=True)
    view = await told(other, case.room, seq=max(each["seq"] for each in disputes(senior, case.room)))
    assert view["agent"]["id"] == senior.user


async def test_an_order_room_takes_no_command_of_a_dispute(dial: Dial, court: Pair, case: Case) -> None:
    peer = await dial(court[0], case.order.buyer, [case.order.room])
    await peer.refusal("dispute.escalate", "bad_request", room=case.order.room, reason="r")
    agent = await dial(court[0], unique("agent"), [case.order.room], role="agent")
    await agent.refusal("note.add", "bad_request", room=case.order.room, text="t")


@pytest.mark.parametrize(
    ("kind", "field", "fields"),
    [
        ("dispute.escalate", "reason", {}),
        ("dispute.close", "reason", {}),
        ("proposal.make", "note", {"resolution": "full_refund"}),
    ],
)
async def test_a_text_may_be_as_long_as_the_policy_says_and_not_longer(
    case: Case, buyer: Peer, kind: str, field: str, fields: dict[str, Any]
) -> None:
    refusal = await buyer.refusal(kind, "too_large", room=case.room, **{field: "ä" * (NOTE_CHARS + 1)}, **fields)
    assert refusal["details"]["limit"] == NOTE_CHARS
    await do(buyer, kind, case, **{field: "ä" * NOTE_CHARS}, **fields)


async def test_a_note_may_be_as_long_as_a_message(dial: Dial, court: Pair, case: Case) -> None:
    agent = await staff(dial, court[0], case)
    await do(agent, "note.add", case, text="x" * 4_000)
    refusal = await agent.refusal("note.add", "too_large", room=case.room, text="x" * 4_001)
    assert refusal["details"]["limit"] == 4_000
    await agent.refusal("note.add", "bad_request", room=case.room, text=" ")


async def test_commands_to_a_dispute_count_as_messages(site: Site, dial: Dial, pair: Pair) -> None:
    case = open_case(site, pair[0])
    buyer = await dial(pair[0], case.order.buyer, [case.room])
    ids = [new_id() for _ in range(12)]
    for number, command in enumerate(ids):
        await buyer.send("proposal.reject", id=command, room=case.room, proposal=number + 1)
    answers = [await buyer.answer(command) for command in ids]
    limited = [answer for answer in answers if answer.get("code") == "rate_limited"]
    assert limited
    assert all(answer["retry_after_ms"] > 0 for answer in limited)


# Notes and the staff log


async def test_notes_reach_the_staff_and_nobody_else(
    dial: Dial, court: Pair, case: Case, buyer: Peer, seller: Peer
) -> None:
    one, two = [await staff(dial, server, case) for server in court]
    auditor = await staff(dial, court[1], case, "auditor")
    secret = f"secret {new_id()}"
    ack = await do(one, "note.add", case, text=secret)
    assert (ack["room"], ack["seq"]) == (case.staff_room, 1)
    own = await one.expect("note", room=case.room)
    assert own["entry"]["command_id"] == ack["id"]
    for peer in (two, auditor):
        note = await peer.expect("note", room=case.room)
        assert note["entry"] == {name: value for name, value in own["entry"].items() if name != "command_id"}
        assert note["entry"]["body"] == {"text": secret}
    # The notes before are in a room of their own.
    joined = await two.join(case.staff_room)
    assert joined["kind"] == "staff"
    assert [entry["body"]["text"] for entry in joined["entries"]] == [secret]
    await two.say(case.staff_room, "I agree.")
    assert (await one.expect("note", room=case.room))["entry"]["body"] == {"text": "I agree."}
    for peer in (buyer, seller):
        await peer.in_step()
        assert secret not in json.dumps(peer.frames)
        assert not peer.of_type("note")


async def test_why_an_agent_gives_a_case_back_is_noted_there_and_not_told_to_the_parties(
    dial: Dial, court: Pair, case: Case, buyer: Peer
) -> None:
    one = await mediated(dial, court[0], case, buyer)
    left = await do(one, "agent.leave", case, id="left", recuse=True, reason="I know the buyer.")
    await do(one, "agent.leave", case, id="left", recuse=True, reason="I know the buyer.")  # the answer was lost
    joined = await one.join(case.staff_room)
    assert [entry["body"]["text"] for entry in joined["entries"]] == ["Recused: I know the buyer."]
    await buyer.reaches(case.room, left["seq"])
    assert buyer.entries(case.room)[-1]["body"] == {"agent": one.user, "cause": "recused"}


async def test_to_the_parties_there_is_no_staff_log(site: Site, court: Pair, case: Case, buyer: Peer) -> None:
    missing = await buyer.refusal("join", "not_found", room=f"staff-{'0' * 20}")
    refusal = await buyer.refusal("join", "not_found", room=case.staff_room)
    assert refusal == {**missing, "id": refusal["id"]}
    await buyer.refusal("message.send", "not_found", room=case.staff_room, text="hello")
    await buyer.refusal("history", "not_found", room=case.staff_room, before=5, limit=5)
    headers = {"Authorization": f"Bearer {token(case.order.buyer)}"}
    for path in ("entries", "transcript?format=json"):
        answer = site.http.get(f"{court[0].url}/v1/rooms/{case.staff_room}/{path}", headers=headers)
        assert answer.status_code == 404


async def test_staff_who_are_a_party_are_a_party(dial: Dial, court: Pair, case: Case, buyer: Peer) -> None:
    await do(buyer, "dispute.escalate", case, reason="Stuck.")
    biased = await dial(court[0], case.order.seller, [case.room], role="senior_agent")
    joined = await biased.expect("joined", room=case.room)
    assert joined["you"]["role"] == "seller"
    assert "staff_room" not in joined["dispute"]
    await biased.refusal("agent.join", "forbidden", room=case.room)
    await biased.refusal("note.add", "forbidden", room=case.room, text="t")
    await biased.refusal("join", "not_found", room=case.staff_room)


async def test_staff_who_leave_get_no_more_notes(dial: Dial, court: Pair, case: Case) -> None:
    one, two = await staff(dial, court[0], case), await staff(dial, court[0], case)
    await do(one, "note.add", case, text="first")
    await two.expect("note")
    await two.ask("leave", expect="ack", room=case.room)
    await do(one, "note.add", case, text="second")
    await one.expect("note", seq=2)
    await two.in_step()
    assert len(two.of_type("note")) == 1
    await two.join(case.room)
    await do(one, "note.add", case, text="third")
    assert (await two.expect("note", seq=3))["entry"]["body"] == {"text": "third"}


async def test_what_staff_read_is_on_record(site: Site, dial: Dial, court: Pair, case: Case, buyer: Peer) -> None:
    agent = await staff(dial, court[0], case)
    await agent.ask("history", expect="history", room=case.room, limit=10)
    await agent.join(case.staff_room)
    await buyer.ask("history", expect="history", room=case.room, limit=10)
    headers = {"Authorization": f"Bearer {site.api_key}"}
    answer = site.http.get(f"{court[1].url}/v1/disputes/{case.id}/audit", headers=headers).raise_for_status()
    seen = [(each["action"], each["room"], each["actor"]["id"]) for each in answer.json()["records"]]
    assert [each for each in reversed(seen) if each[0].startswith("room.")] == [
        ("room.join", case.room, agent.user),
        ("room.history", case.room, agent.user),
        ("room.join", case.staff_room, agent.user),
    ]


# The agent's lease


async def test_a_claim_is_kept_while_the_agent_is_in_the_room(
    dial: Dial, court: Pair, case: Case, buyer: Peer, record: Record
) -> None:
    agent = await mediated(dial, court[1], case, buyer)

    renewals = []

    async def look() -> None:
        found = await record.database.collection("claims").find_one({"_id": case.id})
        assert found is not None
        if found["expires_at"] not in renewals:
            renewals.append(found["expires_at"])

    await eventually(lambda: len(renewals) >= 3, look)
    await agent.close()
    other = await staff(dial, court[1], case)
    await other.in_step()
    await look()
    # One that was under way may still come; then there is none, though others are in the room.
    await asyncio.sleep(LEASE_S / 2)
    await look()
    known = list(renewals)
    await asyncio.sleep(LEASE_S / 2)
    await look()
    assert renewals == known


async def test_who_has_the_case_already_may_claim_it_again(dial: Dial, court: Pair, case: Case, buyer: Peer) -> None:
    agent = await mediated(dial, court[0], case, buyer)
    before = agent.head(case.room)
    ack = await do(agent, "agent.join", case, id="again")
    assert ack == {"type": "ack", "id": "again", "room": case.room}
    await agent.in_step()
    assert agent.head(case.room) == before


async def test_leaving_gives_the_case_back(dial: Dial, court: Pair, case: Case, buyer: Peer) -> None:
    agent = await mediated(dial, court[1], case, buyer)
    await do(agent, "agent.leave", case, recuse=True, reason="I know the seller.")
    view = await told(agent, case.room, recused=[agent.user])
    assert "agent" not in view
    refusal = await agent.refusal("agent.join", "refused", room=case.room)
    assert refusal["details"]["rule"] == "recused"
    other = await staff(dial, court[0], case)
    await do(other, "agent.join", case)
