"""What one reader sees of an entry: the only place that decides what a withheld entry shows to whom."""

from typing import Any, Final

from policies.entry import Entry
from policies.instant import rfc3339
from policies.vocabulary import STAFF, Role, UserId, Visibility

FULL_VIEW: Final = STAFF | {Role.SYSTEM}
"""Who sees every entry whole: staff, and the marketplace's back end (which reads as ``system``)."""


def is_author(entry: Entry, viewer_id: UserId | None) -> bool:
    """Whether the viewer wrote the entry. What the server wrote belongs to no user, whatever their id."""
    return entry.author.role is not Role.SYSTEM and entry.author.id == viewer_id


def is_whole(entry: Entry, viewer_id: UserId | None, viewer_role: Role | None) -> bool:
    """Whether the viewer sees the entry's content."""
    return entry.visibility is Visibility.ALL or viewer_role in FULL_VIEW or is_author(entry, viewer_id)


def render(entry: Entry, viewer_id: UserId | None, viewer_role: Role | None) -> dict[str, Any]:
    """An entry as ``protocol.WireEntry`` for one reader, ready for JSON.

    A withheld entry keeps its place: who may not see it gets the same seq with an empty body and ``withheld: true``;
    staff and its author get the body, and the mark as well. An erased one says so and has no content for anybody.

    Args:
        viewer_id: the reading user; None for the marketplace's back end.
        viewer_role: the reader's role in this room; ``system`` for the marketplace's back end.
    """
    rendered = whole(entry)
    if not is_whole(entry, viewer_id, viewer_role):
        rendered["body"] = {}
    if is_author(entry, viewer_id):
        rendered["command_id"] = entry.command_id
    return rendered


def whole(entry: Entry) -> dict[str, Any]:
    """An entry as those see it who may see all of it, without the command id, which is for its author."""
    author = entry.author
    rendered: dict[str, Any] = {
        "seq": entry.seq,
        "id": entry.id,
        "kind": entry.kind._value_,
        "author": {"id": author.id, "role": author.role._value_, "name": author.name},
        "at": rfc3339(entry.at),
        "body": dict(entry.body),
    }
    if entry.visibility is Visibility.WITHHELD:
        rendered["withheld"] = True
    if entry.salt is None:
        rendered["erased"] = True
    return rendered
