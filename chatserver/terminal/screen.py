"""The terminal client for people: entries above, a prompt below, and a line that says how things stand."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_session, in_terminal
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style

from chatserver.client import ChatClient, Offline, Online, Sent
from chatserver.protocol import TypingNow
from chatserver.terminal.case import Misused
from chatserver.terminal.talk import Talk, UnknownCommand, message_in
from chatserver.terminal.text import Fragments, clean, explained
from policies.errors import ChatError
from policies.vocabulary import PresenceState

STYLE: Final = Style.from_dict(
    {
        "time": "#888888",
        "seq": "#888888",
        "past": "#888888",
        "stored": "ansigreen",
        "pending": "ansiyellow",
        "note": "italic #888888",
        "flag": "ansiyellow",
        "answer": "#aaaaaa",
        "problem": "bold ansired",
        "prompt": "bold",
        "role.buyer": "bold ansicyan",
        "role.seller": "bold ansimagenta",
        "role.agent": "bold ansiyellow",
        "role.senior_agent": "bold ansiyellow",
        "role.auditor": "bold ansiblue",
        "role.system": "italic ansigreen",
    }
)
TYPING_EVERY_S: Final = 3.0
"""How often typing is renewed; for others it lapses after 6 s."""
TYPING_LAPSE_S: Final = 6.0
LAST_WORDS_S: Final = 5.0
"""How long the end waits for what is not acknowledged yet."""


class Screen:
    """What is printed above the prompt. It is a ``Display``; printing happens in batches, because each one takes the
    prompt away and draws it again."""

    def __init__(self) -> None:
        self._waiting: list[Fragments] = []
        self._changed = asyncio.Event()

    def show(self, fragments: Fragments) -> None:
        self._waiting.append(fragments)
        self._changed.set()

    def note(self, text: str) -> None:
        self.show([("class:note", f"-- {clean(text)}")])

    def problem(self, text: str) -> None:
        self.show([("class:problem", f"!! {clean(text)}")])

    async def print_all(self) -> None:
        """Print for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            async with in_terminal():
                self.print_now()

    def print_now(self) -> None:
        output = get_app_session().output
        for fragments in self._waiting:
            print_formatted_text(output, FormattedText([*fragments, ("", "\n")]), STYLE)
        self._waiting.clear()
        output.flush()


class Pending:
    """A message that is on its way: shown above the prompt until it has come back as an entry."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sent: Sent | None = None


class Prompt:
    """A talk whose input is a person's.

    Args:
        clock: seconds of a monotonic clock.
    """

    def __init__(self, client: ChatClient, talk: Talk, screen: Screen, clock: Callable[[], float]) -> None:
        self._client = client
        self._talk = talk
        self._screen = screen
        self._clock = clock
        self._pending: list[Pending] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._typists: dict[str, float] = {}
        """Who types, and when that lapses."""
        self._told_typing_at: float | None = None
        self._connection = "connected"
        self._session: PromptSession[str] = PromptSession(
            self._message,
            bottom_toolbar=self._toolbar,
            style=STYLE,
            erase_when_done=True,
            refresh_interval=1.0,  # typing notices lapse
        )
        self._session.default_buffer.on_text_changed += lambda buffer: self._typed(buffer.text)

    async def run(self) -> int:
        """Talk until the person ends it; the exit code."""
        printing = asyncio.create_task(self._screen.print_all())
        watching = asyncio.create_task(self._watch())
        showing = asyncio.create_task(self._show())
        asking = asyncio.create_task(self._ask())
        tasks = (printing, watching, showing, asking)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    await task
            return await self._last_words()
        except ChatError as error:
            self._screen.problem(error.message)
            return 1
        finally:
            for task in (*tasks, *self._sending):
                task.cancel()
            await asyncio.gather(*tasks, *self._sending, return_exceptions=True)
            self._screen.print_now()

    async def _ask(self) -> None:
        """Read lines until the person has enough."""
        while True:
            try:
                line = await self._session.prompt_async()
            except (EOFError, KeyboardInterrupt):
                return
            text = message_in(line)
            try:
                if text is None and not await self._talk.command(line):
                    return
            except (ChatError, Misused, UnknownCommand) as error:
                self._screen.problem(explained(error, None))
            if text is not None and text.strip():
                self._send(text)

    def _send(self, text: str) -> None:
        pending = Pending(text)
        self._pending.append(pending)
        self._typed("")
        task = asyncio.create_task(self._deliver(pending))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, pending: Pending) -> None:
        try:
            pending.sent = await self._talk.room.send(pending.text)
        except ChatError as error:
            self._pending.remove(pending)
            self._screen.problem(f"not sent: {pending.text[:60]!r}: {error.message}")
        else:
            self._talk.show_notice(pending.sent)
        self._settle()

    async def _show(self) -> None:
        async for entry in self._talk.room.entries():
            self._talk.show_entry(entry)
            self._talk.room.receipt(read=entry.seq)
            self._typists.pop(entry.author.id, None)
            self._settle()

    def _settle(self) -> None:
        """Take away what is acknowledged and shown."""
        position = self._talk.room.position
        self._pending = [one for one in self._pending if one.sent is None or one.sent.seq > position]
        self._session.app.invalidate()

    async def _watch(self) -> None:
        first = True
        async for event in self._client.events():
            self._talk.tell(event, first=first)
            match event:
                case Online():
                    first, self._connection = False, "connected"
                case Offline():
                    self._connection = "reconnecting"
                    self._typists.clear()
                case TypingNow() if event.on:
                    self._typists[event.user] = self._clock() + TYPING_LAPSE_S
                case TypingNow():
                    self._typists.pop(event.user, None)
            self._session.app.invalidate()

    async def _last_words(self) -> int:
        """Wait, within a bound, for what is not acknowledged yet."""
        if not self._sending:
            return 0
        self._screen.note(f"waiting for {len(self._sending)} message(s) to be acknowledged")
        self._screen.print_now()
        await asyncio.wait(self._sending, timeout=LAST_WORDS_S)
        for pending in self._pending:
            if pending.sent is None:
                self._screen.problem(f"not acknowledged: {pending.text[:60]!r}")
        return 1 if any(one.sent is None for one in self._pending) else 0

    def _typed(self, text: str) -> None:
        """Tell the others, now and then, that something is being written."""
        writing = bool(text) and not text.startswith("/")
        now = self._clock()
        if writing and (self._told_typing_at is None or now >= self._told_typing_at + TYPING_EVERY_S):
            self._told_typing_at = now
        elif not writing and self._told_typing_at is not None:
            self._told_typing_at = None
        else:
            return
        try:
            self._talk.room.typing(writing)
        except ChatError:
            return  # the room has ended; whoever reads its entries says so

    def _message(self) -> FormattedText:
        lines = [("class:pending", f"  {_state(one)} {clean(one.text)}\n") for one in self._pending]
        return FormattedText([*lines, ("class:prompt", "> ")])

    def _toolbar(self) -> FormattedText:
        parts = [clean(self._talk.room.id), self._connection, *self._present(), *self._writing()]
        return FormattedText([("", "  ".join(parts))])

    def _present(self) -> Iterator[str]:
        for member in self._talk.room.members.values():
            if member.user != self._client.user.id and member.state is not PresenceState.OFFLINE:
                yield f"{clean(member.name)} is {member.state}"

    def _writing(self) -> Iterable[str]:
        now = self._clock()
        names = [self._name(user) for user, lapses_at in self._typists.items() if lapses_at > now]
        return [f"{', '.join(names)} typing\u2026"] if names else []

    def _name(self, user: str) -> str:
        member = self._talk.room.members.get(user)
        return clean(member.name if member is not None else user)


def _state(pending: Pending) -> str:
    return "sending:" if pending.sent is None else "stored:"
