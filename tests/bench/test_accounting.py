"""The judge must be right: what counts as done, lost, repeated or out of order, and what the report makes of it."""

import asyncio
import os
from typing import Any

import pytest

from tests.bench.load import Counts, Load
from tests.bench.report import CLOSED, IDLE, OPEN, report, table, targets
from tests.bench.runs import GROUPS, PERCENTILES, Idle, Plan, Result, Sample, faults
from tests.bench.subjects import Stored
from tests.bench.wire import TOKEN_BYTES, DisputeChat, Seat, number_in, token


class Wire:
    """A sender that goes nowhere."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def send(self, number: int) -> None:
        self.sent.append(number)


@pytest.fixture
def load() -> Load:
    load = Load()
    load.senders = [Wire()]  # type: ignore[list-item]
    return load


@pytest.mark.parametrize("number", [0, 1, 123_456_789, 600_000_000])
def test_a_token_is_found_again_and_looks_like_a_word(number: int) -> None:
    assert len(token(number)) == TOKEN_BYTES
    assert token(number).isalpha()
    assert number_in(b'{"text":"' + token(number) + b' and more"}') == number


def test_a_frame_without_a_token_is_about_no_message() -> None:
    assert number_in(b'{"type":"presence"}') == -1


def test_a_message_is_done_when_acked_and_delivered_to_all_three(load: Load) -> None:
    with load.window() as window:
        load.send(0.0)
        load.delivered(1, 0)
        load.acked(1)
        load.delivered(1, 2)
        assert load.counts.done == 0
        load.delivered(1, 1)
    assert (load.counts.done, window.done) == (1, 1)
    assert (len(window.ack), len(window.deliver)) == (1, 3)
    assert faults(load.counts, Stored(1, 0, "")) == []


def test_repeated_answers_and_deliveries_are_counted(load: Load) -> None:
    load.send(0.0)
    load.delivered(1, 0)
    load.delivered(1, 0)
    load.acked(1)
    load.acked(1)
    load.acked(7)
    assert load.counts.repeated == 3


async def test_a_closed_loop_sends_the_next_when_one_is_done_or_refused(load: Load) -> None:
    async with load.closed_loop(2):
        assert load.counts.sent == 2
        load.acked(1)
        for member in range(3):
            load.delivered(1, member)
        load.refused(2, b"no")
        assert load.counts.sent == 4
    load.acked(3)
    for member in range(3):
        load.delivered(3, member)
    assert load.counts.sent == 4


async def test_an_open_loop_sends_at_its_rate(load: Load) -> None:
    async with load.open_loop(2000.0):
        await asyncio.sleep(0.25)
    assert 300 < load.counts.sent < 700


async def test_order_is_checked_from_the_head_of_the_join_on(load: Load) -> None:
    connection = DisputeChat(Seat("ws://nowhere", "order-1", 0, "bo"), load)
    connection.on_frame(b'{"type":"joined","room":"order-1","head":4,"entries":[]}')
    for seq in (5, 6, 8, 8):
        load.send(0.0)
        connection.on_frame(b'{"type":"entry","room":"order-1","entry":{"seq":%d,"text":"%s"}}' % (seq, token(1)))
    assert load.counts.misordered == 2


def test_every_disagreement_is_a_fault() -> None:
    counts = Counts(sent=10, acked=8, delivered=25, refused=1, repeated=2, misordered=3, disconnected=4)
    counts.first_refusal = "rate_limited"
    assert faults(counts, Stored(7, 5, "order-1 at 3")) == [
        "1 refused",
        "1 never acked",
        "2 deliveries missing",
        "1 acked and not stored",
        "2 answers or deliveries repeated",
        "3 deliveries out of order",
        "4 connections lost",
        "5 rooms with gaps",
        "first refusal: rate_limited",
        "hash chain: order-1 at 3",
    ]
    assert faults(Counts(sent=2, acked=2, delivered=6), Stored(3)) == ["1 stored and not acked"]


def _result(messages_per_s: float, server_cpu: float, p99: float, **extra: Any) -> Result:
    latencies = dict.fromkeys(PERCENTILES, p99)
    sample = Sample(messages_per_s, dict.fromkeys(GROUPS, server_cpu), latencies, latencies, 0.0, 0.0)
    return Result(samples=[sample], stored=Stored(0), **extra)


def test_targets_are_judged_on_medians_against_the_peers() -> None:
    own = [_result(6000, 0.9, 20), _result(100, 5, 200), _result(6100, 1.0, 21)]
    peer, hub = [_result(1000, 5, 50)], [_result(900, 9, 60)]
    names = ("dispute chat server", "Socket.IO + Redis adapter", "plain Starlette hub")
    loaded = dict(zip(names, (own, peer, hub), strict=True))
    results = {CLOSED: loaded, OPEN: loaded, IDLE: {names[0]: [Result(idle=Idle(31.0, 100.0, 1.0))]}}
    verdicts = {verdict.what: (verdict.measured, verdict.met) for verdict in targets(results)}
    assert verdicts == {
        "messages/s against Socket.IO": ("6.00x", True),
        "server CPU per message against Socket.IO": ("0.20x", True),
        "messages/s against the plain hub": ("6.67x", True),
        "p99 send to deliver against Socket.IO": ("0.42x", True),
        "KiB per idle connection": ("31.0", False),
    }
    said = report(Plan(), results)
    assert "MISSED" in said
    assert "6,000" in said


def test_what_a_target_leaves_for_the_servers_own_code_is_said() -> None:
    cpu = {"server": 2.0, "mongod": 0.5, "redis": 0.1, "generator": 0.4}
    latencies = dict.fromkeys(PERCENTILES, 20.0)
    own = Result(samples=[Sample(6000, cpu, latencies, latencies, 0.0, 0.0, server_kernel=0.3)], stored=Stored(0))
    runs = {"dispute chat server": [own], "Socket.IO + Redis adapter": [_result(2000, 5, 50)]}
    said = report(Plan(), {CLOSED: runs})
    whole = 1e6 * (os.cpu_count() or 1) / 10_000
    assert (
        f"5x Socket.IO + Redis adapter is 10,000 messages/s, for which {os.cpu_count()} cores have {whole:.0f} µs"
        in said
    )
    assert "mongod 50, redis 10, generator 40, the operating system for the server 30." in said
    assert f"own code: {whole - 130:.0f} µs; it takes 170." in said


def test_tables_have_even_columns() -> None:
    assert table(["", "n"], [["a", "10"], ["long", "9"]]).splitlines() == [
        "|      |  n |",
        "| ---- | -: |",
        "| a    | 10 |",
        "| long |  9 |",
    ]
