"""Case files of what was flagged, masked, withheld, released and redacted, for each who may take one."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pypdfium2
import pytest

from chatserver import cli
from chatserver.cli.failures import ExitCode
from chatserver.transcript.case_file import CaseFile, Reader
from chatserver.transcript.html import HtmlForm
from chatserver.transcript.pdf_document import render_pdf
from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from policies.entry import Draft, Entry
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.room import SYSTEM
from policies.vocabulary import CommandId, EntryKind, RoomKind, Visibility
from storage.chain import genesis, link
from tests.chatserver.transcript.cases import (
    AGENT,
    BUYER,
    BY_BACK_END,
    BY_BUYER,
    BY_SELLER,
    BY_STAFF,
    OPENED,
    ORDER_ROOM,
    SELLER,
    case_file,
    erased,
    facts,
    written,
)
from tests.storage.making import salts

ORDER = facts(ORDER_ROOM, RoomKind.ORDER)
READERS = pytest.mark.parametrize("reader", [BY_BUYER, BY_SELLER, BY_STAFF, BY_BACK_END], ids=lambda each: each.role)
CARD = "my card is 4111111111111111"
MASKED = "my card is ••••••••••••••••"


def flag(mark: Mark, category: str, kind: CauseKind = CauseKind.CONTACT) -> Flag:
    return Flag(mark, 93, (Cause(kind, category, "text", 3, 9, 93, f"{category}.rule"),))


def moderated() -> list[Entry]:
    """What the seller has said in an order's room, and what became of it."""
    released = replace(flag(Mark.WITHHELD, "url"), state=FlagState.RELEASED, decided_by=AGENT.id, decided_at=OPENED)

    def said(number: int, text: str, **more: Any) -> Draft:
        return Draft(SELLER, CommandId(f"c{number}"), EntryKind.MESSAGE, {"text": text}, **more)

    def ruled(number: int, kind: EntryKind, seq: int) -> Draft:
        return Draft(AGENT, CommandId(f"r{number}"), kind, {"seq": seq, "reason": "I have looked at it."})

    hidden = Visibility.WITHHELD
    drafts = [
        Draft(BUYER, CommandId("b"), EntryKind.MESSAGE, {"text": "Where is it?"}),
        said(2, "call five five five", visibility=hidden, flag=flag(Mark.WITHHELD, "phone")),
        said(3, MASKED, flag=flag(Mark.MASKED, "card", CauseKind.SECRET), whole={"text": CARD}),
        said(4, "maybe on telegram", flag=flag(Mark.WARNED, "invite")),
        said(5, "lampenhaus.example/manual", visibility=hidden, flag=released),
        said(6, "you are a fool"),
        ruled(1, EntryKind.MESSAGE_RELEASED, 5),
        ruled(2, EntryKind.MESSAGE_REDACTED, 6),
        Draft(SYSTEM, CommandId("n"), EntryKind.NOTICE, {"notice": "contact", "about": 2, "text": "Stay here."}),
    ]
    entries = link(ORDER_ROOM, genesis(ORDER_ROOM), drafts, OPENED + timedelta(hours=1), salts())
    entries[4] = replace(entries[4], shown=Visibility.ALL)
    entries[5] = replace(entries[5], shown=Visibility.WITHHELD)
    return entries


def case(reader: Reader) -> CaseFile:
    return case_file(moderated(), ORDER, reader)


def document(reader: Reader) -> dict[str, Any]:
    file: dict[str, Any] = orjson.loads(written(case(reader)))
    return file


def pages(reader: Reader) -> tuple[str, str]:
    """The text of the page, and of the PDF."""
    pdf = pypdfium2.PdfDocument(BytesIO(render_pdf(read_case_file(written(case(reader))))))
    text = " ".join(page.get_textpage().get_text_range() for page in pdf)
    page = re.sub(r"<style.*?</style>|<[^>]+>", " ", "".join(HtmlForm().write(case(reader))), flags=re.DOTALL)
    return " ".join(page.split()), " ".join(text.split())


class TestFile:
    @READERS
    def test_it_is_read_again_as_it_was(self, reader: Reader) -> None:
        assert read_case_file(written(case(reader))).main == case(reader).main

    def test_the_other_party_has_neither_the_whole_nor_a_flag(self) -> None:
        entries = document(BY_BUYER)["entries"]
        assert not any({"whole", "flag"} & each.keys() for each in entries)
        assert [each["body"].get("text") for each in entries[:6]] == [
            "Where is it?",
            None,
            MASKED,
            "maybe on telegram",
            "lampenhaus.example/manual",
            None,
        ]
        assert ["salt" in each for each in entries[:6]] == [True, False, True, True, True, False]
        assert [each.get("shown") for each in entries[4:6]] == ["all", "withheld"]

    def test_the_author_has_the_whole_and_no_flag(self) -> None:
        entries = document(BY_SELLER)["entries"]
        assert not any("flag" in each for each in entries)
        assert entries[2]["whole"]["texts"] == {"text": CARD}
        assert all("salt" in each for each in entries)

    @pytest.mark.parametrize("reader", [BY_STAFF, BY_BACK_END], ids=lambda each: each.role)
    def test_staff_have_the_whole_and_the_flag(self, reader: Reader) -> None:
        entries = document(reader)["entries"]
        assert entries[2]["whole"]["texts"] == {"text": CARD}
        assert entries[1]["body"] == {"text": "call five five five"}
        assert [each.get("flag", {}).get("mark") for each in entries[:6]] == [
            None, "withheld", "masked", "warned", "withheld", None,
        ]  # fmt: skip
        assert (entries[4]["flag"]["state"], entries[4]["flag"]["decided_by"]) == ("released", AGENT.id)

    def test_once_it_is_released_both_have_the_whole(self) -> None:
        entries = moderated()
        entries[2] = replace(entries[2], shown=Visibility.ALL)
        seen = case_file(entries, ORDER, BY_BUYER).main.entries[2]
        assert seen.whole is not None
        assert seen.flag is None

    @READERS
    def test_what_was_erased_is_in_nobodys(self, reader: Reader) -> None:
        entries = moderated()
        entries[2] = replace(erased(entries[2]), whole=None, flag=None)
        seen = case_file(entries, ORDER, reader)
        assert verify_case_file(read_case_file(written(seen))).findings == ()
        assert b"4111" not in written(seen)


class TestVerifying:
    @READERS
    def test_it_holds(self, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "case.json"
        file.write_bytes(written(case(reader)))
        monkeypatch.setattr("sys.argv", ["chatserver", "verify", str(file)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code or 0) == ExitCode.DONE

    def test_what_cannot_be_known_is_named(self) -> None:
        told = {
            reader.role: " ".join(verify_case_file(case(reader)).unknown) for reader in (BY_BUYER, BY_SELLER, BY_STAFF)
        }
        assert "what was withheld (or erased) in entries 2, 6;" in told[BY_BUYER.role]
        assert "what is masked in entry 3;" in told[BY_BUYER.role]
        for role in (BY_SELLER.role, BY_STAFF.role):
            assert "masked" not in told[role]
            assert "withheld" not in told[role]
        assert ["what was found wrong" in each for each in told.values()] == [False, False, True]

    def test_the_whole_of_a_masked_text_cannot_be_changed(self) -> None:
        changes: list[Callable[[dict[str, Any]], None]] = [
            lambda whole: whole["texts"].update(text="my card is 4111111111111112"),
            lambda whole: whole["texts"].update(note="more"),
            lambda whole: whole["texts"].clear(),
            lambda whole: whole.update(salt="00" * 16),
        ]
        for change in changes:
            file = document(BY_STAFF)
            change(file["entries"][2]["whole"])
            found = verify_case_file(read_case_file(orjson.dumps(file))).findings
            assert [(each.seq, each.problem) for each in found] == [(3, "its content was changed")]

    def test_a_whole_cannot_be_put_beside_another_text(self) -> None:
        file = document(BY_STAFF)
        file["entries"][3]["whole"] = copy.deepcopy(file["entries"][2]["whole"])
        assert verify_case_file(read_case_file(orjson.dumps(file))).findings

    def test_who_sees_an_entry_follows_from_the_log(self) -> None:
        for seq, shown in ((1, "withheld"), (5, "withheld"), (6, None)):
            file = document(BY_STAFF)
            file["entries"][seq - 1]["shown"] = shown
            if shown is None:
                del file["entries"][seq - 1]["shown"]
            verdict = verify_case_file(read_case_file(orjson.dumps(file)))
            assert verdict.findings == ()  # perhaps staff have said so after the last entry of the file
            assert any(f"why entry {seq} is shown as it is" in each for each in verdict.unknown)

    def test_files_of_the_first_version_still_hold(self) -> None:
        file = document(BY_STAFF) | {"version": 1}
        for entry in file["entries"]:
            for name in ("whole", "shown", "flag"):
                entry.pop(name, None)
        assert verify_case_file(read_case_file(orjson.dumps(file))).findings == ()


class TestPages:
    def test_the_other_party_is_told_that_something_is_not_there(self) -> None:
        for text in pages(BY_BUYER):
            assert "4111111111111111" not in text
            assert "five five five" not in text
            assert "fool" not in text
            assert text.count("Withheld. Its content is not part of this file") == 2
            assert "Masked in part." in text
            assert "lampenhaus.example/manual" in text
            assert "Released by support" in text
            assert "93 %" not in text

    def test_the_author_sees_what_the_other_does_not(self) -> None:
        for text in pages(BY_SELLER):
            assert CARD in text
            assert "Masked for the other party: parts of the text." in text
            assert text.count("Withheld from the other party.") == 2
            assert "93 %" not in text

    def test_staff_see_all_of_it_and_why(self) -> None:
        for text in pages(BY_STAFF):
            assert CARD in text
            assert "call five five five" in text
            assert "phone (contact, 93 %)" in text
            assert "Flag withheld, released" in text
            assert "Decided staff-4, 31 January 2026, 09:30:00 UTC" in text
