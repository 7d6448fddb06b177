"""Writing the JSON form, in pieces: a room of any length needs no memory."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import orjson

from chatserver.transcript.case_file import (
    FORMAT,
    VERSION,
    Cover,
    Span,
    as_seen,
    encode_entry,
    encode_place,
    encode_reader,
    encode_room,
)
from policies.entry import Entry
from policies.instant import rfc3339

PIECE_BYTES: Final = 64 * 1024

Entries = Callable[[Span], AsyncIterator[Entry]]
"""The entries of a span as they are stored."""


async def write_json(cover: Cover, entries: Entries) -> AsyncIterator[bytes]:
    """The JSON form of a case file, in pieces of some ten thousand bytes.

    The same cover and entries give the same bytes.
    """
    piece = bytearray()
    async for part in _parts(cover, entries):
        piece += part
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


async def _parts(cover: Cover, entries: Entries) -> AsyncIterator[bytes]:
    members: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "generated_at": rfc3339(cover.generated_at),
        "generated_for": encode_reader(cover.reader),
        "order": cover.order,
        "dispute": cover.dispute,
    }
    yield b"{" + _members({name: value for name, value in members.items() if value is not None}) + b",\n"
    async for part in _chain(cover.main, cover, entries):
        yield part
    yield b',\n"annexes":['
    for number, span in enumerate(cover.annexes):
        yield b",\n{" if number else b"\n{"
        async for part in _chain(span, cover, entries):
            yield part
        yield b"}"
    yield b"]}\n"


async def _chain(span: Span, cover: Cover, entries: Entries) -> AsyncIterator[bytes]:
    facts = {"room": encode_room(span.room), "after": encode_place(span.after), "head": encode_place(span.head)}
    yield _members(facts) + b',\n"entries":['
    first = True
    async for entry in entries(span):
        yield (b"\n" if first else b",\n") + orjson.dumps(encode_entry(as_seen(entry, cover.reader)))
        first = False
    yield b"]"


def _members(members: Mapping[str, Any]) -> bytes:
    return b",\n".join(orjson.dumps(name) + b":" + orjson.dumps(value) for name, value in members.items())
