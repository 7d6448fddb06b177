"""What the client does about entries that staff have changed while it did not look: nobody goes on showing them."""

from typing import Any

import pytest

from chatserver.client.changed_entries import PATIENCE_S
from chatserver.client.events import Observed
from chatserver.client.joined_room import JoinedRoom
from tests.chatserver.test_client_core import AT, ROOM, Line, taken, wire_entry


def ruling(seq: int, about: Any, kind: str = "message.redacted") -> dict[str, Any]:
    author = {"id": "ada", "role": "agent", "name": "Ada"}
    body = {"seq": about, "side": "buyer", "reason": "an address"}
    return {"seq": seq, "id": f"{seq:032x}", "kind": kind, "author": author, "at": AT, "body": body}


def hidden(seq: int) -> dict[str, Any]:
    return wire_entry(seq) | {"body": {}, "withheld": True}


def opened(line: Line, *entries: dict[str, Any], head: int | None = None) -> None:
    line.receive(
        type="joined",
        room=ROOM,
        kind="order",
        head=head or entries[-1]["seq"],
        members=[],
        you={"role": "buyer"},
        entries=list(entries),
        more=False,
        cursors={},
    )


def page(line: Line, asked: dict[str, Any], *entries: dict[str, Any]) -> None:
    line.receive(type="history", id=asked["id"], room=ROOM, entries=list(entries), more=False)


def changed(line: Line) -> list[tuple[int, str]]:
    return [(event.frame.entry.seq, event.frame.entry.text) for event in line.got(Observed)]


def read(line: Line, room: JoinedRoom) -> list[tuple[int, str]]:
    entries = []
    while (entry := line.core.take(room, line.now)) is not None:
        entries.append((entry.seq, entry.text))
    return entries


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.mark.parametrize("way", ["live", "joined", "history"])
def test_what_the_application_has_is_asked_for_when_nobody_shows_it(line: Line, way: str) -> None:
    room = line.in_room(1, 2)
    assert taken(line, room) == [1, 2]
    if way == "live":
        line.receive(type="entry", room=ROOM, entry=ruling(3, about=1))
    else:
        line.lose()
        line.up()
        if way == "joined":
            opened(line, ruling(3, about=1))
        else:
            opened(line, head=3)
            [asked] = line.sent()
            page(line, asked, ruling(3, about=1))
    line.sent()
    line.tick(PATIENCE_S / 2)
    assert line.sent() == []  # the server shows it by itself, mostly
    assert line.core.wakes_at(line.now) <= line.now + PATIENCE_S / 2
    line.tick(PATIENCE_S / 2)
    [asked] = line.sent()
    assert (asked["type"], asked["after"], asked["limit"]) == ("history", 0, 1)
    page(line, asked, hidden(1))
    assert changed(line) == [(1, "")]
    line.tick(PATIENCE_S * 2)
    assert line.sent() == []
    assert taken(line, room) == [3]  # and nothing of it is read twice


def test_what_the_server_shows_in_time_is_not_asked_for(line: Line) -> None:
    room = line.in_room(1, 2)
    taken(line, room)
    line.receive(type="entry", room=ROOM, entry=ruling(3, about=1))
    line.receive(type="entry.changed", room=ROOM, entry=hidden(1))
    assert changed(line) == [(1, "")]
    line.tick(PATIENCE_S * 2)
    assert line.sent() == []


def test_a_connection_that_breaks_after_the_ruling_loses_no_change(line: Line) -> None:
    """``after`` is behind the ruling by then, so no server can know that its ``entry.changed`` was lost."""
    room = line.in_room(1, 2)
    taken(line, room)
    line.receive(type="entry", room=ROOM, entry=ruling(3, about=2))
    line.lose()
    assert line.open()["rooms"] == [{"room": ROOM, "after": 3}]
    line.tick(PATIENCE_S)
    assert line.sent() == []  # not before the room is joined
    line.lose()
    line.up()
    opened(line, head=3)
    [asked] = line.sent()
    assert asked["after"] == 1
    line.error(asked["id"], "unavailable", temporary=True, retry_after_ms=1000)
    line.tick(1)
    [asked] = line.sent()
    page(line, asked, hidden(2))
    assert changed(line) == [(2, "")]


def test_what_is_not_read_yet_is_fetched_again_and_read_as_it_is(line: Line) -> None:
    room = line.in_room(1, 2, 3)
    assert line.core.take(room, line.now) is not None
    line.receive(type="entry", room=ROOM, entry=ruling(4, about=2))
    [asked] = line.sent()
    assert asked["after"] == 1
    page(line, asked, hidden(2), wire_entry(3), ruling(4, about=2))
    assert line.sent() == []
    assert read(line, room) == [(2, ""), (3, "3"), (4, "")]
    line.tick(PATIENCE_S * 2)
    assert line.sent() == []


def test_what_was_read_with_its_ruling_is_as_it_is(line: Line) -> None:
    room = line.in_room(after=0)
    line.lose()
    line.up()
    opened(line, hidden(1), wire_entry(2), ruling(3, about=1))
    assert read(line, room) == [(1, ""), (2, "2"), (3, "")]
    line.tick(PATIENCE_S * 2)
    assert line.sent() == []


def test_what_the_application_never_had_is_left_alone(line: Line) -> None:
    line.core.join(ROOM, None, line.now)
    line.up()
    opened(line, wire_entry(51), ruling(52, about=7))
    line.tick(PATIENCE_S * 2)
    assert line.sent() == []


@pytest.mark.parametrize("about", [None, "1", 0, -1, 3, 9])
def test_a_ruling_on_nothing_changes_nothing(line: Line, about: Any) -> None:
    room = line.in_room(1, 2)
    line.receive(type="entry", room=ROOM, entry=ruling(3, about))
    line.tick(PATIENCE_S * 2)
    assert line.sent() == []
    assert taken(line, room) == [1, 2, 3]


def test_rulings_without_end_are_each_asked_for_once(line: Line) -> None:
    room = line.in_room(*range(1, 5), after=0)
    taken(line, room)
    for seq in range(5, 9):
        line.receive(type="entry", room=ROOM, entry=ruling(seq, about=seq - 4, kind="message.released"))
    line.tick(PATIENCE_S)
    asked = []
    while sent := line.sent():
        [one] = sent
        asked.append(one["after"] + 1)
        page(line, one, hidden(one["after"] + 1))
    assert asked == [1, 2, 3, 4]
