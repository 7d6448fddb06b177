"""A page of entries as one reader sees it, bounded in bytes as well as in number."""

from collections.abc import Sequence

import orjson

from chatserver.rendering import render
from policies.entry import Entry
from policies.vocabulary import Role, UserId


def fit(
    entries: Sequence[Entry], viewer: UserId, role: Role, most_bytes: int, *, newest: bool = False
) -> tuple[list[orjson.Fragment], int]:
    """Render entries until they would exceed a size, but at least one.

    A hundred messages of the largest size are megabytes: as one frame they would cut off a client that is not slow.

    Args:
        entries: oldest first.
        newest: what does not fit is left out at the beginning, else at the end.

    Returns:
        What fits, oldest first, ready to be part of a JSON document, and how many were left out.
    """
    page: list[orjson.Fragment] = []
    size = 0
    for entry in reversed(entries) if newest else entries:
        rendered = orjson.dumps(render(entry, viewer, role))
        size += len(rendered)
        if page and size > most_bytes:
            break
        page.append(orjson.Fragment(rendered))
    if newest:
        page.reverse()
    return page, len(entries) - len(page)
