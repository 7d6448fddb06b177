"""Messages in which something was found, as the rooms' writers append them."""

import os
from dataclasses import replace
from typing import Final

from policies.entry import Author, Draft, Entry
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.vocabulary import EntryKind, RoomId, Visibility
from storage.chain import link
from tests.chatserver.disputes.desks import SELLER, Shop

PHONE: Final = Cause(CauseKind.CONTACT, "phone", "text", 8, 20, 96, "phone.run")


def flag(mark: Mark = Mark.WITHHELD, *causes: Cause) -> Flag:
    return Flag(mark, 96, causes or (PHONE,))


async def written(
    shop: Shop, room: RoomId, author: Author = SELLER, mark: Mark | None = Mark.WITHHELD, *causes: Cause
) -> Entry:
    """A message of a party."""
    visibility = Visibility.WITHHELD if mark is Mark.WITHHELD else Visibility.ALL
    found = None if mark is None else flag(mark, *causes)
    draft = Draft(author, shop.command(), EntryKind.MESSAGE, {"text": "Call me 0176 123 456"}, visibility, found)
    if mark is Mark.MASKED:
        draft = replace(draft, body={"text": "Call me •••"}, whole={"text": "Call me 0176 123 456"})
    [entry] = link(room, await shop.log.head(room), [draft], shop.clock.now(), lambda: os.urandom(16))
    assert (await shop.log.submit([entry])).failure is None
    return entry
