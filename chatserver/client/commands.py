"""The application's commands that are not answered yet."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from chatserver.client.attempt import Attempt
from chatserver.client.frames import encode
from chatserver.protocol import (
    DisputeCommand,
    History,
    Leave,
    Limits,
    MessageRedact,
    MessageRelease,
    MessageSend,
    Ping,
    TokenRefresh,
)
from policies.errors import BadRequest, ChatError, Conflict, TooLarge

Write = MessageSend | MessageRelease | MessageRedact | DisputeCommand
"""Commands that write an entry to a room."""
Submittable = Write | History | Ping | Leave | TokenRefresh
"""Commands that an application submits and gets an answer to."""


@dataclass(slots=True, kw_only=True, eq=False)
class Pending(Attempt):
    """A command, and its text ready for the wire."""

    command: Submittable
    payload: bytes

    @property
    def room(self) -> str | None:
        """The room that must be joined before it can be sent."""
        return self.command.room if isinstance(self.command, Write | History) else None


class Commands:
    """Pending commands by id. Writes stand in one lane per room, of which only the first is sent; the rest are free."""

    def __init__(self) -> None:
        self._all: dict[str, Pending] = {}
        self._free: dict[str, Pending] = {}
        self._lanes: dict[str, deque[Pending]] = {}

    def add(self, command: Submittable, limits: Limits | None, now: float) -> None:
        """Take a command. Adding one that is pending changes nothing.

        Raises:
            Conflict: another command with this id is pending.
            BadRequest, TooLarge: the server is known not to accept it.
        """
        command_id = command.id or ""
        if (same := self._all.get(command_id)) is not None:
            if same.command != command:
                raise Conflict("Another command with this id is under way.")
            return
        pending = Pending(id=command_id, due=now, command=command, payload=encode(command))
        if (problem := unfit(pending, limits)) is not None:
            raise problem
        self._all[command_id] = pending
        if isinstance(command, Write):
            self._lanes.setdefault(command.room, deque()).append(pending)
        else:
            self._free[command_id] = pending

    def get(self, command_id: str) -> Pending | None:
        return self._all.get(command_id)

    def remove(self, command_id: str) -> Pending | None:
        """Forget a command; None when there is none of this id."""
        pending = self._all.pop(command_id, None)
        if pending is not None and self._free.pop(command_id, None) is None:
            assert pending.room is not None
            lane = self._lanes[pending.room]
            lane.remove(pending)
            if not lane:
                del self._lanes[pending.room]
        return pending

    def __iter__(self) -> Iterator[Pending]:
        """Every pending command; the caller may remove any while iterating."""
        return iter(list(self._all.values()))

    def foremost(self) -> Iterator[Pending]:
        """Those that may be under way: the first of each lane, and the free ones. They may be removed meanwhile."""
        yield from [lane[0] for lane in self._lanes.values()]
        yield from list(self._free.values())


def unfit(pending: Pending, limits: Limits | None) -> ChatError | None:
    """Why the server is known not to accept a command. Over some of these it would close the connection."""
    command = pending.command
    if isinstance(command, MessageSend) and not command.text:
        return BadRequest("The text is empty.")
    if limits is None:
        return None
    if isinstance(command, MessageSend) and len(command.text) > limits.message_chars:
        details = {"limit": limits.message_chars, "length": len(command.text)}
        return TooLarge(f"The text is longer than {limits.message_chars} characters.", details=details)
    if isinstance(command, History) and not 1 <= command.limit <= limits.history_page:
        return BadRequest(f"The limit is not within 1 and {limits.history_page}.")
    if len(pending.payload) > limits.frame_bytes:
        details = {"limit": limits.frame_bytes, "length": len(pending.payload)}
        return TooLarge(f"The command takes more than {limits.frame_bytes} bytes.", details=details)
    return None
