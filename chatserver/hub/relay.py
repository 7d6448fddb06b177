"""Passing a room's messages to the process that writes it.

Two processes that append to one room race for every seq, and each lost race costs a round trip. So the processes
agree on one preferred writer for each partition of the rooms (how many of them are one, ``workload`` says), and the
others pass their messages to it. This is an optimisation and no more: order and uniqueness come from the log. Whoever
gets no answer in time writes itself, under the same command id, and the log tells which of the two came first. A writer
that is so far behind lets go of what has waited for so long: it would only write it a second time.

The answer to a passed message is the published entry itself, which every process that serves the room gets anyway;
only refusals and duplicates are answered directly.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from chatserver.hub.mailbag import Mailbag
from chatserver.hub.publication import Publication
from chatserver.hub.writer import Submission, Written, first_written, message_body
from chatserver.metrics import Metrics
from policies.errors import ChatError, Unavailable, error_class
from policies.flag import CauseKind, Flag, Mark
from policies.screening import Screening
from policies.vocabulary import CommandId, Role, RoomId, Seq, UserId, Visibility
from storage.documents import decode_causes, encode_causes

PENDING_MAX: Final = 20_000
"""Messages that may wait for other processes; beyond it this process writes for itself."""

PAUSE_S: Final = 5.0
"""Who did not answer in time is passed nothing for so long: a process that is behind does not catch up while it gets
what its sender writes in the end itself, and both of them race for every place."""

_Key = tuple[str, str, str]


_ADDRESSED: Final = "hub:"


def hub_channel(hub_id: str) -> str:
    """The bus channel on which one process is addressed."""
    return f"{_ADDRESSED}{hub_id}"


def hub_of(channel: str) -> str | None:
    """The process that a bus channel addresses; None when it is for several."""
    return channel.removeprefix(_ADDRESSED) if channel.startswith(_ADDRESSED) else None


def submitted_by(message: dict[str, Any]) -> Iterator[UserId]:
    """The authors of the messages that another process passes to this one."""
    return (UserId(author) for _, author, *_ in message.get("submit", ()))


class Relay:
    """Messages passed to other processes and not answered yet, and those taken in for others.

    Args:
        timeout_s: how long another process may take.
        mailbag: takes what goes to other processes.
        write_here: appends from this process.
    """

    def __init__(
        self,
        timeout_s: float,
        mailbag: Mailbag,
        write_here: Callable[[Submission], None],
        metrics: Metrics,
    ) -> None:
        self._timeout_s = timeout_s
        self._mailbag = mailbag
        self._write_here = write_here
        self._metrics = metrics
        self._pending: dict[_Key, list[Submission]] = {}
        self._deadlines: deque[tuple[float, _Key, str]] = deque()
        self._paused: dict[str, float] = {}  # until when, by process

    @property
    def pending(self) -> int:
        return len(self._pending)

    def forward(self, writer: str, submission: Submission, now: float) -> None:
        """Pass a message to another process."""
        key = (submission.room, submission.author_id, submission.command_id)
        waiting = self._pending.get(key)
        if waiting is not None and same_command(waiting[0], submission):  # over two connections
            waiting.append(submission)
            return
        if waiting is not None or len(self._pending) >= PENDING_MAX or self._is_paused(writer, now):
            self._write_here(submission)
            return
        self._pending[key] = [submission]
        self._deadlines.append((now + self._timeout_s, key, writer))
        role = submission.token_role
        fields: list[Any] = [*key, submission.author_name, role and role.value, submission.text, submission.reply_to]
        if submission.evidence:  # rare, and what an earlier release would not understand
            fields.append(submission.evidence)
        if submission.screening is not None:
            fields += [[]] * (not submission.evidence) + [encode_screening(submission.screening)]
        self._mailbag.put(hub_channel(writer), "submit", fields)

    def on_published(self, publication: Publication) -> bool:
        """An entry arrived from another process. Returns whether it answers one of ours."""
        key = (publication.room, publication.author_id, publication.command_id)
        waiting = self._pending.get(key)
        if waiting and publication.holds(message_body(waiting[0])):
            del self._pending[key]
            for submission in waiting:
                submission.done(first_written(publication, submission))
            return True
        return False

    def on_message(self, message: dict[str, Any], now: float) -> None:
        """Take what another process sent to this one."""
        origin: str = message["from"]
        for fields in message.get("submit", ()):
            self._write_for(origin, fields, now + self._timeout_s)
        for room, author_id, command_id, answer in message.get("answer", ()):
            waiting = self._pending.pop((room, author_id, command_id), None)
            for submission in waiting or ():
                submission.done(_read_answer(answer))

    def expire(self, now: float) -> None:
        """Write here what the others have not answered in time."""
        for writer in self._give_up(now):
            self._paused[writer] = now + PAUSE_S

    def unheard(self, writer: str, now: float) -> None:
        """A process was passed something and did not even listen: it is gone, or cut off. What it has not answered yet
        is written here at once."""
        waited = [(key, to) for _, key, to in self._deadlines if to == writer]
        self._deadlines = deque(each for each in self._deadlines if each[2] != writer)
        self._paused[writer] = now + PAUSE_S
        self._write_all_here(waited)

    def abandon(self) -> None:
        """The bus is down: nobody will answer."""
        self._give_up(float("inf"))

    def _give_up(self, now: float) -> set[str]:
        """Write here what should have been answered by now. Returns who has not answered."""
        late: list[tuple[_Key, str]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            late.append(self._deadlines.popleft()[1:])
        return self._write_all_here(late)

    def _write_all_here(self, passed: Iterable[tuple[_Key, str]]) -> set[str]:
        """Write what was not answered of what was passed. Returns by whom."""
        silent: set[str] = set()
        for key, writer in passed:
            for submission in self._pending.pop(key, ()):
                silent.add(writer)
                self._metrics.forward_timeouts.inc()
                self._write_here(_retried(submission))
        return silent

    def _is_paused(self, writer: str, now: float) -> bool:
        if not self._paused:
            return False
        if self._paused.get(writer, now) <= now:
            self._paused.pop(writer, None)
            return False
        return True

    def _write_for(self, origin: str, fields: list[Any], given_up_at: float) -> None:
        room, author_id, command_id, name, role, text, reply_to, *more = fields

        def answer(outcome: Written | ChatError) -> None:
            if not isinstance(outcome, Written) or outcome.duplicate:
                self._mailbag.put(hub_channel(origin), "answer", [room, author_id, command_id, _write_answer(outcome)])

        self._write_here(
            Submission(
                room=RoomId(room),
                author_id=UserId(author_id),
                author_name=name,
                token_role=Role(role) if role else None,
                command_id=CommandId(command_id),
                text=text,
                reply_to=None if reply_to is None else Seq(reply_to),
                done=answer,
                evidence=tuple(more[0]) if more else (),
                screening=decode_screening(more[1]) if len(more) > 1 else None,
                given_up_at=given_up_at,
            )
        )


def same_command(one: Submission, other: Submission) -> bool:
    """Whether two submissions under the same id say the same."""
    return message_body(one) == message_body(other)


def _retried(submission: Submission) -> Submission:
    """The same message, written by this process: should the other one have written it after all, that is the first
    time this command was accepted and no duplicate."""
    done = submission.done

    def first_time(outcome: Written | ChatError) -> None:
        if isinstance(outcome, Written):
            outcome = outcome._replace(duplicate=False)
        done(outcome)

    submission.done = first_time
    return submission


def encode_screening(screening: Screening) -> list[Any]:
    """A screening as plain data, for another process."""
    flag = screening.flag
    return [
        flag.mark.value,
        flag.confidence,
        encode_causes(flag.causes),
        screening.visibility.value,
        dict(screening.shown),
        dict(screening.whole),
        sorted(screening.reminded),
    ]


def decode_screening(fields: list[Any]) -> Screening:
    mark, confidence, causes, visibility, shown, whole, reminded = fields
    flag = Flag(Mark(mark), confidence, decode_causes(causes))
    return Screening(flag, Visibility(visibility), shown, whole, frozenset(map(CauseKind, reminded)))


def _write_answer(outcome: Written | ChatError) -> dict[str, Any]:
    if isinstance(outcome, Written):
        return {"seq": outcome.seq, "entry_id": outcome.entry_id, "at": outcome.at, "notice": outcome.notice}
    return {
        "code": outcome.code.value,
        "message": outcome.message,
        "details": outcome.details,
        "retry_after_ms": outcome.retry_after_ms,
    }


def _read_answer(answer: dict[str, Any]) -> Written | ChatError:
    if "seq" in answer:
        notice = answer.get("notice")
        return Written(answer["seq"], answer["entry_id"], answer["at"], True, notice and tuple(notice))
    error = error_class(answer["code"]) or Unavailable
    return error(answer["message"], details=answer["details"], retry_after_ms=answer["retry_after_ms"])
