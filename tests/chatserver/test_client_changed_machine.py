"""Whatever breaks and whenever staff rule: in the end the application shows each entry as it is."""

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chatserver.client.changed_entries import PATIENCE_S
from chatserver.client.core import Link
from chatserver.client.events import Observed
from chatserver.client.frames import Changed
from tests.chatserver.test_client_changed import hidden, ruling
from tests.chatserver.test_client_core import LIMITS, ROOM, Line, wire_entry

PAGE = int(LIMITS["history_page"])


class Server:
    """A room's log, and the frames under way to one client. It sends what the real one would."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.hides: dict[int, bool] = {}
        self.wire: deque[dict[str, Any]] = deque()
        self.connected = False

    def write(self, kind: str, about: int = 0) -> None:
        self.log.append((kind, about))
        seq = len(self.log)
        if about:
            self.hides[about] = kind == "message.redacted"
        if self.connected:
            self.wire.append({"type": "entry", "room": ROOM, "entry": self.entry(seq)})
            if about:
                self.show(about)

    def entry(self, seq: int) -> dict[str, Any]:
        kind, about = self.log[seq - 1]
        if about:
            return ruling(seq, about, kind)
        return hidden(seq) if self.hides.get(seq) else wire_entry(seq)

    def show(self, seq: int) -> None:
        self.wire.append({"type": "entry.changed", "room": ROOM, "entry": self.entry(seq)})

    def page(self, after: int, limit: int) -> list[dict[str, Any]]:
        return [self.entry(seq) for seq in range(after + 1, min(len(self.log), after + limit) + 1)]

    def join(self, after: int) -> None:
        self.connected = True
        entries = self.page(after, PAGE)
        joined = {
            "type": "joined",
            "room": ROOM,
            "kind": "order",
            "members": [],
            "you": {"role": "buyer"},
            "cursors": {},
        }
        more = len(self.log) > after + len(entries)
        self.wire.append({**joined, "head": len(self.log), "entries": entries, "more": more})
        self._catch_up(after, entries)

    def answer(self, frame: dict[str, Any]) -> None:
        entries = self.page(frame["after"], frame["limit"])
        told = {"type": "history", "id": frame["id"], "room": ROOM}
        self.wire.append({**told, "entries": entries, "more": len(self.log) > frame["after"] + len(entries)})
        self._catch_up(frame["after"], entries)

    def _catch_up(self, after: int, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if 0 < (about := self.log[entry["seq"] - 1][1]) <= after:
                self.show(about)


class World:
    """The server, the client, and what the application shows."""

    def __init__(self, capacity: int) -> None:
        self.server = Server()
        self.line = Line(capacity=capacity)
        self.room = self.line.core.join(ROOM, 0, self.line.now)
        self.view: dict[int, str] = {}
        self.taken = 0

    def go(self) -> None:
        """Carry out what the client wants."""
        for event in self.line.events():
            if isinstance(event, Observed) and isinstance(event.frame, Changed):
                self.view[event.frame.entry.seq] = event.frame.entry.text
        for frame in self.line.sent():
            assert frame["type"] == "history"
            self.server.answer(frame)

    def connect(self) -> None:
        if self.line.core.link is Link.DOWN:
            connect = self.line.open()
            self.line.connected(connect)
            self.server.join(connect["rooms"][0]["after"])
            self.go()

    def cut(self) -> None:
        if self.line.core.link is not Link.DOWN:
            self.server.wire.clear()
            self.server.connected = False
            self.line.core.closed(None, "lost", self.line.now)
            self.line.core.outgoing.clear()
            self.go()

    def deliver(self) -> None:
        if self.server.wire:
            self.line.receive(**self.server.wire.popleft())
            self.go()

    def read(self) -> None:
        if (entry := self.line.core.take(self.room, self.line.now)) is not None:
            self.taken += 1
            assert entry.seq == self.taken  # each once, and in order
            self.view[entry.seq] = entry.text
        self.go()

    def settle(self) -> None:
        """Let all arrive, and wait for what does not."""
        self.connect()
        for _ in range(10 * (len(self.server.log) + 1)):
            while self.server.wire:
                self.deliver()
            self.read()
            self.line.tick(PATIENCE_S)
            self.go()


RULINGS = st.tuples(st.sampled_from(["message.redacted", "message.released"]), st.integers(1, 30))
STEPS = st.one_of(st.sampled_from(["say", "deliver", "deliver", "read", "cut", "connect"]), RULINGS)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=60), st.sampled_from([2, 5, 50]), st.integers(0, 8))
def test_the_application_shows_each_entry_as_it_is(steps: list[Any], capacity: int, before: int) -> None:
    world = World(capacity)
    for _ in range(before):
        world.server.write("message")
    world.connect()
    world.deliver()
    for _ in range(before // 2):
        world.read()
    for step in steps:
        if isinstance(step, tuple):
            kind, number = step
            messages = [seq for seq, (_, about) in enumerate(world.server.log, 1) if not about]
            if messages:
                world.server.write(kind, messages[number % len(messages)])
        elif step == "say":
            world.server.write("message")
        else:
            getattr(world, step)()
    world.settle()
    server = world.server
    shown = {seq: "" if about or server.hides.get(seq) else str(seq) for seq, (_, about) in enumerate(server.log, 1)}
    assert world.view == shown
    assert world.line.sent() == []
