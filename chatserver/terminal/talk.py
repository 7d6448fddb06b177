"""A room in a terminal, whatever the terminal is: entries to it, commands from it."""

from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Final, Protocol

from chatserver.client import Changed, ChatClient, Entry, Offline, Online, Postponed, Room, Sent
from chatserver.client.events import ClientEvent
from chatserver.client.frames import Noted
from chatserver.protocol import DisputeNow, Member
from chatserver.terminal.case import CaseCommands
from chatserver.terminal.text import Fragments, clean, entry_fragments, local_time
from policies.vocabulary import PresenceState

HISTORY_SHOWN: Final = 20
HELP: Final = (
    "/history [N]   show the N entries before the earliest one shown (20)",
    "/who           show who is in the room, and who has read what",
    "/quit, /leave  end (or Ctrl-D)",
    "/help          show this",
    "//...          send a text that begins with a slash",
)


class Display(Protocol):
    """Where things are shown."""

    def show(self, fragments: Fragments) -> None:
        """What was asked for: an entry, an answer to a command."""

    def note(self, text: str) -> None:
        """What happened to the connection."""

    def problem(self, text: str) -> None:
        """What went wrong."""


class UnknownCommand(Exception):
    """A line that begins with a slash and is no command."""


class Talk:
    """A joined room and a display.

    Args:
        zone: time zone of the times; None is the machine's.
    """

    def __init__(self, client: ChatClient, room: Room, display: Display, zone: tzinfo | None = None) -> None:
        self.client = client
        self.room = room
        self._display = display
        self._zone = zone
        self._earliest: int | None = None
        self.case = CaseCommands(client, room, zone)
        self._stands: str | None = None

    def show_entry(self, entry: Entry, style: str = "") -> None:
        if self._earliest is None or entry.seq < self._earliest:
            self._earliest = entry.seq
        self._show(entry, style)

    def is_mine(self, entry: Entry) -> bool:
        return entry.command_id is not None and entry.author.id == self.client.user.id

    def show_notice(self, sent: Sent) -> None:
        """Say what became of a text that was sent, if it breaks a rule."""
        if sent.notice is not None:
            self._display.note(f"#{sent.seq}: {clean(sent.notice.message)}")

    def tell(self, event: ClientEvent, *, first: bool) -> None:
        """Say what happened beside the entries: to the connection, to the dispute, to the staff notes.

        Args:
            first: there was no connection before.
        """
        match event:
            case Offline():
                pause = f"{event.retry_in_s:.1f} s"
                self._display.note(f"connection lost ({clean(event.reason)}); trying again in {pause}")
            case Postponed() if event.room == self.room.id:
                pause = f"{event.retry_in_s:.0f} s"
                self._display.note(f"not sent yet: {clean(event.reason)} Trying again in {pause}")
            case Online() if not first:
                self._display.note("connected again")
            case Noted():
                self._display.note(
                    f"note #{event.entry.seq} by {clean(event.entry.author.name)}: {clean(event.entry.text)}"
                )
            case DisputeNow():
                self._tell_dispute()
            case Changed() if event.room == self.room.id:
                self._display.note(f"support has changed #{event.entry.seq}; it is now:")
                self._show(event.entry)

    async def command(self, line: str) -> bool:
        """Carry out a line that begins with a slash; False when it ends the talk.

        Raises:
            UnknownCommand: there is no such command.
            ChatError: the server refused.
        """
        name, _, argument = line[1:].strip().partition(" ")
        match name.lower(), argument.strip():
            case (("quit" | "leave" | "exit" | "q"), ""):
                return False
            case "help", "":
                self._say((*HELP, *self.case.help))
            case "who", "":
                self._say(self._who())
            case "history", count if not count or (count.isdecimal() and int(count) > 0):
                await self._history(int(count or HISTORY_SHOWN))
            case name, argument:
                if (answer := await self.case.run(name, argument)) is None:
                    raise UnknownCommand(f"there is no such command: {clean(line)}; /help shows them")
                self._say(answer)
        return True

    def _show(self, entry: Entry, style: str = "") -> None:
        self._display.show(entry_fragments(entry, mine=self.is_mine(entry), zone=self._zone, style=style))

    def _tell_dispute(self) -> None:
        """Say what the dispute waits for, when that is another thing than before."""
        dispute = self.room.dispute
        stands = None if dispute is None else f"{dispute.stage}, {dispute.status}".replace("_", " ")
        if stands is not None and stands != self._stands:
            self._display.note(f"the dispute: {stands}")
        self._stands = stands

    async def _history(self, count: int) -> None:
        before = self._earliest if self._earliest is not None else self.room.position + 1
        if before <= 1:
            self._display.note("there is nothing earlier")
            return
        limit = min(count, self.client.limits.history_page)
        page = await self.room.history(before=before, limit=limit)
        for entry in page.entries:
            self.show_entry(entry, style="class:past")

    def _who(self) -> Iterable[str]:
        for member in sorted(self.room.members.values(), key=lambda one: (one.role, one.name)):
            cursor = self.room.cursors.get(member.user)
            read = f", has read up to #{cursor.read}" if cursor is not None else ""
            strikes = f", strikes {member.strikes:.1f}" if member.strikes else ""
            yield f"{member.role} {clean(member.name)}: {member.state}{self._last_seen(member)}{read}{strikes}"

    def _last_seen(self, member: Member) -> str:
        at: datetime | None = member.last_seen
        if member.state is PresenceState.ONLINE or at is None:
            return ""
        return f" since {local_time(at, self._zone)}"

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._display.show([("class:answer", line)])


def message_in(line: str) -> str | None:
    """The message that a line of input is; None for a command."""
    if line.startswith("//"):
        return line[1:]
    return None if line.startswith("/") else line
