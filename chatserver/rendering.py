"""What one reader sees of an entry: the only place that decides what an entry that is not whole shows to whom."""

from collections.abc import Mapping
from typing import Any, Final

from policies.entry import Entry
from policies.flag import Flag, Mark
from policies.instant import rfc3339
from policies.screening import for_author as told_to_author
from policies.vocabulary import STAFF, Role, UserId

FULL_VIEW: Final = STAFF | {Role.SYSTEM}
"""Who sees every entry whole: staff, and the marketplace's back end (which reads as ``system``)."""

_FOR_STAFF: Final = ("flag",)
_HIDDEN_FIELDS: Final = ("seq", "id", "kind", "author", "at", "erased")


def is_author(entry: Entry, viewer_id: UserId | None) -> bool:
    """Whether the viewer wrote the entry. What the server wrote belongs to no user, whatever their id."""
    return entry.author.role is not Role.SYSTEM and entry.author.id == viewer_id


def is_whole(entry: Entry, viewer_id: UserId | None, viewer_role: Role | None) -> bool:
    """Whether the viewer sees the entry's body."""
    return not entry.hidden or viewer_role in FULL_VIEW or is_author(entry, viewer_id)


def render(entry: Entry, viewer_id: UserId | None, viewer_role: Role | None) -> dict[str, Any]:
    """An entry as ``protocol.WireEntry`` for one reader, ready for JSON.

    A withheld entry keeps its place: who may not see it gets the same seq with an empty body and ``withheld: true``;
    staff and its author get the body, and the mark as well. Of a text with masked parts they get the whole beside it.
    An erased entry says so and has no content for anybody.

    Args:
        viewer_id: the reading user; None for the marketplace's back end.
        viewer_role: the reader's role in this room; ``system`` for the marketplace's back end.
    """
    rendered = whole(entry)
    if is_author(entry, viewer_id):
        return for_author(rendered, entry.command_id)
    return rendered if viewer_role in FULL_VIEW else for_others(rendered)


def whole(entry: Entry) -> dict[str, Any]:
    """An entry as staff see it: all of it, without the command id, which is for its author."""
    author = entry.author
    rendered: dict[str, Any] = {
        "seq": entry.seq,
        "id": entry.id,
        "kind": entry.kind._value_,
        "author": {"id": author.id, "role": author.role._value_, "name": author.name},
        "at": rfc3339(entry.at),
        "body": dict(entry.body),
    }
    if entry.whole is not None:
        rendered["whole"] = dict(entry.whole.texts)
    if entry.hidden:
        rendered["withheld"] = True
    if entry.released:
        rendered["released"] = True
    if entry.flag is not None:
        rendered["flag"] = flag_view(entry.flag)
    if entry.salt is None:
        rendered["erased"] = True
    return rendered


def for_author(rendered: Mapping[str, Any], command_id: str) -> dict[str, Any]:
    """What the author of an entry sees of it, out of what staff see."""
    seen = {name: value for name, value in rendered.items() if name not in _FOR_STAFF}
    seen["command_id"] = command_id
    return seen


def for_others(rendered: Mapping[str, Any]) -> dict[str, Any]:
    """What everybody sees of an entry, out of what staff see."""
    if "withheld" in rendered:
        seen = {name: rendered[name] for name in _HIDDEN_FIELDS if name in rendered}
        return seen | {"body": {}, "withheld": True}
    unseen = _FOR_STAFF if "released" in rendered else (*_FOR_STAFF, "whole")
    return {name: value for name, value in rendered.items() if name not in unseen}


def flag_view(flag: Flag) -> dict[str, Any]:
    """A flag as ``protocol.WireFlag``, ready for JSON."""
    view: dict[str, Any] = {
        "mark": flag.mark.value,
        "confidence": flag.confidence,
        "causes": [
            {
                "kind": each.kind.value,
                "category": each.category,
                "field": each.field,
                "start": each.start,
                "end": each.end,
                "confidence": each.confidence,
                "rule": each.rule,
            }
            for each in flag.causes
        ],
        "state": flag.state.value,
    }
    if flag.decided_by is not None and flag.decided_at is not None:
        view |= {"decided_by": flag.decided_by, "decided_at": rfc3339(flag.decided_at)}
    return view


def notice_of(flag: Flag | None) -> tuple[str, str] | None:
    """What became of a flagged text, and a sentence for its author; None where they need not know."""
    if flag is None or flag.mark is Mark.NOTED:
        return None
    return flag.mark.value, told_to_author(flag)


def notice_view(notice: tuple[str, str]) -> dict[str, str]:
    """The same as ``protocol.AckNotice``, ready for JSON."""
    return dict(zip(("mark", "message"), notice, strict=True))
