"""Reading a case file that anybody may have made or changed: everything is looked at, and nothing is believed."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

import orjson

from chatserver.transcript.case_file import FIRST_VERSION, FORMAT, VERSION, CaseFile, Chain, Cover, Place, Reader, Span
from policies.entry import Author, Entry, Whole
from policies.errors import BadRequest
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.instant import rfc3339
from policies.plain import LARGEST_INT, require_plain
from policies.room import Party, RoomFacts
from policies.vocabulary import (
    CommandId,
    EntryKind,
    OrderId,
    Role,
    RoomId,
    RoomKind,
    Seq,
    UserId,
    Visibility,
)
from storage.chain import SALT_BYTES

HASH_BYTES: Final = 32
_ENTRY: Final = frozenset(
    {
        "seq", "id", "kind", "author", "at", "body", "visibility", "command_id", "salt", "digest", "prev_hash", "hash",
    }
)  # fmt: skip
_BESIDE: Final = frozenset({"whole", "shown", "flag"})
"""What version 1 does not have."""
_DECIDED: Final = frozenset({"decided_by", "decided_at"})
_FLAG: Final = frozenset({"mark", "confidence", "causes", "state"}) | _DECIDED
_CAUSE: Final = frozenset({"kind", "category", "field", "start", "end", "confidence", "rule"})
_CHAIN: Final = frozenset({"room", "after", "head", "entries"})
_FILE: Final = _CHAIN | {"format", "version", "generated_at", "generated_for", "order", "dispute", "annexes"}
_ROOM: Final = frozenset({"id", "kind", "order_id", "buyer", "seller", "created_at", "closed"})
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HEX: Final = re.compile(r"[0-9a-f]*")

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


class Unreadable(Exception):
    """It is no case file, or not one of this version.

    Args:
        place: where, such as ``entries[3].at``; empty for the whole.
        problem: what is wrong there.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.place = place
        self.problem = problem


def read_case_file(content: bytes) -> CaseFile:
    """Read the JSON form.

    Raises:
        Unreadable: it is not one; what is wrong first, and where.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Unreadable("", "this is not JSON in UTF-8") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Unreadable("", f'this is not a case file: its "format" is not "{FORMAT}"')
    version = document.get("version")
    if type(version) is not int or not FIRST_VERSION <= version <= VERSION:
        raise Unreadable("version", f"this program reads the versions {FIRST_VERSION} to {VERSION}")
    _fields(document, _FILE, "", optional=frozenset({"order", "dispute"}))
    known = _BESIDE if version > FIRST_VERSION else frozenset()
    main = _chain({name: document[name] for name in _CHAIN}, "", known)
    annexes = tuple(
        _chain(each, f"annexes[{n}]", known) for n, each in enumerate(_list(document["annexes"], "annexes"))
    )
    reader = _object(document["generated_for"], "generated_for")
    _fields(reader, frozenset({"role", "user"}), "generated_for", optional=frozenset({"user"}))
    user = _text(reader["user"], "generated_for.user") if "user" in reader else None
    cover = Cover(
        generated_at=_time(document["generated_at"], "generated_at"),
        reader=Reader(_one_of(Role, reader["role"], "generated_for.role"), None if user is None else UserId(user)),
        order=_object(document["order"], "order") if "order" in document else None,
        dispute=_object(document["dispute"], "dispute") if "dispute" in document else None,
        main=main.span,
        annexes=tuple(each.span for each in annexes),
    )
    return CaseFile(cover, main, annexes)


def _chain(found: object, place: str, beside: frozenset[str]) -> Chain:
    """A chain; ``beside`` are the fields of entries that its version has beside the hashed ones."""
    value = _object(found, place)
    _fields(value, _CHAIN, place)
    facts = _room(value["room"], _within(place, "room"))
    entries = tuple(
        _entry(each, facts.id, f"{_within(place, 'entries')}[{n}]", beside)
        for n, each in enumerate(_list(value["entries"], _within(place, "entries")))
    )
    span = Span(facts, _place(value["after"], _within(place, "after")), _place(value["head"], _within(place, "head")))
    return Chain(span, entries)


def _room(found: object, place: str) -> RoomFacts:
    value = _object(found, place)
    _fields(value, _ROOM, place)
    if not isinstance(value["closed"], bool):
        raise Unreadable(f"{place}.closed", "not true or false")
    return RoomFacts(
        id=RoomId(_text(value["id"], f"{place}.id")),
        kind=_one_of(RoomKind, value["kind"], f"{place}.kind"),
        order_id=OrderId(_text(value["order_id"], f"{place}.order_id")),
        buyer=_party(value["buyer"], f"{place}.buyer"),
        seller=_party(value["seller"], f"{place}.seller"),
        created_at=_time(value["created_at"], f"{place}.created_at"),
        closed=value["closed"],
    )


def _party(found: object, place: str) -> Party:
    value = _object(found, place)
    _fields(value, frozenset({"id", "name"}), place)
    return Party(UserId(_text(value["id"], f"{place}.id")), _text(value["name"], f"{place}.name"))


def _entry(found: object, room: RoomId, place: str, beside: frozenset[str]) -> Entry:
    value = _object(found, place)
    _fields(value, _ENTRY | beside, place, optional=beside | {"salt"})
    author = _object(value["author"], f"{place}.author")
    _fields(author, frozenset({"id", "role", "name"}), f"{place}.author")
    body = _object(value["body"], f"{place}.body")
    try:
        require_plain(dict(body))
    except BadRequest as error:
        raise Unreadable(f"{place}.body", error.message) from error
    entry = Entry(
        room=room,
        seq=_seq(value["seq"], f"{place}.seq"),
        kind=_one_of(EntryKind, value["kind"], f"{place}.kind"),
        author=Author(
            UserId(_text(author["id"], f"{place}.author.id")),
            _one_of(Role, author["role"], f"{place}.author.role"),
            _text(author["name"], f"{place}.author.name"),
        ),
        at=_time(value["at"], f"{place}.at"),
        body=body,
        visibility=_one_of(Visibility, value["visibility"], f"{place}.visibility"),
        command_id=CommandId(_text(value["command_id"], f"{place}.command_id")),
        salt=_bytes(value["salt"], SALT_BYTES, f"{place}.salt") if "salt" in value else None,
        digest=_bytes(value["digest"], HASH_BYTES, f"{place}.digest"),
        prev_hash=_bytes(value["prev_hash"], HASH_BYTES, f"{place}.prev_hash"),
        hash=_bytes(value["hash"], HASH_BYTES, f"{place}.hash"),
        flag=_flag(value["flag"], f"{place}.flag") if "flag" in value else None,
        whole=_whole(value["whole"], f"{place}.whole") if "whole" in value else None,
        shown=_one_of(Visibility, value["shown"], f"{place}.shown") if "shown" in value else None,
    )
    if value["id"] != entry.id:
        raise Unreadable(f"{place}.id", "not the first 32 digits of the entry's hash")
    return entry


def _whole(found: object, place: str) -> Whole:
    value = _object(found, place)
    _fields(value, frozenset({"salt", "texts"}), place)
    texts = _object(value["texts"], f"{place}.texts")
    return Whole(
        _bytes(value["salt"], SALT_BYTES, f"{place}.salt"),
        {name: _text(text, f"{place}.texts.{name}") for name, text in texts.items()},
    )


def _flag(found: object, place: str) -> Flag:
    value = _object(found, place)
    _fields(value, _FLAG, place, optional=_DECIDED)
    decided = value.keys() >= _DECIDED
    causes = _list(value["causes"], f"{place}.causes")
    return Flag(
        mark=_one_of(Mark, value["mark"], f"{place}.mark"),
        confidence=_number(value["confidence"], f"{place}.confidence"),
        causes=tuple(_cause(each, f"{place}.causes[{n}]") for n, each in enumerate(causes)),
        state=_one_of(FlagState, value["state"], f"{place}.state"),
        decided_by=UserId(_text(value["decided_by"], f"{place}.decided_by")) if decided else None,
        decided_at=_time(value["decided_at"], f"{place}.decided_at") if decided else None,
    )


def _cause(found: object, place: str) -> Cause:
    value = _object(found, place)
    _fields(value, _CAUSE, place)
    return Cause(
        kind=_one_of(CauseKind, value["kind"], f"{place}.kind"),
        category=_text(value["category"], f"{place}.category"),
        field=_text(value["field"], f"{place}.field"),
        start=_number(value["start"], f"{place}.start"),
        end=_number(value["end"], f"{place}.end"),
        confidence=_number(value["confidence"], f"{place}.confidence"),
        rule=_text(value["rule"], f"{place}.rule"),
    )


def _place(found: object, place: str) -> Place:
    value = _object(found, place)
    _fields(value, frozenset({"seq", "hash"}), place)
    return Place(_seq(value["seq"], f"{place}.seq"), _bytes(value["hash"], HASH_BYTES, f"{place}.hash"))


def _fields(
    value: Mapping[str, Any], known: frozenset[str], place: str, *, optional: frozenset[str] = frozenset()
) -> None:
    """Nothing missing, and nothing more: what this program does not know it could not check either."""
    if missing := sorted(known - optional - value.keys()):
        raise Unreadable(_within(place, missing[0]), "missing")
    if unknown := sorted(value.keys() - known):
        raise Unreadable(_within(place, unknown[0]), f"not part of version {VERSION}")


def _within(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _object(found: object, place: str) -> dict[str, Any]:
    return _require(isinstance, found, dict, place, "not an object")


def _list(found: object, place: str) -> list[Any]:
    return _require(isinstance, found, list, place, "not a list")


def _text(found: object, place: str) -> str:
    return _require(isinstance, found, str, place, "not a text")


def _require(test: Callable[[object, type[T]], bool], found: object, kind: type[T], place: str, problem: str) -> T:
    if not test(found, kind):
        raise Unreadable(place, problem)
    return found  # type: ignore[return-value]  # it was tested


def _seq(found: object, place: str) -> Seq:
    return Seq(_number(found, place))


def _number(found: object, place: str) -> int:
    if type(found) is not int or not 0 <= found <= LARGEST_INT:
        raise Unreadable(place, "not a whole number from 0")
    return found


def _time(found: object, place: str) -> datetime:
    """Only the one form of writing a time: the hash is over the text, and this program makes it from the time."""
    text = _text(found, place)
    try:
        read = datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        read = None
    if read is None or rfc3339(read) != text:
        raise Unreadable(place, "not a time such as 2026-01-31T09:30:00.250Z")
    return read


def _bytes(found: object, length: int, place: str) -> bytes:
    text = _text(found, place)
    if len(text) != 2 * length or not _HEX.fullmatch(text):
        raise Unreadable(place, f"not {2 * length} digits of lower-case hex")
    return bytes.fromhex(text)


def _one_of(kind: type[E], found: object, place: str) -> E:
    try:
        return kind(_text(found, place))
    except ValueError as error:
        raise Unreadable(place, "a word that this program does not know") from error
