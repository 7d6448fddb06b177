"""Writing the JSON form, in pieces: a room of any length needs no memory."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Protocol

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


class Tracking(Protocol):
    """What follows the entries of a dispute, to tell its state after the last one."""

    def follow(self, entry: Entry) -> None: ...

    def told(self) -> Mapping[str, Any] | None:
        """The state as the reader may see it; None where there is none."""


async def write_json(cover: Cover, entries: Entries, tracking: Tracking) -> AsyncIterator[bytes]:
    """The JSON form of a case file, in pieces of some ten thousand bytes.

    The same cover and entries give the same bytes.
    """
    piece = bytearray(
        _opening(
            {
                "format": FORMAT,
                "version": VERSION,
                "generated_at": rfc3339(cover.generated_at),
                "generated_for": encode_reader(cover.reader),
                **({} if cover.order is None else {"order": cover.order}),
            }
        )
    )
    async for part in _chain(cover.main, cover, entries, tracking):
        piece += part
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if (dispute := tracking.told()) is not None:
        piece += b',\n"dispute":' + orjson.dumps(dispute)
    piece += b',\n"annexes":['
    for number, span in enumerate(cover.annexes):
        piece += b",\n{" if number else b"\n{"
        async for part in _chain(span, cover, entries, None):
            piece += part
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        piece += b"}"
    yield bytes(piece + b"]}\n")


async def _chain(span: Span, cover: Cover, entries: Entries, tracking: Tracking | None) -> AsyncIterator[bytes]:
    facts = {"room": encode_room(span.room), "after": encode_place(span.after), "head": encode_place(span.head)}
    yield (b"" if tracking is None else b",\n") + _members(facts) + b',\n"entries":['
    first = True
    async for entry in entries(span):
        if tracking is not None:
            tracking.follow(entry)
        yield (b"\n" if first else b",\n") + orjson.dumps(encode_entry(as_seen(entry, cover.reader)))
        first = False
    yield b"]"


def _opening(members: Mapping[str, Any]) -> bytes:
    return b"{" + _members(members)


def _members(members: Mapping[str, Any]) -> bytes:
    return b",\n".join(orjson.dumps(name) + b":" + orjson.dumps(value) for name, value in members.items())
