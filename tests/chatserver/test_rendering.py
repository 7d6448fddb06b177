"""Who sees what of an entry."""

import os
from dataclasses import replace
from typing import Any

import pytest

from chatserver.protocol import WireEntry
from chatserver.rendering import is_whole, render
from policies.entry import Author, Draft, Entry
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.room import SYSTEM
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId, Visibility
from storage.chain import genesis, link
from tests.chatserver.moving_time import NOW

ROOM = RoomId("order-1")
BUYER = Author(UserId("b"), Role.BUYER, "Ada")


def entry(visibility: Visibility = Visibility.ALL, author: Author = BUYER) -> Entry:
    draft = Draft(author, CommandId("c-1"), EntryKind.MESSAGE, {"text": "hello"}, visibility)
    (made,) = link(ROOM, genesis(ROOM), [draft], NOW, lambda: os.urandom(16))
    return made


def test_what_is_rendered_is_an_entry_of_the_protocol() -> None:
    for made in (entry(), entry(Visibility.WITHHELD), replace(entry(), salt=None, body={})):
        for viewer in ("b", "s"):
            rendered = render(made, UserId(viewer), Role.BUYER)
            parsed = WireEntry.model_validate_json(WireEntry.model_validate(rendered, strict=False).model_dump_json())
            assert parsed.model_dump(mode="json", exclude_none=True) == rendered


def test_only_the_author_gets_the_command_id() -> None:
    assert render(entry(), UserId("b"), Role.BUYER)["command_id"] == "c-1"
    for viewer, role in ((UserId("s"), Role.SELLER), (UserId("a"), Role.AGENT), (None, Role.SYSTEM)):
        assert "command_id" not in render(entry(), viewer, role)


@pytest.mark.parametrize(
    ("viewer", "role", "whole"),
    [
        ("b", Role.BUYER, True),
        ("s", Role.SELLER, False),
        ("x", None, False),
        ("a", Role.AGENT, True),
        ("a", Role.SENIOR_AGENT, True),
        ("a", Role.AUDITOR, True),
        (None, Role.SYSTEM, True),
    ],
)
def test_who_sees_a_withheld_entry(viewer: str | None, role: Role | None, whole: bool) -> None:
    viewer_id = UserId(viewer) if viewer is not None else None
    made = entry(Visibility.WITHHELD)
    rendered = render(made, viewer_id, role)
    assert is_whole(made, viewer_id, role) is whole
    assert rendered["body"] == ({"text": "hello"} if whole else {})
    assert rendered["withheld"] is True
    assert rendered["seq"] == 1
    assert rendered["author"] == {"id": "b", "role": "buyer", "name": "Ada"}


def test_what_everybody_may_see_is_not_marked() -> None:
    rendered = render(entry(), UserId("s"), Role.SELLER)
    assert rendered["body"] == {"text": "hello"}
    assert "withheld" not in rendered
    assert "erased" not in rendered


def test_an_erased_entry_is_marked_for_everybody() -> None:
    erased = replace(entry(), salt=None, body={})
    assert render(erased, UserId("b"), Role.BUYER)["erased"] is True
    assert render(erased, UserId("a"), Role.AGENT)["erased"] is True


def test_a_user_who_is_called_like_the_server_is_not_its_author() -> None:
    made = entry(Visibility.WITHHELD, SYSTEM)
    rendered = render(made, SYSTEM.id, Role.BUYER)
    assert rendered["body"] == {}
    assert "command_id" not in rendered


def test_a_rendered_body_can_be_changed_without_changing_the_entry() -> None:
    made = entry()
    render(made, UserId("b"), Role.BUYER)["body"]["text"] = "other"
    assert made.body == {"text": "hello"}


FLAG = Flag(Mark.MASKED, 90, (Cause(CauseKind.CONTACT, "phone", "text", 3, 6, 90, "phone.number"),))
READERS = {
    "author": (UserId("b"), Role.BUYER),
    "other": (UserId("s"), Role.SELLER),
    "staff": (UserId("a"), Role.AGENT),
    "back end": (None, Role.SYSTEM),
}


def masked(**changes: Any) -> Entry:
    draft = Draft(BUYER, CommandId("c-1"), EntryKind.MESSAGE, {"text": "my •••"}, flag=FLAG, whole={"text": "my 123"})
    (made,) = link(ROOM, genesis(ROOM), [draft], NOW, lambda: os.urandom(16))
    return replace(made, **changes)


def seen(entry: Entry) -> dict[str, dict[str, Any]]:
    return {name: render(entry, user, role) for name, (user, role) in READERS.items()}


def test_the_whole_of_a_masked_text_is_for_its_author_and_staff() -> None:
    of = seen(masked())
    assert {name: view.get("whole") for name, view in of.items()} == {
        "author": {"text": "my 123"},
        "other": None,
        "staff": {"text": "my 123"},
        "back end": {"text": "my 123"},
    }
    assert all(view["body"]["text"] == "my •••" for view in of.values())


def test_a_flag_is_for_staff() -> None:
    assert {name for name, view in seen(masked()).items() if "flag" in view} == {"staff", "back end"}


def test_what_staff_have_released_everybody_sees_whole() -> None:
    for released in (masked(shown=Visibility.ALL), masked(shown=Visibility.ALL, visibility=Visibility.WITHHELD)):
        for view in seen(released).values():
            assert (view["whole"], view["released"], "withheld" in view) == ({"text": "my 123"}, True, False)


def test_what_staff_have_hidden_is_withheld() -> None:
    of = seen(masked(shown=Visibility.WITHHELD))
    assert (of["other"]["body"], of["other"]["withheld"], "whole" in of["other"]) == ({}, True, False)
    assert of["author"]["body"]["text"] == "my •••"


def test_everything_that_is_rendered_is_of_the_protocol() -> None:
    decided = replace(FLAG, state=FlagState.RELEASED, decided_by=UserId("a"), decided_at=NOW)
    for made in (masked(), masked(flag=decided, shown=Visibility.ALL)):
        for view in seen(made).values():
            parsed = WireEntry.model_validate_json(WireEntry.model_validate(view, strict=False).model_dump_json())
            assert parsed.model_dump(mode="json", exclude_none=True) == view
