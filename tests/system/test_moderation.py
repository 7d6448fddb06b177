"""Staff rule on messages while people talk, on two processes; slow mode; what a client that was away finds."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.system.case import Case, open_case
from tests.system.conftest import Dial
from tests.system.peer import Peer
from tests.system.site import Server, Site, token, unique

Pair = tuple[Server, Server]
ELSEWHERE = "My phone number is +49 176 12345678, call me on whatsapp"


@pytest.fixture(scope="session")
def pair(site: Site) -> Iterator[Pair]:
    """Two processes that screen by the rules everybody gets."""
    apart = site.apart()
    with ExitStack() as stack:
        begun = [apart.begin(policy_file="", sweep_s=1, messages_per_s=1000, message_burst=1000) for _ in range(2)]
        for server in begun:
            stack.enter_context(server.program)
        one, two = (server.await_start() for server in begun)
        yield one, two


@pytest.fixture
def case(site: Site, pair: Pair) -> Case:
    return open_case(site, pair[0])


@pytest.fixture(params=["dispute", "order"])
def room(request: pytest.FixtureRequest, case: Case) -> str:
    return case.room if request.param == "dispute" else case.order.room


@pytest.fixture
async def buyer(dial: Dial, pair: Pair, case: Case, room: str) -> Peer:
    return await dial(pair[0], case.order.buyer, [room])


@pytest.fixture
async def seller(dial: Dial, pair: Pair, case: Case, room: str) -> Peer:
    return await dial(pair[1], case.order.seller, [room])


@pytest.fixture
async def agent(dial: Dial, pair: Pair, room: str) -> Peer:
    return await dial(pair[1], unique("agent"), [room], role="agent")


def seen(peer: Peer, room: str, seq: int) -> dict[str, Any]:
    """An entry as it came with the stream."""
    return next(entry for entry in peer.entries(room) if entry["seq"] == seq)


def read(site: Site, server: Server, user: str, room: str, seq: int, role: str | None = None) -> dict[str, Any]:
    page = site.get(server, f"/v1/rooms/{room}/entries", token(user, role=role), after=seq - 1, limit=1)
    entry: dict[str, Any] = page["entries"][0]
    return entry


async def withheld(peer: Peer, room: str) -> int:
    ack = await peer.ask("message.send", expect="ack", room=room, text=ELSEWHERE)
    assert ack["notice"]["mark"] == "withheld"
    return int(ack["seq"])


async def test_a_released_message_is_shown_to_those_who_are_there(
    site: Site, pair: Pair, case: Case, room: str, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    seq = await withheld(seller, room)
    await buyer.reaches(room, seq)
    assert seen(buyer, room, seq)["body"] == {}
    ack = await agent.ask("message.release", expect="ack", room=room, seq=seq, reason="The shop's own number")
    for peer in (buyer, seller, agent):
        await peer.reaches(room, ack["seq"])
        changed = await peer.find("entry.changed", room=room)
        assert changed["entry"]["seq"] == seq
        assert changed["entry"]["body"] == {"text": ELSEWHERE}
        assert changed["entry"]["released"] is True
        assert ("flag" in changed["entry"]) == (peer is agent)
        assert ("command_id" in changed["entry"]) == (peer is seller)
        said = seen(peer, room, ack["seq"])
        assert (said["kind"], said["body"]["seq"]) == ("message.released", seq)
    for server in pair:
        assert read(site, server, case.order.buyer, room, seq)["body"] == {"text": ELSEWHERE}
    assert read(site, pair[0], "ann", room, seq, "auditor")["flag"]["state"] == "released"
    if room == case.room:
        await buyer.until(
            lambda: "dispute.attended" in [each["kind"] for each in buyer.entries(room)] or None, "attended"
        )


async def test_a_redacted_message_is_hidden_from_the_other_side(
    site: Site, pair: Pair, case: Case, room: str, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    seq = (await buyer.say(room, "You are a crook, Sue"))["seq"]
    ack = await agent.ask("message.redact", expect="ack", room=room, seq=seq, reason="Not fit to be read")
    gone = (await seller.find("entry.changed", room=room))["entry"]
    assert (gone["seq"], gone["body"], gone["withheld"]) == (seq, {}, True)
    own = (await buyer.find("entry.changed", room=room))["entry"]
    assert (own["body"], own["withheld"]) == ({"text": "You are a crook, Sue"}, True)
    assert read(site, pair[1], case.order.seller, room, seq)["body"] == {}
    await seller.reaches(room, ack["seq"])
    again = await agent.ask("message.redact", expect="ack", room=room, seq=seq, reason="Not fit to be read")
    assert "seq" not in again


async def test_who_was_away_is_shown_what_has_changed(
    dial: Dial, pair: Pair, case: Case, room: str, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    seq = await withheld(seller, room)
    await buyer.reaches(room, seq + 1)  # and the reminder
    await buyer.close()
    await agent.ask("message.release", expect="ack", room=room, seq=seq, reason="")
    back = await dial(pair[1], case.order.buyer)
    joined = await back.join(room, after=seq + 1)
    assert "message.released" in [each["kind"] for each in joined["entries"]]
    changed = await back.find("entry.changed", room=room)
    assert (changed["entry"]["seq"], changed["entry"]["body"]) == (seq, {"text": ELSEWHERE})


async def test_who_was_away_for_long_is_shown_what_has_changed(dial: Dial, pair: Pair, case: Case) -> None:
    """The ruling stands beyond the page that ``joined`` brings."""
    room = case.order.room
    buyer, seller = [await dial(pair[0], user, [room]) for user in (case.order.buyer, case.order.seller)]
    agent = await dial(pair[1], unique("agent"), [room], role="agent")
    seq = (await seller.say(room, "You are a crook, Bo"))["seq"]
    await buyer.reaches(room, seq)
    await buyer.close()
    for number in range(100):
        await agent.say(room, f"I look at the papers, part {number}")
    ack = await agent.ask("message.redact", expect="ack", room=room, seq=seq, reason="Not fit to be read")
    back = await dial(pair[1], case.order.buyer)
    joined = await back.join(room, after=seq)
    assert (joined["more"], joined["entries"][-1]["kind"]) == (True, "message")
    page = await back.ask("history", expect="history", room=room, after=joined["entries"][-1]["seq"])
    assert ack["seq"] in [each["seq"] for each in page["entries"]]
    changed = (await back.find("entry.changed", room=room))["entry"]
    assert (changed["seq"], changed["body"], changed["withheld"]) == (seq, {}, True)


async def test_only_support_rules_on_messages(
    dial: Dial, pair: Pair, case: Case, room: str, buyer: Peer, seller: Peer
) -> None:
    seq = await withheld(seller, room)
    for peer in (buyer, seller, await dial(pair[0], unique("auditor"), [room], role="auditor")):
        await peer.refusal("message.release", "forbidden", room=room, seq=seq, reason="")
    own_case = await dial(pair[0], case.order.seller, [room], role="agent")
    await own_case.refusal("message.release", "forbidden", room=room, seq=seq, reason="")
    assert "message.released" not in [entry["kind"] for entry in seller.entries(room)]


async def test_staff_see_strikes_when_they_join(dial: Dial, pair: Pair, case: Case, room: str, seller: Peer) -> None:
    await withheld(seller, room)
    late = await dial(pair[0], unique("agent"), role="agent")
    joined = await late.join(room)
    strikes = {each["role"]: each["strikes"] for each in joined["members"] if "strikes" in each}
    assert strikes == {"buyer": 0.0, "seller": 1.0}
    other = await (await dial(pair[0], case.order.buyer)).join(room)
    assert all("strikes" not in each for each in other["members"])


async def noticed(peer: Peer, room: str, every_s: int) -> None:
    """Wait until the log has said how slow the room is."""
    notice = {"notice": "slow_mode", "every_s": every_s}
    await peer.until(lambda: any(each["body"] == notice for each in peer.entries(room)) or None, f"{notice}")


async def test_slow_mode_holds_on_every_process(
    site: Site, dial: Dial, pair: Pair, case: Case, room: str, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    def set_to(every_s: int) -> None:
        headers = {"Authorization": f"Bearer {token(agent.user, role='agent')}"}
        url = f"{pair[0].url}/v1/rooms/{room}/slow-mode"
        site.http.put(url, json={"every_s": every_s}, headers=headers).raise_for_status()

    await seller.say(room, "Good morning, Bo")
    set_to(3600)
    for peer in (buyer, seller, agent):
        await noticed(peer, room, 3600)
    refused = await seller.refusal("message.send", "rate_limited", room=room, text="And another thing")
    assert 0 < refused["retry_after_ms"] <= 3_600_000
    await buyer.say(room, "My first message here today")
    await buyer.refusal("message.send", "rate_limited", room=room, text="My second one, on the same process")
    again = await dial(pair[0], case.order.buyer)
    assert (await again.join(room))["slow_mode_s"] == 3600
    await again.refusal("message.send", "rate_limited", room=room, text="My second one, on another")
    set_to(0)
    await noticed(seller, room, 0)
    await seller.say(room, "And another thing")
