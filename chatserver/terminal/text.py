"""What the terminal shows of entries, made safe: other people's text must not command the terminal."""

import contextlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

import orjson

from chatserver.client import Cause, Entry
from chatserver.transcript.kinds import words
from policies.entry import MASKED
from policies.errors import ChatError
from policies.vocabulary import EntryKind, Role

Fragments = list[tuple[str, str]]
"""Pieces of text, each with the name of its style."""

CONTINUATION: Final = "    | "
"""Before each further line of a text, so that none can pass for an entry of its own."""
_ESCAPES: Final = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]")
"""Control sequences of ECMA-48, 5.3 and 5.4. Of strings such as OSC only the introducer: their text stays readable."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode categories that are not shown: controls, direction marks, halves of characters, private use, separators."""
_JOINERS: Final = "\u200c\u200d"
"""Some scripts and emoji are not readable without them."""


def clean(text: str) -> str:
    """A text as one line without anything that a terminal would act on."""
    return " ".join(clean_lines(text))


def clean_lines(text: str) -> list[str]:
    """A text's lines without anything that a terminal would act on; at least one."""
    plain = _ESCAPES.sub("", text)
    return [_visible(line.expandtabs(4)) for line in plain.splitlines()] or [""]


def _visible(line: str) -> str:
    return "".join(char for char in line if char in _JOINERS or unicodedata.category(char) not in _HIDDEN)


def entry_fragments(entry: Entry, *, mine: bool, zone: tzinfo | None, style: str = "") -> Fragments:
    """An entry as lines of the terminal, and beneath them what staff know of it.

    Args:
        mine: the user wrote it: it is marked as stored.
        zone: time zone of the times; None is the machine's.
        style: of everything but the author.
    """
    role = clean(entry.author.role)
    role_style = f"class:role.{role}" if role in set(Role) else ""
    head: Fragments = [
        (style or "class:time", f"{local_time(entry.at, zone)} "),
        (style or "class:seq", f"#{entry.seq} "),
        (role_style, f"{role} {clean(entry.author.name)}"),
        (style, ": "),
    ]
    first, *rest = _content(entry)
    lines: Fragments = [(style, first), *((style, f"\n{CONTINUATION}{line}") for line in rest)]
    known = [("class:flag", f"\n{CONTINUATION}{line}") for line in _known_to_staff(entry)]
    return [*head, *lines, *([("class:stored", " \u2713")] if mine else []), *known]


def explained(error: Exception, zone: tzinfo | None) -> str:
    """An error in words, and from or until when, where the server said so."""
    details = error.details if isinstance(error, ChatError) else {}
    for name, preposition in (("opens_at", "from"), ("due_at", "until")):
        at = details.get(name)
        if isinstance(at, str):
            with contextlib.suppress(ValueError):
                return f"{error} ({preposition} {local_time(datetime.fromisoformat(at), zone)})"
    return str(error)


def plain(fragments: Iterable[tuple[str, str]]) -> str:
    """Fragments without their styles."""
    return "".join(text for _, text in fragments)


def local_time(at: datetime, zone: tzinfo | None) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _content(entry: Entry) -> list[str]:
    if entry.erased:
        return ["(erased)"]
    if entry.withheld and not entry.body:
        return ["(withheld)"]
    body = _body(entry)
    text = body.get("text")
    lines = clean_lines(text if isinstance(text, str) else "")
    reply_to = body.get("reply_to")
    if isinstance(reply_to, int):
        lines[0] = f"(to #{reply_to}) {lines[0]}"
    if entry.kind in list(EntryKind) and entry.kind != EntryKind.MESSAGE:
        lines = _told(EntryKind(entry.kind), body)
    elif entry.kind != EntryKind.MESSAGE:  # of a newer server
        facts = {name: value for name, value in body.items() if name not in ("text", "reply_to")}
        told = clean(orjson.dumps(facts).decode()) if facts else ""
        lines[0] = " ".join(part for part in (f"[{clean(entry.kind)}]", lines[0], told) if part)
    if entry.withheld:
        lines[0] = f"(withheld from the other side) {lines[0]}"
    elif entry.released:
        lines[0] = f"(released) {lines[0]}"
    elif entry.kind == EntryKind.MESSAGE and MASKED in entry.body:
        lines[0] = f"(parts are hidden) {lines[0]}"
    return lines


def _body(entry: Entry) -> Mapping[str, Any]:
    """What is shown of an entry: as it was written, where everybody sees that, or nobody else sees anything of it."""
    if entry.whole is None or not (entry.released or entry.withheld):
        return entry.body
    return {name: value for name, value in entry.body.items() if name != MASKED} | entry.whole


def _known_to_staff(entry: Entry) -> list[str]:
    """What staff know beyond the entry: masked texts as they were written, and why it is flagged."""
    flag = entry.flag
    if flag is None:
        return []
    masked = {} if entry.withheld or entry.released else entry.whole or {}
    lines = [f"whole {clean(name)}: {clean(text)}" for name, text in masked.items()]
    causes = ", ".join(clean(_cause(each)) for each in flag.causes)
    by = "" if flag.decided_by is None else f" by {clean(flag.decided_by)}"
    return [*lines, f"flag: {clean(flag.mark)}, {flag.confidence} %: {causes}; {clean(flag.state)}{by}"]


def _cause(cause: Cause) -> str:
    where = "" if cause.field == "text" else f" in {cause.field}"
    return f"{cause.category}{where} ({cause.confidence} %, {cause.rule})"


def _told(kind: EntryKind, body: Mapping[str, Any]) -> list[str]:
    """An entry that is no message: what happened, what was said with it, and its details."""
    said = words(kind, body, "")
    lines = [f"[{clean(said.title)}]"]
    if said.text:
        first, *rest = clean_lines(said.text)
        lines = [f"{lines[0]} {first}", *rest]
    if kind is not EntryKind.DISPUTE_OPENED:  # it holds all of the order and of the policy: /dispute shows what counts
        lines += [clean(f"{fact.label}: {fact.value}") for fact in said.facts]
    return lines
