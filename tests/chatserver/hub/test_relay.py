"""Passing messages to the process that writes their room."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from chatserver.hub.mailbag import Mailbag
from chatserver.hub.publication import Publication
from chatserver.hub.relay import Relay, hub_channel, submitted_by
from chatserver.hub.writer import Submission, Written
from chatserver.metrics import Metrics
from policies.entry import Author, Draft
from policies.errors import ChatError, Conflict, NotFound, RateLimited
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.screening import Screening, for_author
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, Seq, UserId, Visibility
from storage.chain import genesis, link

ROOM = RoomId("order-1")
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class Process:
    """A hub's relay, what it sent, and what it was given to write."""

    def __init__(self, hub_id: str) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.written_here: list[Submission] = []
        self._soon: list[Callable[[], None]] = []
        mailbag = Mailbag(hub_id, self._publish, self._soon.append)
        self.relay = Relay(1.0, mailbag, self.written_here.append, Metrics(CollectorRegistry()))

    def _publish(self, channel: str, payload: bytes) -> None:
        self.sent.append((channel, orjson.loads(payload)))

    def end_turn(self) -> list[tuple[str, dict[str, Any]]]:
        soon, self._soon[:] = list(self._soon), []
        for call in soon:
            call()
        sent, self.sent = self.sent, []
        return sent


def submission(answers: list[Written | ChatError], text: str = "hello", command_id: str = "c1") -> Submission:
    reply_to = Seq(3) if text == "reply" else None
    return Submission(ROOM, UserId("bea"), "Bea", None, CommandId(command_id), text, reply_to, answers.append)


def published(text: str = "hello", command_id: str = "c1", more: Mapping[str, Any] | None = None) -> Publication:
    author = Author(UserId("bea"), Role.BUYER, "Bea")
    draft = Draft(author, CommandId(command_id), EntryKind.MESSAGE, {"text": text, **(more or {})})
    (entry,) = link(ROOM, genesis(ROOM), [draft], NOW, lambda: bytes(16))
    return Publication.of(entry)


@pytest.fixture
def ours() -> Process:
    return Process("ours")


@pytest.fixture
def writer() -> Process:
    return Process("writer")


def test_the_published_entry_is_the_answer(ours: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers), 0.0)
    ((channel, message),) = ours.end_turn()
    assert channel == hub_channel("writer")
    assert message["from"] == "ours"
    assert ours.relay.pending == 1
    entry = published()
    assert ours.relay.on_published(entry)
    assert answers == [Written(1, entry.entry_id, "2026-01-31T09:30:00.000Z", duplicate=False)]
    assert ours.relay.pending == 0


def test_who_wrote_what_is_passed_can_be_told_from_it(ours: Process) -> None:
    ours.relay.forward("writer", submission([]), 0.0)
    ours.relay.forward("writer", submission([], command_id="c2"), 0.0)
    ((_, message),) = ours.end_turn()
    assert list(submitted_by(message)) == ["bea", "bea"]
    assert list(submitted_by({"from": "ours", "answer": []})) == []


def test_messages_of_one_turn_travel_together(ours: Process, writer: Process) -> None:
    for number in range(3):
        ours.relay.forward("writer", submission([], command_id=f"c{number}"), 0.0)
    ((_, message),) = ours.end_turn()
    writer.relay.on_message(message, 20.0)
    assert [one.command_id for one in writer.written_here] == ["c0", "c1", "c2"]


def test_a_message_arrives_as_it_was_sent(ours: Process, writer: Process) -> None:
    sent = submission([], "reply")
    sent.token_role = Role.AGENT
    ours.relay.forward("writer", sent, 0.0)
    writer.relay.on_message(ours.end_turn()[0][1], 20.0)
    (got,) = writer.written_here
    assert (got.room, got.author_id, got.author_name, got.token_role) == (ROOM, "bea", "Bea", Role.AGENT)
    assert (got.command_id, got.text, got.reply_to) == ("c1", "reply", 3)
    assert got.given_up_at == 21.0, "by then its process writes it itself"


def test_success_is_not_answered_but_a_duplicate_is(ours: Process, writer: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers), 0.0)
    writer.relay.on_message(ours.end_turn()[0][1], 20.0)
    writer.written_here[0].done(Written(1, "id", "at", duplicate=False))
    assert writer.end_turn() == []
    writer.written_here[0].done(Written(1, "id", "at", duplicate=True))
    ((channel, message),) = writer.end_turn()
    assert channel == hub_channel("ours")
    ours.relay.on_message(message, 20.0)
    assert answers == [Written(1, "id", "at", duplicate=True)]


@pytest.mark.parametrize(
    "refusal",
    [NotFound("No such room."), Conflict("used", details={"seq": 4}), RateLimited("slow", retry_after_ms=250)],
    ids=lambda refusal: refusal.code.value,
)
def test_a_refusal_comes_back_as_it_was(ours: Process, writer: Process, refusal: ChatError) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers), 0.0)
    writer.relay.on_message(ours.end_turn()[0][1], 20.0)
    writer.written_here[0].done(refusal)
    ours.relay.on_message(writer.end_turn()[0][1], 20.0)
    (answer,) = answers
    assert isinstance(answer, type(refusal))
    assert (answer.message, answer.details, answer.retry_after_ms) == (
        refusal.message,
        refusal.details,
        refusal.retry_after_ms,
    )


def test_without_an_answer_in_time_this_process_writes_itself(ours: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers), 10.0)
    ours.relay.expire(10.9)
    assert ours.written_here == []
    ours.relay.expire(11.0)
    (again,) = ours.written_here
    # The other process may have written it after all: to the client it is the first time all the same.
    again.done(Written(1, "id", "at", duplicate=True))
    assert answers == [Written(1, "id", "at", duplicate=False)]
    ours.relay.on_published(published())
    assert len(answers) == 1


def test_who_did_not_answer_is_passed_nothing_for_a_while(ours: Process) -> None:
    ours.relay.forward("writer", submission([], command_id="c1"), 10.0)
    ours.relay.forward("another", submission([], command_id="c2"), 10.5)
    ours.relay.expire(11.0)
    ours.end_turn()
    for number, (writer, now) in enumerate([("writer", 11.0), ("another", 11.1), ("writer", 15.9), ("writer", 16.0)]):
        ours.relay.forward(writer, submission([], command_id=f"n{number}"), now)
    assert [one.command_id for one in ours.written_here] == ["c1", "n0", "n2"]
    passed = [(channel, fields[2]) for channel, message in ours.end_turn() for fields in message["submit"]]
    assert passed == [(hub_channel("another"), "n1"), (hub_channel("writer"), "n3")]


def test_what_nobody_listened_to_is_written_here_at_once(ours: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers, command_id="c1"), 10.0)
    ours.relay.forward("another", submission([], command_id="c2"), 10.0)
    ours.relay.unheard("writer", 10.1)
    (again,) = ours.written_here
    again.done(Written(1, "id", "at", duplicate=False))
    assert answers == [Written(1, "id", "at", duplicate=False)]
    ours.relay.forward("writer", submission([], command_id="c3"), 10.2)
    ours.relay.expire(11.0)
    assert [one.command_id for one in ours.written_here] == ["c1", "c3", "c2"]


def test_when_the_bus_is_down_nobody_is_waited_for(ours: Process) -> None:
    for number in range(2):
        ours.relay.forward("writer", submission([], command_id=f"c{number}"), 0.0)
    ours.relay.abandon()
    assert [one.command_id for one in ours.written_here] == ["c0", "c1"]
    assert ours.relay.pending == 0
    ours.relay.forward("writer", submission([], command_id="c2"), 1.0)
    assert ours.relay.pending == 1, "that was no fault of the writer's"


def test_the_same_command_over_two_connections_is_passed_once_and_answered_twice(ours: Process) -> None:
    first: list[Written | ChatError] = []
    second: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(first), 0.0)
    ours.relay.forward("writer", submission(second), 0.0)
    ((_, message),) = ours.end_turn()
    assert len(message["submit"]) == 1
    ours.relay.on_published(published())
    assert len(first) == len(second) == 1


def test_the_same_id_with_other_content_is_not_taken_for_a_repetition(ours: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission([]), 0.0)
    ours.relay.forward("writer", submission(answers, "something else"), 0.0)
    (other,) = ours.written_here
    assert other.text == "something else"
    assert answers == []


def test_an_entry_with_other_content_does_not_answer(ours: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers, "something else"), 0.0)
    assert not ours.relay.on_published(published("hello"))
    assert answers == []
    assert ours.relay.pending == 1


def test_what_a_server_of_a_later_version_refuses_is_temporary(ours: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers), 0.0)
    answer: dict[str, Any] = {"code": "teapot", "message": "?", "details": {}, "retry_after_ms": None}
    ours.relay.on_message({"from": "writer", "answer": [[ROOM, "bea", "c1", answer]]}, 20.0)
    assert isinstance(answers[0], ChatError)
    assert answers[0].temporary


FOUND = Screening(
    Flag(Mark.WITHHELD, 90, (Cause(CauseKind.CONTACT, "phone", "text", 0, 5, 90, "phone.number"),)),
    Visibility.WITHHELD,
    {"text": "••••• card"},
    {"text": "hello card"},
    reminded=frozenset({CauseKind.CONDUCT}),
)


@pytest.mark.parametrize("evidence", [(), ("e1",)])
def test_what_was_found_in_a_message_goes_with_it(ours: Process, writer: Process, evidence: tuple[str, ...]) -> None:
    answers: list[Written | ChatError] = []
    found = submission(answers)
    found.screening, found.evidence = FOUND, evidence
    ours.relay.forward("writer", found, 0.0)
    [(_, message)] = ours.end_turn()
    writer.relay.on_message(message, 20.0)
    [passed] = writer.written_here
    assert (passed.screening, passed.evidence) == (FOUND, evidence)
    ours.relay.on_published(published(more={"evidence": list(evidence)} if evidence else {}))
    [answer] = answers
    assert isinstance(answer, Written)
    assert answer.notice == ("withheld", for_author(FOUND.flag))


def test_the_author_of_a_duplicate_is_told_what_became_of_it_again(ours: Process, writer: Process) -> None:
    answers: list[Written | ChatError] = []
    ours.relay.forward("writer", submission(answers), 0.0)
    [(_, message)] = ours.end_turn()
    writer.relay.on_message(message, 20.0)
    writer.written_here[0].done(Written(3, "id", "2026-01-31T09:30:00.000Z", True, ("warned", "Please stay here.")))
    [(_, answer)] = writer.end_turn()
    ours.relay.on_message(answer, 20.0)
    assert answers == [Written(3, "id", "2026-01-31T09:30:00.000Z", True, ("warned", "Please stay here."))]
