"""The terminal client: what it shows, its line mode, and its prompt on a real pseudo-terminal."""

import asyncio
import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.client import ConnectTimeout, Entry
from chatserver.instance import Demo, Instance, Links, NoInstance, write
from chatserver.terminal import _talk, run_terminal
from chatserver.terminal.lines import InputLines, LineDisplay
from chatserver.terminal.target import of_instance
from chatserver.terminal.text import CONTINUATION, clean, clean_lines, entry_fragments, plain
from policies.errors import BadRequest, ChatError, NotFound, Unauthenticated, Unavailable
from tests.chatserver.client_peer import AT, ROOM, WAIT_S, Peer, Wire, joined, listening, wire_entry

ZONE = timezone(timedelta(hours=1))


def entry(text: str = "hello", **fields: Any) -> Entry:
    return Entry.model_validate_json(orjson.dumps(wire_entry(12, text, **fields)))


def shown(one: Entry, *, mine: bool = False) -> str:
    return plain(entry_fragments(one, mine=mine, zone=ZONE))


# What is shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, \u00e9, \u4f60\u597d, \U0001f600", "plain, \u00e9, \u4f60\u597d, \U0001f600"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07after", "0;titleafter"),
        ("\x1b]52;c;aGVsbG8=\x1b\\x", "52;c;aGVsbG8=x"),
        ("\x1bc\x1b(Breset", "reset"),
        ("bell\x07 back\x08 del\x7f nul\x00", "bell back del nul"),
        ("over\u202ewrite\u2066n\u2069", "overwriten"),
        ("a\tb", "a   b"),
        ("two\r\nlines\u2028three\x85four", "two lines three four"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
        ("\x1b", ""),
        ("\x1b\x1b[[31mx", "31mx"),
    ],
)
def test_text_is_stripped_of_what_a_terminal_acts_on(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text() | st.text(alphabet="\x1b\x9b[]();0123456789mAHJ\\\x07\x90\x08\r\n\t a"))
def test_no_text_leaves_a_control_character(text: str) -> None:
    for line in clean_lines(text):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)


def test_a_message_is_one_line_with_its_place_and_author() -> None:
    assert shown(entry()) == "2026-01-31 10:30:00 #12 seller Bob: hello"
    assert shown(entry(), mine=True) == "2026-01-31 10:30:00 #12 seller Bob: hello \u2713"


def test_further_lines_cannot_pass_for_entries() -> None:
    fake = "hi\n2026-01-31 10:30:01 #13 agent Ada: refund him"
    _, second = shown(entry(fake)).split("\n")
    assert second == f"{CONTINUATION}2026-01-31 10:30:01 #13 agent Ada: refund him"


def test_other_kinds_replies_and_hidden_content_are_told() -> None:
    assert shown(entry(body={"text": "yes", "reply_to": 3})).endswith(": (to #3) yes")
    later = entry(kind="mood.swung", body={"to": "better", "text": "no\x1b[2Jparcel"})
    assert shown(later).endswith(': [mood.swung] noparcel {"to":"better"}')
    assert shown(entry(body={}, withheld=True)).endswith(": (withheld)")
    assert shown(entry("call me", withheld=True)).endswith(": (withheld from the other side) call me")
    assert shown(entry(body={}, erased=True)).endswith(": (erased)")


MASKED = {"text": "password: \u2022\u2022\u2022", "masked": {"fields": ["text"], "digest": "00ff"}}
CAUSE = {"kind": "contact", "category": "phone", "field": "text", "start": 8, "end": 20, "confidence": 97}
FLAG = {"mark": "withheld", "confidence": 97, "causes": [{**CAUSE, "rule": "phone.international"}], "state": "open"}


def test_what_is_hidden_is_marked_and_told_to_those_who_may_know() -> None:
    whole = {"text": "password: abc"}
    assert shown(entry(body=MASKED)).endswith(": (parts are hidden) password: \u2022\u2022\u2022")
    assert shown(entry(body=MASKED, whole=whole)).endswith(": (parts are hidden) password: \u2022\u2022\u2022")
    assert shown(entry(body=MASKED, whole=whole, withheld=True)).endswith(
        ": (withheld from the other side) password: abc"
    )
    assert shown(entry(body=MASKED, whole=whole, released=True)).endswith(": (released) password: abc")
    assert shown(entry("call me", released=True)).endswith(": (released) call me")


def test_staff_see_the_flag_beneath() -> None:
    assert shown(entry("call me", withheld=True, flag=FLAG), mine=True).splitlines()[1:] == [
        f"{CONTINUATION}flag: withheld, 97 %: phone (97 %, phone.international); open"
    ]
    secret = {"kind": "secret", "category": "password", "field": "note", "rule": "secret.password", "confidence": 100}
    causes = [{**CAUSE, **secret}]
    decided = {"state": "confirmed", "decided_by": "ada\x1b[31m", "decided_at": AT}
    flag = {**FLAG, "mark": "masked", "confidence": 100, "causes": causes, **decided}
    assert shown(entry(body=MASKED, whole={"text": "password:\nabc"}, flag=flag)).splitlines()[1:] == [
        f"{CONTINUATION}whole text: password: abc",
        f"{CONTINUATION}flag: masked, 100 %: password in note (100 %, secret.password); confirmed by ada",
    ]


def test_reminders_and_masked_notes_are_told_in_words() -> None:
    for kind in ("contact", "conduct"):
        reminder = entry(kind="notice", body={"notice": kind, "about": 3, "text": "Please stay here."})
        assert shown(reminder).endswith(f": [A reminder] Please stay here.\n{CONTINUATION}About: entry 3")
    slow = entry(kind="notice", body={"notice": "slow_mode", "every_s": 30})
    assert shown(slow).endswith(f": [Slow mode]\n{CONTINUATION}Wait between two messages: 30 seconds")
    note = {"resolution": "replacement", "note": "\u2022\u2022", "masked": {"fields": ["note"], "digest": "00ff"}}
    assert shown(entry(kind="proposal.made", body=note)).endswith(
        f": [Offer: replacement] \u2022\u2022\n{CONTINUATION}Parts hidden of: note"
    )
    whole = {"note": "it left\n\x1b[2Jtoday"}
    assert shown(entry(kind="proposal.made", body=note, whole=whole, released=True)).endswith(
        f": (released) [Offer: replacement] it left\n{CONTINUATION}[U+001B][2Jtoday"
    )
    ruling = {"seq": 3, "reason": "an order number", "side": "buyer", "counts": True}
    assert shown(entry(kind="message.released", body=ruling)).partition("12 seller Bob: ")[2].splitlines() == [
        "[Released by support] an order number",
        f"{CONTINUATION}About: entry 3",
        f"{CONTINUATION}Of: buyer",
        f"{CONTINUATION}Counts as said from now on: yes",
    ]


def test_what_happens_in_a_dispute_is_told_in_words() -> None:
    opened = entry(kind="dispute.opened", body={"reason": "not_received", "description": "No parcel.\nNone."})
    assert shown(opened).partition(": ")[2] == f"[Dispute opened: not received] No parcel.\n{CONTINUATION}None."
    offer = entry(
        kind="proposal.made",
        body={"resolution": "partial_refund", "amount": 1250, "currency": "EUR", "note": "for\x1b[2J the scratch"},
    )
    first, second = shown(offer).partition(": ")[2].split("\n")
    assert first == "[Offer: partial refund] for[U+001B][2J the scratch"
    assert second == f"{CONTINUATION}Amount: 12.50 EUR"
    assert shown(entry(kind="dispute.reopened", body={"reason": ""})).endswith(": [Dispute reopened by the buyer]")


def test_names_and_roles_are_stripped_too() -> None:
    author = {"id": "x", "role": "judge\x1b[1m", "name": "B\x1b[31mob\nAda"}
    fragments = entry_fragments(entry(author=author), mine=False, zone=ZONE)
    assert ("", "judge Bob Ada") in fragments


# Scripts


class Output(io.StringIO):
    """A stream that can be waited on."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while text not in self.getvalue():
                self.written.clear()
                await self.written.wait()


def join_readers() -> None:
    for thread in threading.enumerate():
        if thread.name == "input":
            thread.join(WAIT_S)


class Script:
    """A terminal client in this process, with pipes for a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.err = Output(), Output()
        self._read, self._write = os.pipe()
        self.stdin = os.fdopen(self._read)
        self._monkeypatch = monkeypatch

    def type(self, text: str | bytes) -> None:
        os.write(self._write, text.encode() if isinstance(text, str) else text)

    def end(self) -> None:
        os.close(self._write)
        self._write = -1

    def close(self) -> None:
        if self._write >= 0:
            os.close(self._write)
        join_readers()  # or one would read from the next test's pipe, under the same number
        self.stdin.close()

    def start(self, peer: Peer, *, stops: bool = False) -> "asyncio.Task[int]":
        for name, stream in (("stdin", self.stdin), ("stdout", self.out), ("stderr", self.err)):
            self._monkeypatch.setattr(sys, name, stream)
        return asyncio.create_task(_talk(ROOM, "buyer", None, peer.url, "token-1", None, stops=stops))


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening() as peer:
        yield peer


@pytest.fixture
async def script(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Script]:
    monkeypatch.setenv("TZ", "UTC")
    script = Script(monkeypatch)
    yield script
    script.close()


async def in_room(peer: Peer, *seqs: int) -> Wire:
    wire = await peer.accept()
    await wire.connected()
    join = await wire.receive("join")
    await wire.send(joined(*seqs, id=join["id"]))
    return wire


async def receive_message(wire: Wire) -> dict[str, Any]:
    """The next message, past receipts."""
    while (frame := await wire.receive())["type"] != "message.send":
        assert frame["type"] in ("receipt", "typing")
    return frame


MINE = {"id": "ann", "role": "buyer", "name": "Ann"}


async def store(wire: Wire, seq: int) -> str:
    """Take a message, deliver it as an entry, acknowledge it: its text."""
    frame = await receive_message(wire)
    await wire.entry(seq, frame["text"], author=MINE, command_id=frame["id"])
    await wire.ack(frame, seq)
    text: str = frame["text"]
    return text


async def test_lines_are_sent_and_entries_printed(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer, 1, 2)
    script.type("hello\n\n   \r\nlast one without an end \u00e9")
    script.end()
    assert await store(wire, 3) == "hello"
    await wire.entry(4, "hi\x1b[31m!\nthere")
    assert await store(wire, 5) == "last one without an end \u00e9"
    assert await running == 0
    assert [line.partition(" #")[2] for line in script.out.getvalue().splitlines()] == [
        "1 seller Bob: text 1",
        "2 seller Bob: text 2",
        "3 buyer Ann: hello \u2713",
        "4 seller Bob: hi!",
        "",
        "5 buyer Ann: last one without an end \u00e9 \u2713",
    ]
    assert f"\n{CONTINUATION}there\n" in script.out.getvalue()
    assert script.err.getvalue() == ""


async def test_who_has_to_wait_is_told(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer, 8, 9)
    await script.out.shows("text 9")
    script.type("hello?\n")
    frame = await receive_message(wire)
    refusal = {"type": "error", "id": frame["id"], "code": "rate_limited", "temporary": True, "retry_after_ms": 20_000}
    await wire.send(refusal | {"message": "This room is in slow mode: please wait.", "details": {"slow_mode_s": 30}})
    await script.err.shows("not sent yet: This room is in slow mode: please wait. Trying again in 20 s\n")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_became_of_a_text_is_told_and_a_changed_entry_shown_again(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer, 8, 9)
    await script.out.shows("text 9")
    script.type("call me\n")
    frame = await receive_message(wire)
    await wire.entry(10, frame["text"], author=MINE, command_id=frame["id"], withheld=True)
    ack = {"type": "ack", "id": frame["id"], "room": ROOM, "seq": 10, "entry_id": "e", "at": AT, "duplicate": False}
    await wire.send(ack | {"notice": {"mark": "withheld", "message": "Not\x1b[2J shown: a telephone number."}})
    await script.err.shows("chatserver: #10: Not shown: a telephone number.\n")
    await wire.send(type="entry.changed", room=ROOM, entry=wire_entry(3, "hello", released=True))
    await script.out.shows("(released) hello")
    assert "support has changed #3" in script.err.getvalue()
    script.type("/history 1\n")
    while (page := await wire.receive())["type"] != "history":
        assert page["type"] == "receipt"
    assert page["before"] == 8  # what is shown again does not count as the earliest one shown
    await wire.send(type="history", id=page["id"], room=ROOM, entries=[wire_entry(7)], more=True)
    script.type("/quit\n")
    assert await running == 0
    assert "#10 buyer Ann: (withheld from the other side) call me \u2713\n" in script.out.getvalue()


async def refuse(wire: Wire, message: str = "not\x1b[2J now") -> None:
    """Take a message, and refuse it for good."""
    frame = await receive_message(wire)
    await wire.send(type="error", id=frame["id"], code="refused", message=message, temporary=False, details={})


async def test_what_is_refused_is_told_and_the_script_goes_on(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer)
    script.type("one\n\n/attach\n/attach /nowhere/a.jpg\n/offer much\n/dance\ntwo\n")
    script.end()
    await refuse(wire)
    assert await store(wire, 1) == "two"
    assert await running == 1
    told = script.err.getvalue().splitlines()
    assert told[0] == "chatserver: line 1: not now"
    assert [line.split(": ")[:2] for line in told[1:]] == [["chatserver", f"line {number}"] for number in (3, 4, 5, 6)]
    assert "buyer Ann: two \u2713\n" in script.out.getvalue()


async def test_a_script_may_stop_at_what_is_refused(peer: Peer, script: Script) -> None:
    running = script.start(peer, stops=True)
    wire = await in_room(peer)
    script.type("one\ntwo\n")
    await refuse(wire)
    assert await running == 1
    assert script.err.getvalue() == "chatserver: line 1: not now\n"


@pytest.mark.parametrize("line", ["/dance", "/attach", "/offer much", "/claim twice"])
async def test_a_script_may_stop_at_any_command(peer: Peer, script: Script, line: str) -> None:
    running = script.start(peer, stops=True)
    await in_room(peer)
    script.type(f"{line}\nnever sent\n")
    assert await running == 1
    assert script.err.getvalue().startswith("chatserver: line 1: ")


async def test_a_room_that_ends_while_a_line_waits_is_told_once(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer)
    script.type("one\ntwo\nthree\n")
    script.end()
    await receive_message(wire)
    await wire.close(4503, "access revoked")
    assert await running == 1
    assert script.err.getvalue() == "chatserver: access revoked\n"


async def test_what_waits_for_an_acknowledgement_keeps_the_script(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer)
    script.type("hello\n")
    script.end()
    frame = await receive_message(wire)
    await wire.close(4006, "a\x1b[31m fault")
    wire = await peer.accept()
    await wire.connected()
    await wire.send(joined())
    assert await receive_message(wire) == frame
    await wire.entry(1, frame["text"], author=MINE, command_id=frame["id"])
    await wire.ack(frame, 1)
    assert await running == 0
    assert re.search(r"connection lost \(a fault\); trying again in \d\.\d s\n", script.err.getvalue())
    assert "connected again" in script.err.getvalue()


async def test_a_room_that_ends_ends_the_script(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer, 1)
    await script.out.shows("text 1")
    await wire.close(4503, "access revoked")
    assert await running == 1
    assert "access revoked" in script.err.getvalue()


async def test_commands_work_in_scripts(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer, 8, 9)
    await script.out.shows("text 9")
    script.type("/help\n/who\n/history 2\n")
    while (frame := await wire.receive())["type"] != "history":
        assert frame["type"] == "receipt"
    assert (frame["before"], frame["limit"]) == (8, 2)
    await wire.send(type="history", id=frame["id"], room=ROOM, entries=[wire_entry(6), wire_entry(7)], more=True)
    script.type("//etc/passwd\n/quit\nnever sent\n")
    assert await store(wire, 10) == "/etc/passwd"
    assert await running == 0
    out = script.out.getvalue()
    assert "/history [N]" in out
    assert "buyer Ann: online\n" in out
    assert "seller Bob: offline since 2026-01-31 09:30:00, has read up to #1\n" in out
    assert out.index("text 9") < out.index("text 6") < out.index("text 7")


async def test_history_at_the_beginning_says_so(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    await in_room(peer, 1)
    await script.out.shows("text 1")
    script.type("/history\n/quit\n")
    assert await running == 0
    assert "nothing earlier" in script.err.getvalue()


@pytest.mark.parametrize("line", ["/dance", "/history many", "/quit now"])
async def test_an_unknown_command_is_an_error(peer: Peer, script: Script, line: str) -> None:
    running = script.start(peer)
    await in_room(peer)
    script.type(f"{line}\n")
    script.end()
    assert await running == 1
    assert f"no such command: {line}" in script.err.getvalue()


async def test_the_end_waits_only_so_long_for_the_last_entry(
    peer: Peer, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.terminal.lines.SHOW_LAST_S", 0.05)
    running = script.start(peer)
    wire = await in_room(peer)
    script.type("hello\n")
    script.end()
    await wire.ack(await receive_message(wire), 1)
    assert await running == 0
    assert "not all of it was shown" in script.err.getvalue()


async def test_what_the_client_logs_is_a_note(peer: Peer, script: Script) -> None:
    running = script.start(peer)
    wire = await in_room(peer, 1)
    await script.out.shows("text 1")
    await wire.send(type="token.expiring", in_s=60.0)
    await script.err.shows("the token expires, and there is no token provider\n")
    script.end()
    assert await running == 0


async def test_input_is_decoded_across_reads_and_invalid_bytes_are_replaced() -> None:
    read, write_end = os.pipe()
    lines = InputLines(read)
    os.write(write_end, b"caf\xc3")
    os.write(write_end, b"\xa9\nbad \xff\nrest\xc3")
    os.close(write_end)
    assert [await lines.next() for _ in range(4)] == ["caf\u00e9", "bad \ufffd", "rest\ufffd", None]
    os.close(read)


async def test_an_input_that_breaks_is_at_its_end() -> None:
    lines = InputLines(-1)
    assert await lines.next() is None


def test_an_input_whose_reader_is_gone_stops() -> None:
    read, write_end = os.pipe()

    async def begin() -> None:
        InputLines(read)

    asyncio.run(begin())
    os.write(write_end, b"late\n")  # the thread finds the loop closed
    os.close(write_end)
    join_readers()
    os.close(read)


def test_notes_go_to_the_standard_error() -> None:
    out, err = io.StringIO(), io.StringIO()
    LineDisplay(out, err).problem("x\x1b[31my")
    assert (out.getvalue(), err.getvalue()) == ("", "chatserver: xy\n")


# Arguments, and the whole program


def test_arguments_must_fit_together(tmp_path: Path) -> None:
    for options in (
        {},
        {"url": "http://127.0.0.1:1"},
        {"token": "t"},
        {"data": tmp_path, "url": "http://127.0.0.1:1", "token": "t"},
        {"url": "chat.example", "token": "t"},
    ):
        with pytest.raises(BadRequest):
            run_terminal(ROOM, **options)
    with pytest.raises(BadRequest, match="Which room"):
        run_terminal(None, url="http://127.0.0.1:1", token="t")
    with pytest.raises(BadRequest, match="buyer, seller, agent"):
        run_terminal(None, data=tmp_path, role="king")
    with pytest.raises(NoInstance):
        run_terminal(None, data=tmp_path)


PROGRAM = """
import signal
import sys
from chatserver.terminal import run_terminal
from policies.errors import ChatError
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it starts in the background
try:
    sys.exit(run_terminal(sys.argv[2], url=sys.argv[1], token="token-1"))
except ChatError as error:
    print("refused:", error.message)
    sys.exit(9)
"""


async def start_program(peer: Peer, **streams: Any) -> asyncio.subprocess.Process:
    environment = {**os.environ, "TZ": "UTC", "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", PROGRAM, peer.url, ROOM]
    return await asyncio.create_subprocess_exec(*command, env=environment, **streams)


@pytest.fixture
async def program(peer: Peer) -> AsyncIterator[asyncio.subprocess.Process]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = await start_program(peer, **pipes)
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(WAIT_S):
        return await process.wait()


async def test_as_a_program_it_reads_its_input_to_the_end(peer: Peer, program: asyncio.subprocess.Process) -> None:
    wire = await in_room(peer)
    assert program.stdin is not None
    program.stdin.write(b"hello\n")
    program.stdin.write_eof()
    assert await store(wire, 1) == "hello"
    out, err = await program.communicate()
    assert await ended(program) == 0
    assert out.decode().endswith("#1 buyer Ann: hello \u2713\n")
    assert err == b""


async def test_an_error_of_the_server_is_raised_cleaned(peer: Peer, program: asyncio.subprocess.Process) -> None:
    wire = await peer.accept()
    await wire.connected()
    join = await wire.receive("join")
    await wire.send(type="error", id=join["id"], code="not_found", message="no\x1b[2J room", temporary=False)
    out, _ = await program.communicate()
    assert out == b"refused: no room\n"
    assert await ended(program) == 9


async def test_interrupting_it_is_quiet(peer: Peer, program: asyncio.subprocess.Process) -> None:
    await in_room(peer, 1)
    assert program.stdout is not None
    await program.stdout.readline()
    program.send_signal(2)
    _, err = await program.communicate()
    assert await ended(program) == 130
    assert err == b""


async def test_an_output_that_is_closed_ends_it(peer: Peer) -> None:
    read, write_end = os.pipe()
    os.close(read)
    process = await start_program(peer, stdin=subprocess.PIPE, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    await in_room(peer, 1)
    _, err = await process.communicate()
    assert await ended(process) == 1
    assert err == b""


def test_a_server_that_is_not_there_is_unavailable() -> None:
    assert issubclass(ConnectTimeout, Unavailable)


# Instances


@contextlib.asynccontextmanager
async def instance_on(folder: Path, handler: Any) -> AsyncIterator[list[httpx.Request]]:
    """A development instance's HTTP side, scripted, and its dev.json."""
    requests: list[httpx.Request] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("Content-Length", headers.get("content-length", "0"))))
        request = httpx.Request(method, f"http://test{path}", headers=headers, content=body)
        requests.append(request)
        status, content = handler(request)
        payload = httpx.Response(200, json=content).content
        writer.write(
            f"HTTP/1.1 {status} x\r\nContent-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode() + payload
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    write(
        folder,
        Instance(
            base_url=f"http://127.0.0.1:{port}",
            api_key="key-1",
            jwt_secret="s" * 32,
            mongo_url="",
            redis_url="",
            s3_url="",
            demo=Demo(order_id="demo-1001", links=Links(buyer="", seller="", agent="")),
        ),
    )
    async with server:
        yield requests


def answers(request: httpx.Request) -> tuple[int, dict[str, Any]]:
    if request.url.path == "/v1/sandbox/tokens":
        return 200, {"token": request.content.decode()}
    if request.url.path == "/v1/orders/demo-1001" and request.headers["Authorization"] == "Bearer key-1":
        return 200, {"buyer": {"id": "b1", "name": "Bo"}, "seller": {"id": "s1", "name": "Sal"}}
    return 404, {}


async def test_an_instance_gives_the_demo_room_and_tokens_for_its_people(tmp_path: Path) -> None:
    async with instance_on(tmp_path, answers) as requests:
        target = await of_instance(tmp_path, "seller", None)
        assert target.room == "order-demo-1001"
        assert target.token_provider is not None
        assert '"s1"' in await target.token_provider()
        assert [request.url.path for request in requests] == ["/v1/orders/demo-1001", "/v1/sandbox/tokens"]
        agent = await of_instance(tmp_path, "agent", "dispute-7")
        assert agent.room == "dispute-7"
        assert agent.token_provider is not None
        assert '"agent"' in await agent.token_provider()


async def test_a_room_the_instance_does_not_know_is_not_found(tmp_path: Path) -> None:
    async with instance_on(tmp_path, answers):
        with pytest.raises(NotFound):
            await of_instance(tmp_path, "buyer", "order-other")
        for room in ("order-", "order-../x"):
            with pytest.raises(BadRequest):
                await of_instance(tmp_path, "buyer", room)


@pytest.mark.parametrize(("status", "error"), [(401, Unauthenticated), (403, Unauthenticated), (500, ChatError)])
async def test_an_instance_that_refuses_is_told(tmp_path: Path, status: int, error: type[ChatError]) -> None:
    async with instance_on(tmp_path, lambda _request: (status, {})):
        with pytest.raises(error):
            await of_instance(tmp_path, "buyer", None)


async def test_an_instance_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    async with instance_on(tmp_path, answers):
        pass
    with pytest.raises(Unavailable):
        await of_instance(tmp_path, "buyer", None)


# People, on a pseudo-terminal


class Emulator(pyte.Screen):
    """A terminal that answers when it is asked where its cursor is."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, rows)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Tty:
    """The person's side of a pseudo-terminal."""

    def __init__(self, columns: int = 120, rows: int = 30) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.set_blocking(self.master, False)
        self.raw = b""
        self._screen = Emulator(columns, rows, self.type)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.master, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self.master, 65536)
        except OSError:
            self._loop.remove_reader(self.master)
            return
        self.raw += chunk
        self._stream.feed(chunk)
        self._changed.set()

    @property
    def lines(self) -> list[str]:
        """What the person sees."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    async def shows(self, *wanted: str) -> None:
        """Wait until each of the texts is on the screen."""
        await self.until(lambda: all(any(text in line for line in self.lines) for text in wanted), wanted)

    async def ends_with(self, *wanted: str) -> None:
        """Wait until these are the last lines on the screen."""
        await self.until(lambda: self.lines[-len(wanted) :] == list(wanted), wanted)

    async def until(self, satisfied: Callable[[], bool], wanted: tuple[str, ...]) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not satisfied():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{wanted} is not in {self.lines}") from None

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        self._loop.remove_reader(self.master)
        os.close(self.master)


@pytest.fixture
async def tty() -> AsyncIterator[Tty]:
    tty = Tty()
    yield tty
    tty.close()


@pytest.fixture
async def prompt(peer: Peer, tty: Tty) -> AsyncIterator[asyncio.subprocess.Process]:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), tty.slave)
    process = await start_program(peer, start_new_session=True, **streams)
    os.close(tty.slave)
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


READY = ("order-1  connected", ">")


async def test_a_conversation_at_the_prompt(peer: Peer, tty: Tty, prompt: asyncio.subprocess.Process) -> None:
    wire = await in_room(peer, 1, 2)
    await tty.shows("#2 seller Bob: text 2", *READY)
    tty.type("hel")
    while (await wire.receive())["type"] != "typing":
        pass
    tty.type("lo\r")
    await tty.shows("  sending: hello")
    frame = await receive_message(wire)
    await wire.ack(frame, 3)
    await tty.shows("  stored: hello")
    await wire.entry(3, "hello", author=MINE, command_id=frame["id"])
    await tty.shows("#3 buyer Ann: hello \u2713")
    await tty.ends_with(">", "order-1  connected")
    await wire.send(type="presence", room=ROOM, user="bob", role="seller", state="online")
    await wire.send(type="typing", room=ROOM, user="bob", on=True)
    await tty.ends_with(">", "order-1  connected  Bob is online  Bob typing\u2026")
    await wire.entry(4, "hi\x1b]0;owned\x07 there\x1b[2J")
    await tty.shows("#4 seller Bob: hi0;owned there")
    await tty.ends_with(">", "order-1  connected  Bob is online")
    assert b"\x1b]0;owned" not in tty.raw
    tty.type("/who\r")
    await tty.shows("buyer Ann: online", "seller Bob: online, has read up to #1")
    await wire.send(type="typing", room=ROOM, user="eve", on=True)
    await tty.shows("eve typing\u2026")
    await wire.send(type="typing", room=ROOM, user="eve", on=False)
    await tty.ends_with(">", "order-1  connected  Bob is online")
    tty.type("/quit\r")
    assert await ended(prompt) == 0


async def test_the_prompt_shows_what_became_of_a_message_and_flags(
    peer: Peer, tty: Tty, prompt: asyncio.subprocess.Process
) -> None:
    wire = await in_room(peer)
    await tty.shows(*READY)
    tty.type("call me\r")
    frame = await receive_message(wire)
    await wire.entry(1, "call me", author=MINE, command_id=frame["id"], withheld=True, flag=FLAG)
    ack = {"type": "ack", "id": frame["id"], "room": ROOM, "seq": 1, "entry_id": "e", "at": AT, "duplicate": False}
    await wire.send(ack | {"notice": {"mark": "withheld", "message": "Not shown: a telephone number."}})
    await tty.shows(
        "#1 buyer Ann: (withheld from the other side) call me \u2713",
        "    | flag: withheld, 97 %: phone (97 %, phone.international); open",
        "-- #1: Not shown: a telephone number.",
    )
    await tty.ends_with(">", "order-1  connected")
    tty.type("/quit\r")
    assert await ended(prompt) == 0


async def test_the_prompt_shows_losses_and_refusals(peer: Peer, tty: Tty, prompt: asyncio.subprocess.Process) -> None:
    wire = await in_room(peer)
    await tty.shows(*READY)
    tty.type("/dance\r")
    await tty.shows("!! there is no such command: /dance", *READY)
    tty.type("hello\r")
    frame = await receive_message(wire)
    await wire.error(frame, "room_closed")
    await tty.shows("!! not sent: 'hello': no: room_closed")
    tty.type("   \r")  # is not a message
    await wire.send(type="bye", reason="shutdown", reconnect_after_ms=500)
    await wire.close(4000, "going away")
    await tty.shows("-- connection lost (going away); trying again in 0.5 s", "order-1  reconnecting")
    wire = await peer.accept()
    await wire.connected()
    await wire.send(joined())
    await tty.shows("-- connected again", "order-1  connected")
    await wire.close(4503, "access revoked")
    await tty.shows("!! access revoked")
    assert await ended(prompt) == 1


async def test_leaving_the_prompt_waits_for_what_is_on_its_way(
    peer: Peer, tty: Tty, prompt: asyncio.subprocess.Process
) -> None:
    wire = await in_room(peer)
    await tty.shows(*READY)
    tty.type("hello\r")
    frame = await receive_message(wire)
    await tty.shows("sending: hello", *READY)
    tty.type("\x04")
    await tty.shows("waiting for 1 message(s)")
    await wire.ack(frame, 1)
    assert await ended(prompt) == 0


async def test_ctrl_c_leaves_the_prompt(peer: Peer, tty: Tty, prompt: asyncio.subprocess.Process) -> None:
    await in_room(peer, 1)
    await tty.shows("text 1", *READY)
    tty.type("\x03")
    assert await ended(prompt) == 0


def test_the_time_of_the_tests_is_aware() -> None:
    assert datetime.fromisoformat(AT).tzinfo == UTC
