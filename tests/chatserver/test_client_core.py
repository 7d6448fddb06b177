"""The client's state machine, without a socket and without waiting."""

import itertools
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatserver.client.backoff import full_jitter
from chatserver.client.core import ClientCore, Link
from chatserver.client.errors import ClientClosed, ConnectionEnded
from chatserver.client.events import (
    Answered,
    CoreEvent,
    Ended,
    Observed,
    Offline,
    Online,
    Postponed,
    RoomEnded,
    TokenWanted,
)
from chatserver.client.frames import Acked, decode
from chatserver.client.joined_room import JoinedRoom
from chatserver.protocol import ClientInfo, History, MessageSend, Ping
from policies.errors import BadRequest, ChatError, Conflict, ErrorCode, NotFound, TokenExpired, TooLarge

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC).isoformat()
ROOM = "order-1"


def wire_entry(seq: int, command_id: str | None = None) -> dict[str, Any]:
    author = {"id": "ann", "role": "buyer", "name": "Ann"}
    entry = {"seq": seq, "id": f"{seq:032x}", "kind": "message", "author": author, "at": AT, "body": {"text": str(seq)}}
    return entry if command_id is None else entry | {"command_id": command_id}


LIMITS = {
    "frame_bytes": 2048,
    "message_chars": 100,
    "messages_per_s": 5.0,
    "message_burst": 10,
    "connections_per_user": 5,
    "rooms_per_connection": 20,
    "history_page": 5,
}


class Highest(Random):
    """Jitter at its ceiling, so that pauses can be told."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Line:
    """A core with a hand-moved clock, and the other end of its connection."""

    def __init__(self, *, renewable: bool = False, capacity: int = 50) -> None:
        self.now = 1000.0
        ids = itertools.count(1)
        self.core = ClientCore(
            info=ClientInfo(name="test"),
            rng=Highest(),
            new_id=lambda: f"id-{next(ids)}",
            capacity=capacity,
            renewable=renewable,
            now=self.now,
        )

    def sent(self) -> list[dict[str, Any]]:
        frames = [orjson.loads(payload) for payload in self.core.outgoing]
        self.core.outgoing.clear()
        return frames

    def events(self) -> list[CoreEvent]:
        events = list(self.core.events)
        self.core.events.clear()
        return events

    def got(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events() if isinstance(event, kind)]

    def receive(self, **frame: Any) -> None:
        decoded = decode(orjson.dumps(frame))
        assert decoded is not None
        self.core.received(decoded, self.now)

    def error(self, command_id: str | None, code: str, *, temporary: bool = False, **more: Any) -> None:
        self.receive(type="error", id=command_id, code=code, message=f"no: {code}", temporary=temporary, **more)

    def open(self) -> dict[str, Any]:
        """Open the WebSocket: the connect frame."""
        self.core.opened("token", self.now)
        [connect] = self.sent()
        return connect

    def connected(self, connect: dict[str, Any]) -> None:
        self.receive(
            type="connected",
            id=connect["id"],
            session="s1",
            user={"id": "ann", "name": "Ann"},
            server_time=AT,
            heartbeat_s=25.0,
            limits=LIMITS,
        )

    def joined(self, *seqs: int, head: int | None = None, command_id: str | None = None, room: str = ROOM) -> None:
        self.receive(
            type="joined",
            id=command_id,
            room=room,
            kind="order",
            head=head if head is not None else max(seqs, default=0),
            members=[],
            you={"role": "buyer"},
            entries=[wire_entry(seq) for seq in seqs],
            more=False,
            cursors={},
        )

    def ack(self, frame: dict[str, Any], seq: int, *, duplicate: bool = False) -> None:
        self.receive(type="ack", id=frame["id"], room=frame["room"], seq=seq, entry_id="e", at=AT, duplicate=duplicate)

    def up(self) -> None:
        self.connected(self.open())

    def in_room(self, *seqs: int, after: int | None = 0) -> JoinedRoom:
        """Connect and join ROOM."""
        room = self.core.join(ROOM, after, self.now)
        self.up()
        self.joined(*seqs)
        self.events()
        return room

    def send(self, text: str, command_id: str) -> None:
        self.core.submit(MessageSend(type="message.send", id=command_id, room=ROOM, text=text), self.now)

    def tick(self, after_s: float, *, heard: bool = True) -> None:
        before = self.now
        self.now += after_s
        self.core.tick(self.now, self.now if heard else before)

    def lose(self, code: int | None = None) -> Offline:
        self.core.closed(code, "lost", self.now)
        [offline] = self.got(Offline)
        assert isinstance(offline, Offline)
        return offline


@pytest.fixture
def line() -> Line:
    return Line()


def taken(line: Line, room: JoinedRoom) -> list[int]:
    seqs = []
    while (entry := line.core.take(room, line.now)) is not None:
        seqs.append(entry.seq)
    return seqs


# Connecting and coming back


def test_connect_names_the_rooms_and_their_positions(line: Line) -> None:
    line.core.join("order-1", 7, line.now)
    line.core.join("order-2", None, line.now)
    connect = line.open()
    assert connect["token"] == "token"
    assert connect["rooms"] == [{"room": "order-1", "after": 7}, {"room": "order-2"}]


def test_after_a_loss_the_rooms_are_joined_where_they_stopped(line: Line) -> None:
    room = line.in_room(1, 2, 3)
    assert line.core.take(room, line.now) is not None  # one is read, two wait for the reader
    line.lose()
    assert line.open()["rooms"] == [{"room": ROOM, "after": 3}]


def test_the_pauses_double_up_to_20_s_and_start_again_after_a_stable_connection(line: Line) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(line.lose().retry_in_s)
        line.up()
        line.events()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 20, 20]
    line.now += 10
    assert line.lose().retry_in_s == 0.5


def test_full_jitter_stays_under_its_ceiling_and_uses_all_of_it() -> None:
    rng = Random(7)
    pauses = [full_jitter(3, rng) for _ in range(1000)]
    assert 0 <= min(pauses) < 0.2
    assert 3.8 < max(pauses) <= 4
    assert full_jitter(10_000, Highest()) == 20


def test_bye_says_when_to_come_back(line: Line) -> None:
    line.in_room()
    line.receive(type="bye", reason="shutdown", reconnect_after_ms=3200)
    offline = line.lose(4000)
    assert offline.retry_in_s == 3.2
    assert line.core.retry_at == line.now + 3.2


def test_after_bye_nothing_new_is_sent_and_answers_still_count(line: Line) -> None:
    line.in_room()
    line.send("one", "c1")
    [one] = line.sent()
    line.receive(type="bye", reason="shutdown", reconnect_after_ms=0)
    line.send("two", "c2")
    assert line.sent() == []
    line.ack(one, 1)
    assert [event.id for event in line.got(Answered)] == ["c1"]
    line.lose(4000)
    line.up()
    line.joined(1)
    assert [frame["id"] for frame in line.sent()] == ["c2"]


def test_a_server_that_says_bye_and_stays_is_left(line: Line) -> None:
    line.up()
    line.receive(type="bye", reason="shutdown", reconnect_after_ms=1000)
    line.tick(2.9)
    assert line.core.broken is None
    line.tick(0.2)
    assert line.core.broken is not None


@pytest.mark.parametrize("code", [4500, 4501, 4503, 4506, 4508, 4509, 4999, 1009])
def test_final_close_codes_end_everything_that_waits(line: Line, code: int) -> None:
    line.in_room()
    line.send("hello", "c1")
    line.core.closed(code, "no more", line.now)
    events = line.events()
    [answered] = [event for event in events if isinstance(event, Answered)]
    [room_ended] = [event for event in events if isinstance(event, RoomEnded)]
    assert isinstance(answered.answer, ConnectionEnded)
    assert answered.answer.close_code == code
    assert room_ended.error is answered.answer
    assert isinstance(events[-1], Ended)
    assert line.core.link is Link.ENDED
    line.core.closed(1006, "", line.now)
    assert line.events() == []


@pytest.mark.parametrize("code", [4000, 4002, 4004, 4006, 4499, 1000, 1001, 1006, 1011, 1012, 3000, None])
def test_other_close_codes_mean_coming_back(line: Line, code: int | None) -> None:
    line.up()
    line.events()
    line.lose(code)
    assert line.core.link is Link.DOWN


def test_an_expired_token_is_replaced_when_it_can_be() -> None:
    line = Line(renewable=True)
    line.up()
    line.events()
    line.lose(4001)
    assert line.core.token_stale
    line.core.refresh("newer", line.now)
    assert not line.core.token_stale


def test_an_expired_token_that_cannot_be_replaced_is_the_end(line: Line) -> None:
    line.up()
    line.core.closed(4001, "token expired", line.now)
    [ended] = line.got(Ended)
    assert ended.error.close_code == 4001


def test_an_error_before_connected_explains_the_end(line: Line) -> None:
    connect = line.open()
    line.error(connect["id"], "unauthenticated")
    line.core.closed(4501, "", line.now)
    [ended] = line.got(Ended)
    assert ended.error.close_code == 4501
    assert ended.error.__cause__.code is ErrorCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("code", "temporary", "renewable", "link"),
    [
        ("forbidden", False, False, Link.ENDED),
        ("unavailable", True, False, Link.DOWN),
        ("token_expired", False, True, Link.DOWN),
        ("token_expired", False, False, Link.ENDED),
    ],
)
def test_a_refused_connect_without_a_close_is_judged_by_its_error(
    code: str, temporary: bool, renewable: bool, link: Link
) -> None:
    line = Line(renewable=renewable)
    connect = line.open()
    line.error(connect["id"], code, temporary=temporary)
    line.tick(2.1)
    assert line.core.broken == f"no: {code}"
    line.core.closed(None, line.core.broken, line.now)
    assert line.core.link is link
    assert line.core.token_stale == (code == "token_expired")
    if code == "token_expired" and link is Link.ENDED:
        [ended] = line.got(Ended)
        assert isinstance(ended.error.__cause__, TokenExpired)


def test_a_temporarily_refused_connect_waits_as_long_as_asked(line: Line) -> None:
    connect = line.open()
    line.error(connect["id"], "unavailable", temporary=True, retry_after_ms=7000)
    assert line.lose().retry_in_s == 7


def test_silence_is_a_broken_connection(line: Line) -> None:
    line.up()
    line.tick(34, heard=False)
    assert line.core.broken is None
    line.tick(35, heard=False)
    assert line.core.broken == "the server is silent"


def test_a_connect_without_answer_is_given_up(line: Line) -> None:
    line.open()
    assert line.core.wakes_at(line.now) == line.now + 10
    line.tick(10)
    assert line.core.broken is not None


def test_a_command_without_answer_is_a_broken_connection(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    [first] = line.sent()
    line.tick(19)
    assert line.core.broken is None
    assert line.core.wakes_at(line.now) == line.now + 1
    line.tick(1)
    assert line.core.broken is not None
    line.lose()
    line.up()
    line.joined()
    assert line.sent() == [first]


def test_a_token_that_expires_is_asked_for_and_refreshed(line: Line) -> None:
    line.up()
    line.events()
    line.receive(type="token.expiring", in_s=60.0)
    assert line.events() == [TokenWanted(60.0)]
    line.core.refresh("newer", line.now)
    [refresh] = line.sent()
    assert (refresh["type"], refresh["token"]) == ("token.refresh", "newer")
    line.receive(type="ack", id=refresh["id"])
    line.core.refresh("newest", line.now)
    line.sent()
    line.lose()
    line.up()
    assert line.sent() == []  # connect carried it


# Writes


def test_a_write_is_repeated_under_its_id_until_acknowledged_once(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    [first] = line.sent()
    line.lose()
    assert line.got(Answered) == []
    line.up()
    assert line.sent() == []  # not before the room is joined again
    line.joined()
    [second] = line.sent()
    assert second == first
    line.ack(second, 1, duplicate=True)
    line.ack(second, 1, duplicate=True)
    [answered] = line.got(Answered)
    assert answered.answer.duplicate


def test_writes_of_a_room_go_one_at_a_time_and_in_order(line: Line) -> None:
    line.in_room()
    for number in (1, 2, 3):
        line.send("hello", f"c{number}")
    [one] = line.sent()
    line.error("c1", "rate_limited", temporary=True, retry_after_ms=200)
    assert line.sent() == []
    assert line.core.wakes_at(line.now) == line.now + 0.2
    line.tick(0.2)
    assert line.sent() == [one]
    line.ack(one, 1)
    assert [frame["id"] for frame in line.sent()] == ["c2"]


def test_who_has_to_wait_for_long_is_told(line: Line) -> None:
    line.in_room(1)
    line.send("hello", "c1")
    line.sent()
    line.error("c1", "rate_limited", temporary=True, retry_after_ms=1999)
    assert line.got(Postponed) == []
    line.tick(2)
    line.sent()
    line.error("c1", "rate_limited", temporary=True, retry_after_ms=30_000, details={"slow_mode_s": 60})
    assert line.got(Postponed) == [Postponed("c1", ROOM, "no: rate_limited", 30.0)]
    line.tick(29.9)
    assert line.sent() == []
    line.tick(0.1)
    assert [frame["id"] for frame in line.sent()] == ["c1"]


def test_temporary_errors_without_a_pause_are_retried_with_growing_ones(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    for pause in (0.5, 1, 2):
        line.sent()
        line.error("c1", "unavailable", temporary=True)
        line.tick(pause - 0.1)
        assert line.sent() == []
        line.tick(0.1)
    assert [frame["id"] for frame in line.sent()] == ["c1"]


def test_a_pause_of_nothing_does_not_make_it_spin(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    line.sent()
    line.error("c1", "unavailable", temporary=True, retry_after_ms=0)
    assert line.sent() == []
    line.tick(0.05)
    assert len(line.sent()) == 1


def test_a_final_error_is_the_answer_and_the_next_one_goes(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    line.send("hello", "c2")
    line.sent()
    line.error("c1", "refused", details={"rule": "closed"})
    [answered] = line.got(Answered)
    assert answered.answer.code is ErrorCode.REFUSED
    assert answered.answer.details == {"rule": "closed"}
    assert [frame["id"] for frame in line.sent()] == ["c2"]


def test_an_error_code_of_a_newer_server_is_still_an_answer(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    line.error("c1", "out_of_cheese", details={"rule": "x"})
    [answered] = line.got(Answered)
    assert answered.answer.code is ErrorCode.INTERNAL
    assert answered.answer.details == {"code": "out_of_cheese", "details": {"rule": "x"}}


def test_the_same_command_twice_is_one_and_another_under_its_id_a_conflict(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    line.send("hello", "c1")
    assert len(line.sent()) == 1
    with pytest.raises(Conflict):
        line.send("goodbye", "c1")


def test_limits_are_checked_before_sending(line: Line) -> None:
    line.in_room()
    with pytest.raises(BadRequest):
        line.send("", "c0")
    with pytest.raises(TooLarge) as caught:
        line.send("x" * 101, "c1")
    assert caught.value.details == {"limit": 100, "length": 101}
    with pytest.raises(BadRequest):
        line.core.submit(History(type="history", id="h", room=ROOM, limit=6), line.now)
    line.send("x" * 100, "c2")
    assert len(line.sent()) == 1


def test_limits_count_for_what_was_submitted_before_they_were_known(line: Line) -> None:
    line.core.join(ROOM, 0, line.now)
    line.send("x" * 101, "c1")
    line.send("x" * 101, "c2")
    line.send("fine", "c3")
    line.up()
    line.joined()
    answers = line.got(Answered)
    assert [event.id for event in answers] == ["c1", "c2"]
    assert all(isinstance(event.answer, TooLarge) for event in answers)
    assert [frame["id"] for frame in line.sent()] == ["c3"]


def test_a_command_that_takes_too_many_bytes_is_not_sent(line: Line) -> None:
    line.core.join(ROOM, 0, line.now)
    connect = line.open()
    line.receive(
        type="connected",
        id=connect["id"],
        session="s1",
        user={"id": "ann", "name": "Ann"},
        server_time=AT,
        heartbeat_s=25.0,
        limits=LIMITS | {"frame_bytes": 120},
    )
    line.joined()
    with pytest.raises(TooLarge):
        line.send("\u00e9" * 60, "c1")


def test_an_abandoned_command_is_not_repeated(line: Line) -> None:
    line.in_room()
    line.send("one", "c1")
    line.send("two", "c2")
    [one] = line.sent()
    line.core.abandon("c1", line.now)
    assert [frame["id"] for frame in line.sent()] == ["c2"]
    line.ack(one, 1)
    assert line.got(Answered) == []


# Rooms and entries


def test_joining_while_connected(line: Line) -> None:
    line.up()
    line.core.join(ROOM, 4, line.now)
    [join] = line.sent()
    assert (join["type"], join["room"], join["after"]) == ("join", ROOM, 4)
    with pytest.raises(Conflict):
        line.core.join(ROOM, 4, line.now)


def test_a_join_that_is_unavailable_is_tried_again(line: Line) -> None:
    line.up()
    line.core.join(ROOM, None, line.now)
    [join] = line.sent()
    line.error(join["id"], "unavailable", temporary=True, retry_after_ms=1000)
    assert line.core.wakes_at(line.now) == line.now + 1
    line.tick(1)
    [again] = line.sent()
    assert again["type"] == "join"


def test_a_join_that_is_refused_ends_the_room(line: Line) -> None:
    line.up()
    line.core.join(ROOM, None, line.now)
    [join] = line.sent()
    line.send("waiting", "c1")
    line.error(join["id"], "not_found")
    events = line.events()
    [ended] = [event for event in events if isinstance(event, RoomEnded)]
    assert isinstance(ended.error, NotFound)
    assert [event.id for event in events if isinstance(event, Answered)] == ["c1"]
    line.core.join(ROOM, None, line.now)  # it may be tried again


def test_a_room_refused_within_connect_is_named_in_the_details(line: Line) -> None:
    line.core.join("order-1", 0, line.now)
    line.core.join("order-2", 0, line.now)
    connect = line.open()
    line.connected(connect)
    line.events()
    line.error(connect["id"], "not_found", details={"room": "order-2"})
    [ended] = line.got(RoomEnded)
    assert ended.room == "order-2"
    assert line.sent() == []


def test_a_room_refused_within_connect_and_not_named_is_found_by_asking_for_each(line: Line) -> None:
    line.core.join("order-1", 0, line.now)
    line.core.join("order-2", 0, line.now)
    connect = line.open()
    line.connected(connect)
    line.joined(room="order-1")
    line.error(connect["id"], "not_found")
    [join] = line.sent()
    assert join["room"] == "order-2"


def test_a_hole_is_fetched_before_anything_later_is_delivered(line: Line) -> None:
    room = line.in_room(1, 2)
    line.receive(type="entry", room=ROOM, entry=wire_entry(5))
    assert taken(line, room) == [1, 2]
    [fetch] = line.sent()
    assert (fetch["type"], fetch["after"], fetch["limit"]) == ("history", 2, 5)
    line.receive(type="entry", room=ROOM, entry=wire_entry(6))
    assert line.sent() == []  # one fetch at a time
    page = [wire_entry(3), wire_entry(4), wire_entry(5)]
    line.receive(type="history", id=fetch["id"], room=ROOM, entries=page, more=True)
    assert taken(line, room) == [3, 4, 5, 6]
    assert line.sent() == []


def test_what_a_resume_leaves_out_is_fetched_page_by_page(line: Line) -> None:
    room = line.core.join(ROOM, 0, line.now)
    line.up()
    line.joined(1, 2, head=9)
    seqs = []
    for first in (3, 8):
        [fetch] = line.sent()
        page = [wire_entry(seq) for seq in range(first, min(first + 5, 10))]
        line.receive(type="history", id=fetch["id"], room=ROOM, entries=page, more=first == 3)
        seqs += taken(line, room)
    assert seqs == list(range(1, 10))
    assert line.sent() == []


def test_a_page_that_brings_nothing_is_asked_for_again_but_not_at_once(line: Line) -> None:
    line.in_room(1)
    line.receive(type="entry", room=ROOM, entry=wire_entry(3))
    for pause in (0.5, 1):
        [fetch] = line.sent()
        line.receive(type="history", id=fetch["id"], room=ROOM, entries=[], more=False)
        assert line.sent() == []
        assert line.core.wakes_at(line.now) == line.now + pause
        line.tick(pause)


def test_a_fetch_that_is_limited_is_tried_again_and_one_that_is_refused_ends_the_room(line: Line) -> None:
    line.in_room(1)
    line.receive(type="entry", room=ROOM, entry=wire_entry(3))
    [fetch] = line.sent()
    line.error(fetch["id"], "rate_limited", temporary=True, retry_after_ms=100)
    line.tick(0.1)
    [again] = line.sent()
    line.error(again["id"], "forbidden")
    [ended] = line.got(RoomEnded)
    assert ended.error.code is ErrorCode.FORBIDDEN


def test_resync_joins_again_where_the_feed_stopped(line: Line) -> None:
    room = line.in_room(1, 2)
    line.receive(type="resync", room=ROOM, head=9)
    [join] = line.sent()
    assert (join["type"], join["after"]) == ("join", 2)
    line.joined(3, 4, command_id=join["id"])
    assert taken(line, room) == [1, 2, 3, 4]
    line.receive(type="resync", room="order-other", head=9)
    assert line.sent() == []


def test_a_slow_reader_gets_the_rest_by_history_when_it_reads_again() -> None:
    line = Line(capacity=4)
    room = line.in_room()
    for seq in range(1, 21):
        line.receive(type="entry", room=ROOM, entry=wire_entry(seq))
    assert line.sent() == []
    assert taken(line, room) == [1, 2, 3, 4, 5, 6, 7, 8]
    [fetch] = line.sent()
    assert fetch["after"] == 8  # asked for as soon as half of the buffer was free


def test_history_of_the_application_does_not_move_the_feed(line: Line) -> None:
    room = line.in_room(1)
    line.core.submit(History(type="history", id="h1", room=ROOM, before=1, limit=5), line.now)
    [asked] = line.sent()
    line.lose()
    line.up()
    line.joined()
    assert line.sent() == [asked]
    line.receive(type="history", id="h1", room=ROOM, entries=[wire_entry(1)], more=False)
    [answered] = line.got(Answered)
    assert [entry.seq for entry in answered.answer.entries] == [1]
    assert taken(line, room) == [1]


def test_leaving_fails_what_is_pending_and_ignores_what_still_comes(line: Line) -> None:
    line.in_room()
    line.send("hello", "c1")
    line.sent()
    leave_id = line.core.leave(ROOM, line.now)
    [leave] = line.sent()
    assert leave["type"] == "leave"
    line.receive(type="entry", room=ROOM, entry=wire_entry(1))
    line.receive(type="typing", room=ROOM, user="bob", on=True)
    line.joined(1)
    line.receive(type="ack", id=leave_id)
    events = line.events()
    assert [event.room for event in events if isinstance(event, RoomEnded)] == [ROOM]
    answers = {event.id: event.answer for event in events if isinstance(event, Answered)}
    assert isinstance(answers["c1"], ClientClosed)
    assert not isinstance(answers[leave_id], ChatError)
    assert not [event for event in events if isinstance(event, Observed)]


def test_leaving_without_a_connection_is_done_at_once_or_with_its_loss(line: Line) -> None:
    line.core.join(ROOM, 0, line.now)
    leave_id = line.core.leave(ROOM, line.now)
    assert leave_id in [event.id for event in line.got(Answered)]
    line.in_room()
    leave_id = line.core.leave(ROOM, line.now)
    line.core.closed(1006, "lost", line.now)
    assert leave_id in [event.id for event in line.got(Answered)]
    assert line.open()["rooms"] == []


def test_the_answer_to_an_earlier_join_is_not_taken_for_the_later_one(line: Line) -> None:
    line.up()
    line.core.join(ROOM, 0, line.now)
    line.core.leave(ROOM, line.now)
    room = line.core.join(ROOM, 5, line.now)
    early, _, late = line.sent()
    line.joined(1, 2, command_id=early["id"])
    assert not room.joined
    line.joined(6, command_id=late["id"])
    assert taken(line, room) == [6]


# The rest


def test_typing_is_said_now_or_not_at_all(line: Line) -> None:
    room = line.in_room()
    line.core.typing(room, True)
    assert [frame["type"] for frame in line.sent()] == ["typing"]
    line.lose()
    line.core.typing(room, True)
    assert line.sent() == []


def test_receipts_are_gathered_move_forward_and_are_told_again_after_a_loss(line: Line) -> None:
    room = line.in_room()
    line.core.receipt(room, 3, 2, line.now)
    line.core.receipt(room, 4, 4, line.now)
    line.core.receipt(room, 1, 1, line.now)
    assert line.sent() == [{"type": "receipt", "room": ROOM, "delivered": 3, "read": 2}]
    assert line.core.wakes_at(line.now) == line.now + 0.5
    line.tick(0.5)
    assert line.sent() == [{"type": "receipt", "room": ROOM, "delivered": 4, "read": 4}]
    line.lose()
    line.up()
    line.joined()
    line.tick(0.5)
    assert line.sent() == [{"type": "receipt", "room": ROOM, "delivered": 4, "read": 4}]


def test_a_ping_tells_how_long_it_took(line: Line) -> None:
    line.up()
    line.core.submit(Ping(type="ping", id="p1"), line.now)
    assert [frame["type"] for frame in line.sent()] == ["ping"]
    line.now += 0.25
    line.receive(type="pong", id="p1", server_time=AT)
    [answered] = line.got(Answered)
    assert answered.took_s == 0.25


def test_presence_typing_and_receipts_are_passed_on(line: Line) -> None:
    line.in_room()
    line.receive(type="presence", room=ROOM, user="bob", role="seller", state="online")
    line.receive(type="typing", room=ROOM, user="bob", on=True)
    line.receive(type="receipt", room=ROOM, user="bob", delivered=3, read=2)
    line.receive(type="receipt", room="order-other", user="bob", delivered=3, read=2)
    assert [event.frame.type for event in line.got(Observed)] == ["presence", "typing", "receipt"]


def test_errors_about_nothing_in_particular_change_nothing(line: Line) -> None:
    line.in_room()
    line.error(None, "rate_limited", temporary=True)
    line.error("unknown", "bad_request")
    assert line.events() == []
    assert line.core.link is Link.UP


@pytest.mark.parametrize(
    "text",
    [
        b'{"type": "hologram", "room": "order-1"}',
        b'{"type": "entry", "room": "order-1", "entry": {"seq": 0}}',
        b"[]",
        b"not json",
    ],
)
def test_frames_that_cannot_be_used_are_passed_over(text: bytes) -> None:
    assert decode(text) is None


def test_kinds_and_roles_of_a_newer_server_are_delivered(line: Line) -> None:
    room = line.in_room()
    strange = wire_entry(1) | {"kind": "poll.opened", "author": {"id": "x", "role": "judge", "name": "X"}, "body": {}}
    line.receive(type="entry", room=ROOM, entry=strange)
    entry = line.core.take(room, line.now)
    assert entry is not None
    assert (entry.kind, entry.author.role, entry.text) == ("poll.opened", "judge", "")


# Any sequence of faults


class Peer:
    """A right server at the far end of a bad line: a log, idempotent writes, and what is on its way."""

    def __init__(self) -> None:
        self.log: list[str | None] = []
        """Command ids by seq - 1; None for what others wrote."""
        self.down: deque[dict[str, Any]] = deque()
        self.live = False

    def append(self, command_id: str | None) -> int:
        self.log.append(command_id)
        if self.live:
            self.down.append({"type": "entry", "room": ROOM, "entry": wire_entry(len(self.log), command_id)})
        return len(self.log)

    def joined(self, after: int, command_id: str | None) -> None:
        self.live = True
        entries = [wire_entry(seq) for seq in range(after + 1, min(after + 3, len(self.log)) + 1)]
        self.down.append(
            {
                "type": "joined",
                "id": command_id,
                "room": ROOM,
                "kind": "order",
                "head": len(self.log),
                "members": [],
                "you": {"role": "buyer"},
                "entries": entries,
                "more": after + len(entries) < len(self.log),
                "cursors": {},
            }
        )

    def handle(self, frame: dict[str, Any], fault: str) -> None:
        match frame["type"]:
            case "connect":
                self.down.append(
                    {
                        "type": "connected",
                        "id": frame["id"],
                        "session": "s",
                        "user": {"id": "ann", "name": "Ann"},
                        "server_time": AT,
                        "heartbeat_s": 25.0,
                        "limits": LIMITS,
                    }
                )
                for room in frame["rooms"]:
                    self.joined(room["after"], None)
            case "receipt":
                pass
            case _ if fault == "temporary":
                self.down.append(
                    {
                        "type": "error",
                        "id": frame["id"],
                        "code": "unavailable",
                        "message": "again",
                        "temporary": True,
                        "retry_after_ms": 100,
                    }
                )
            case "join":
                self.joined(frame["after"], frame["id"])
            case "history":
                seqs = range(frame["after"] + 1, min(frame["after"] + frame["limit"], len(self.log)) + 1)
                entries = [wire_entry(seq) for seq in seqs]
                self.down.append(
                    {"type": "history", "id": frame["id"], "room": ROOM, "entries": entries, "more": False}
                )
            case "message.send":
                duplicate = frame["id"] in self.log
                seq = self.log.index(frame["id"]) + 1 if duplicate else self.append(frame["id"])
                ack = {"type": "ack", "id": frame["id"], "room": ROOM, "seq": seq, "entry_id": "e", "at": AT}
                self.down.append(ack | {"duplicate": duplicate})


class AnyFaults(RuleBasedStateMachine):
    """Whatever is lost, repeated, reordered, refused or cut: entries 1..n once in order, each command acked once."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(capacity=4)
        self.peer = Peer()
        self.up: deque[dict[str, Any]] = deque()
        self.room = self.line.core.join(ROOM, 0, self.line.now)
        self.read: list[int] = []
        self.submitted = 0
        self.acks: list[tuple[str, int]] = []

    @property
    def connected(self) -> bool:
        return self.line.core.link in (Link.OPENING, Link.UP)

    def _settle(self) -> None:
        """What the shell does after each step."""
        self.up.extend(self.line.sent())
        for event in self.line.events():
            if isinstance(event, Answered):
                assert isinstance(event.answer, Acked)
                assert event.answer.seq is not None
                self.acks.append((event.id, event.answer.seq))

    @rule()
    def submit(self) -> None:
        self.submitted += 1
        self.line.send("hello", f"c{self.submitted}")
        self._settle()

    @rule(count=st.integers(1, 6))
    def others_write(self, count: int) -> None:
        for _ in range(count):
            self.peer.append(None)

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.up.clear()
        self.peer.down.clear()
        self.peer.live = False
        self.line.now = max(self.line.now, self.line.core.retry_at)
        self.line.core.opened("token", self.line.now)
        self._settle()

    @precondition(lambda self: self.connected)
    @rule(code=st.sampled_from([None, 1006, 4000, 4002, 4006]))
    def disconnect(self, code: int | None) -> None:
        self.peer.live = False
        self.line.core.closed(code, "lost", self.line.now)
        self.up.clear()
        self._settle()

    @precondition(lambda self: self.connected and self.up)
    @rule(fault=st.sampled_from(["none", "none", "temporary", "lost"]))
    def serve(self, fault: str) -> None:
        frame = self.up.popleft()
        if fault != "lost" or frame["type"] in ("connect", "receipt"):
            self.peer.handle(frame, fault)

    @precondition(lambda self: self.connected and self.peer.down)
    @rule(fault=st.sampled_from(["none", "none", "none", "repeat", "lost", "swap", "resync"]))
    def deliver(self, fault: str) -> None:
        down = self.peer.down
        if fault == "swap" and len(down) > 1 and down[0]["type"] == down[1]["type"] == "entry":
            down[0], down[1] = down[1], down[0]
        frame = down.popleft()
        if fault == "lost" and frame["type"] == "entry":
            return
        if fault == "resync" and self.line.core.link is Link.UP:
            self.line.receive(type="resync", room=ROOM, head=len(self.peer.log))
        for _ in range(2 if fault == "repeat" and frame["type"] != "connected" else 1):
            self.line.receive(**frame)
        self._settle()

    @rule(seconds=st.sampled_from([0.05, 0.6, 5.0, 21.0]))
    def wait(self, seconds: float) -> None:
        if self.connected:
            self.line.tick(seconds)
            if self.line.core.broken is not None:
                self.disconnect(None)
        self._settle()

    @rule(count=st.integers(1, 5))
    def reader(self, count: int) -> None:
        for _ in range(count):
            if (entry := self.line.core.take(self.room, self.line.now)) is not None:
                self.read.append(entry.seq)
        self._settle()

    @invariant()
    def in_order_and_once(self) -> None:
        assert self.read == list(range(1, len(self.read) + 1))
        ids = [command_id for command_id, _ in self.acks]
        assert len(ids) == len(set(ids))
        for command_id, seq in self.acks:
            assert self.peer.log[seq - 1] == command_id

    def teardown(self) -> None:
        """The faults stop: then everything arrives."""
        for _ in range(400):
            if not self.connected:
                self.connect()
            while self.up or self.peer.down:
                if self.up:
                    self.serve("none")
                if self.peer.down:
                    self.deliver("none")
            self.reader(5)
            if len(self.acks) == self.submitted and len(self.read) == len(self.peer.log):
                break
            self.wait(0.6)
        written = [command_id for command_id in self.peer.log if command_id is not None]
        assert written == [f"c{number}" for number in range(1, self.submitted + 1)]
        assert sorted(command_id for command_id, _ in self.acks) == sorted(written)
        assert self.read == list(range(1, len(self.peer.log) + 1))


TestAnyFaults: Callable[..., Any] = AnyFaults.TestCase
AnyFaults.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_online_tells_the_session(line: Line) -> None:
    line.up()
    [online] = line.got(Online)
    assert online.connected.session == "s1"
