"""Case files are checked without a server, and nothing in them can be changed unseen."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from chatserver import cli
from chatserver.cli.failures import ExitCode
from chatserver.disputes.view import dispute_view
from chatserver.transcript.case_file import CaseFile, Reader
from chatserver.transcript.reading import Unreadable, read_case_file
from chatserver.transcript.verification import Verdict, verify_case_file
from policies.dispute.evolve import replay
from policies.entry import Entry
from policies.vocabulary import EntryKind, OrderId, Role, RoomId, RoomKind, Visibility
from tests.chatserver.transcript.cases import (
    BUYER,
    BY_BACK_END,
    BY_BUYER,
    BY_SELLER,
    BY_STAFF,
    DISPUTE_ROOM,
    ORDER_ROOM,
    SELLER,
    STAFF_ROOM,
    Said,
    case_file,
    chain,
    chained,
    conversation,
    erased,
    facts,
    long_room,
    written,
)
from tests.chatserver.transcript.playing import played
from tests.chatserver.transcript.story import notes
from tests.program import PROJECT

ORDER = facts(ORDER_ROOM, RoomKind.ORDER)
DISPUTE = facts(DISPUTE_ROOM, RoomKind.DISPUTE)
STAFF = facts(STAFF_ROOM, RoomKind.STAFF)


def document(case: CaseFile) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(written(case))
    return read


def verdict(file: dict[str, Any] | CaseFile, head: bytes | None = None) -> Verdict:
    content = orjson.dumps(file) if isinstance(file, dict) else written(file)
    return verify_case_file(read_case_file(content), head)


def is_caught(file: dict[str, Any]) -> bool:
    try:
        return bool(verdict(file).findings)
    except Unreadable:
        return True


def order_file(reader: Reader = BY_BUYER) -> CaseFile:
    said = [
        Said(0, BUYER, EntryKind.MESSAGE, {"text": "Where is it?"}),
        Said(1, SELLER, EntryKind.MESSAGE, {"text": "call me"}, Visibility.WITHHELD),
        Said(2, SELLER, EntryKind.MESSAGE, {"text": "On its way.", "reply_to": 1}),
    ]
    return case_file(chained(ORDER_ROOM, said), ORDER, reader)


def dispute_file(reader: Reader = BY_STAFF, entries: list[Entry] | None = None) -> CaseFile:
    entries = played() if entries is None else entries
    annexes = [chain(conversation(), ORDER, reader)]
    if reader is BY_STAFF:
        annexes.append(chain(notes(), STAFF, reader))
    return case_file(entries, DISPUTE, reader, annexes, dispute_view(replay(played()), reader.role))


def flipped(value: Any) -> Iterator[Any]:
    """Other values of the same type, and of another."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        yield str(value)
    elif isinstance(value, str):
        yield value + "x"
        yield value[:-1] if value else " "
        yield value[:-1] + ("0" if not value.endswith("0") else "1")
        yield None
    elif isinstance(value, dict):
        yield {**value, "more": 1}
        yield list(value)
    elif isinstance(value, list):
        yield [*value, "more"]
    else:
        yield 0


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place within a JSON value."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


class TestWhole:
    @pytest.mark.parametrize("reader", [BY_BUYER, BY_SELLER, BY_STAFF, BY_BACK_END], ids=lambda each: each.role)
    def test_it_holds(self, reader: Reader) -> None:
        for case in (order_file(reader), dispute_file(reader)):
            assert verdict(case).findings == ()
            assert read_case_file(written(case)) == case

    def test_it_is_the_same_for_the_same(self) -> None:
        assert written(dispute_file()) == written(dispute_file())

    def test_an_empty_room_holds(self) -> None:
        found = verdict(case_file([], ORDER))
        assert found.findings == ()
        assert any("0 entries" in line for line in found.holds)

    def test_what_a_party_was_not_shown_is_named(self) -> None:
        unknown = verdict(order_file(BY_BUYER)).unknown
        assert any("withheld (or erased) in entry 2" in line for line in unknown)
        assert not any("withheld" in line for line in verdict(order_file(BY_STAFF)).unknown)

    def test_what_was_erased_is_named(self) -> None:
        first, *rest = chained(ORDER_ROOM, [Said(0, BUYER, EntryKind.MESSAGE, {"text": str(n)}) for n in range(3)])
        found = verdict(case_file([erased(first), *rest], ORDER))
        assert found.findings == ()
        assert any("what was erased in entry 1; only its digest" in line for line in found.unknown)

    def test_many_are_not_named_one_by_one(self) -> None:
        found = verdict(case_file([erased(each) for each in long_room(21)], ORDER))
        assert any(line.count(",") == 19 and "20 and 1 more" in line for line in found.unknown)
        found = verdict(case_file([erased(each) for each in long_room(20)], ORDER))
        assert not any("more" in line for line in found.unknown)

    def test_an_annex_may_begin_later(self) -> None:
        case = dispute_file()
        annexes = [chain(long_room(5)[3:], ORDER, BY_STAFF)]
        found = verdict(case_file(played(), DISPUTE, BY_STAFF, annexes, dict(case.cover.dispute or {})))
        assert found.findings == ()
        assert any("the 3 entries before entry 4" in line for line in found.unknown)


class TestTampering:
    @pytest.mark.parametrize("reader", [BY_BUYER, BY_STAFF], ids=lambda each: each.role)
    def test_no_field_of_an_entry_can_be_changed(self, reader: Reader) -> None:
        for whole in (document(order_file(reader)), document(dispute_file(reader))):
            parts = [("entries",), *(("annexes", n, "entries") for n in range(len(whole["annexes"])))]
            looked = 0
            for part in parts:
                for path in places(at(whole, part)):
                    for value in flipped(at(whole, (*part, *path))):
                        file = copy.deepcopy(whole)
                        at(file, (*part, *path[:-1]))[path[-1]] = value
                        assert is_caught(file), (part, path, value)
                        looked += 1
            assert looked > 100

    def test_no_field_of_an_entry_can_be_removed(self) -> None:
        whole = document(order_file(BY_STAFF))
        for name in whole["entries"][0]:
            file = copy.deepcopy(whole)
            del file["entries"][0][name]
            assert is_caught(file), name

    @pytest.mark.parametrize(
        "name", ["format", "version", "after", "head", "room", "entries", "annexes", "generated_for"]
    )
    def test_no_part_can_be_left_out(self, name: str) -> None:
        file = document(order_file())
        del file[name]
        assert is_caught(file)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("format",), "another"),
            (("version",), 3),
            (("version",), True),
            (("generated_at",), "2026-02-09T12:00:00Z"),
            (("generated_at",), "2026-02-30T12:00:00.000Z"),
            (("generated_for", "role"), "owner"),
            (("room", "id"), "order-1"),
            (("room", "kind"), "dispute"),
            (("room", "order_id"), "1"),
            (("room", "closed"), 0),
            (("room", "created_at"), None),
            (("after", "seq"), 1),
            (("after", "hash"), "00" * 32),
            (("head", "seq"), 2),
            (("head", "seq"), -1),
            (("head", "hash"), "00" * 32),
            (("head", "hash"), "AB" * 32),
            (("more",), 1),
            (("dispute",), {}),
            (("order",), []),
        ],
        ids=str,
    )
    def test_what_stands_around_the_entries(self, path: tuple[str, ...], value: Any) -> None:
        file = document(order_file())
        at(file, path[:-1])[path[-1]] = value
        assert is_caught(file)

    def test_an_entry_that_is_taken_out_put_in_or_moved(self) -> None:
        whole = document(order_file(BY_STAFF))
        first, second, third = whole["entries"]
        for entries in (
            [first, third],
            [second, third],
            [first, second],
            [first, third, second],
            [first, second, second, third],
            [first, second, third, third],
            [],
        ):
            found = verdict({**whole, "entries": entries})
            assert found.findings, entries

    def test_the_place_is_named(self) -> None:
        file = document(order_file(BY_STAFF))
        file["entries"][2]["body"]["text"] = "Never sent."
        (finding,) = verdict(file).findings
        assert (finding.room, finding.seq, finding.problem) == (ORDER_ROOM, 3, "its content was changed")

    def test_a_text_that_only_looks_the_same(self) -> None:
        said = [Said(0, BUYER, EntryKind.MESSAGE, {"text": "caf\u00e9"})]
        file = document(case_file(chained(ORDER_ROOM, said), ORDER))
        file["entries"][0]["body"]["text"] = "cafe\u0301"
        assert is_caught(file)

    def test_content_that_is_not_proven_is_not_taken(self) -> None:
        """A name or body beside a digest without its salt could be anything."""
        whole = document(order_file(BY_BUYER))
        for change in ({"body": {"text": "call me"}}, {"author": {**whole["entries"][1]["author"], "name": "Sue"}}):
            file = copy.deepcopy(whole)
            file["entries"][1] |= change
            (finding,) = verdict(file).findings
            assert (finding.seq, finding.problem) == (2, "its content was changed")

    def test_a_record_that_was_made_anew_is_known_by_its_head(self) -> None:
        """The chain is no signature: who writes all of it anew has another head."""
        true, made = order_file(BY_STAFF), case_file(long_room(3), ORDER, BY_STAFF)
        assert verdict(made).findings == ()
        (finding,) = verdict(made, true.main.span.head.hash).findings
        assert "the head that is known is not in it" in finding.problem

    @pytest.mark.parametrize("value", [1.5, 2**53, -(2**53), {"a": 0.1}])
    def test_numbers_that_no_record_holds(self, value: Any) -> None:
        file = document(order_file())
        file["entries"][0]["body"]["text"] = value
        with pytest.raises(Unreadable) as refused:
            verdict(file)
        assert refused.value.place == "entries[0].body"

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b"null", b"\xff", b'{"format":"dispute-chat.case-file"}', b'"' * 1000, b"[" * 5000],
    )
    def test_what_is_no_case_file(self, content: bytes) -> None:
        with pytest.raises(Unreadable):
            read_case_file(content)


class TestHead:
    def test_without_one_nobody_knows_what_came_after(self) -> None:
        assert any("whether anything came after entry 3" in line for line in verdict(order_file()).unknown)

    def test_the_last_entrys_is_the_end(self) -> None:
        case = order_file()
        found = verdict(case, case.main.span.head.hash)
        assert found.findings == ()
        assert any("it ends at the head that is known" in line for line in found.holds)
        assert not any("came after" in line for line in found.unknown)

    def test_an_earlier_ones_is_in_it(self) -> None:
        case = order_file()
        found = verdict(case, case.main.entries[0].hash)
        assert found.findings == ()
        assert any("the head that is known is that of entry 1" in line for line in found.holds)
        assert any("came after entry 3" in line for line in found.unknown)

    def test_a_file_that_was_cut_off_does_not_hold_it(self) -> None:
        whole = order_file()
        first, second = whole.main.entries[:2]
        cut = case_file([first, second], ORDER)
        assert verdict(cut).findings == ()
        assert verdict(cut, whole.main.span.head.hash).findings


class TestDisputes:
    @pytest.mark.parametrize("reader", [BY_BUYER, BY_SELLER, BY_STAFF, BY_BACK_END], ids=lambda each: each.role)
    def test_the_state_follows_from_the_entries(self, reader: Reader) -> None:
        assert any("what its entries add up to" in line for line in verdict(dispute_file(reader)).holds)

    def test_no_field_of_the_state_can_be_changed(self) -> None:
        whole = document(dispute_file())
        for path in places(whole["dispute"]):
            for value in flipped(at(whole["dispute"], path)):
                file = copy.deepcopy(whole)
                at(file["dispute"], path[:-1])[path[-1]] = value
                (finding,) = verdict(file).findings
                assert str(path[0]) in finding.problem

    def test_nor_left_out(self) -> None:
        whole = document(dispute_file())
        for name in whole["dispute"]:
            file = copy.deepcopy(whole)
            del file["dispute"][name]
            assert verdict(file).findings, name
        del whole["dispute"]
        assert verdict(whole).findings

    def test_a_partys_view_is_that_of_a_party(self) -> None:
        file = document(dispute_file(BY_BUYER))
        file["dispute"] = document(dispute_file(BY_STAFF))["dispute"]
        assert verdict(file).findings

    def test_without_the_content_that_the_rules_need_it_is_not_known(self) -> None:
        first, *rest = played()
        found = verdict(dispute_file(entries=[erased(first), *rest]))
        assert found.findings == ()
        assert any("which needs the content of entry 1" in line for line in found.unknown)

    def test_a_withheld_message_is_not_needed(self) -> None:
        entries = played(withheld=True)
        case = case_file(entries, DISPUTE, BY_BUYER, (), dispute_view(replay(entries), Role.BUYER))
        found = verdict(case)
        assert found.findings == ()
        assert any("withheld" in line for line in found.unknown)
        assert any("what its entries add up to" in line for line in found.holds)

    def test_entries_that_are_no_dispute(self) -> None:
        for body in ({}, {"order": 1}, {"text": "x"}):
            made = chained(DISPUTE_ROOM, [Said(0, BUYER, EntryKind.DISPUTE_OPENED, body)])
            (finding,) = verdict(case_file(made, DISPUTE, BY_STAFF, (), {"id": "x"})).findings
            assert "not those of a dispute" in finding.problem

    def test_annexes_of_other_cases(self) -> None:
        case = dispute_file()
        told = dict(case.cover.dispute or {})
        other_order = replace(facts(RoomId("order-7"), RoomKind.ORDER), order_id=OrderId("7"))
        strange = [
            chain(chained(RoomId("order-7"), []), replace(ORDER, id=RoomId("order-7")), BY_STAFF),
            chain(chained(RoomId("order-7"), []), other_order, BY_STAFF),
            chain([], replace(STAFF, id=RoomId("staff-other")), BY_STAFF),
            chain(played(), DISPUTE, BY_STAFF),
        ]
        for annex in strange:
            found = verdict(case_file(played(), DISPUTE, BY_STAFF, [annex], told))
            assert any("belongs to another case" in each.problem for each in found.findings)
        found = verdict(case_file(conversation(), ORDER, BY_STAFF, [chain([], ORDER, BY_STAFF)]))
        assert found.findings


class TestCommand:
    def run(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
    ) -> tuple[int, str]:
        for name in ("CHATSERVER_MONGO_URL", "CHATSERVER_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("sys.argv", ["chatserver", "verify", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    def test_a_file_that_holds(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        case = dispute_file(BY_BUYER)
        file = tmp_path / "case.json"
        file.write_bytes(written(case))
        code, out = self.run(capsys, monkeypatch, str(file))
        assert code == ExitCode.DONE
        assert f"holds: {DISPUTE_ROOM}: {len(case.main.entries)} entries, head {case.main.span.head.hash.hex()}" in out
        assert "not proven" in out
        assert self.run(capsys, monkeypatch, str(file), "--head", case.main.span.head.hash.hex())[0] == ExitCode.DONE
        assert self.run(capsys, monkeypatch, str(file), "--head", "00" * 32)[0] == ExitCode.FAILED

    def test_files_that_do_not(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        good, bad, none = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "none.json"
        good.write_bytes(written(order_file()))
        bad.write_bytes(written(order_file()).replace(b"On its way.", b"Never sent."))
        code, out = self.run(capsys, monkeypatch, str(good), str(bad))
        assert code == ExitCode.FAILED
        assert f"{bad}: {ORDER_ROOM}: broken at entry 3 (its content was changed)" in out
        none.write_bytes(b"{}")
        code, out = self.run(capsys, monkeypatch, str(none))
        assert code == ExitCode.FAILED
        assert "this is not a case file" in out
        bad.write_bytes(written(order_file()).replace(b'"seq":3,', b'"seq":-3,'))
        assert "broken at entries[2].seq" in self.run(capsys, monkeypatch, str(bad))[1]

    def test_wrong_arguments(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "case.json"
        file.write_bytes(written(order_file()))
        assert self.run(capsys, monkeypatch, str(tmp_path / "missing.json")) == (
            ExitCode.FAILED,
            f"chatserver: there is no file {tmp_path / 'missing.json'}\n",
        )
        for head in ("00", "zz" * 32, "00" * 33):
            assert self.run(capsys, monkeypatch, str(file), "--head", head)[0] == ExitCode.USAGE
        assert self.run(capsys, monkeypatch, str(file), str(file), "--head", "00" * 32)[0] == ExitCode.USAGE
        assert self.run(capsys, monkeypatch, "order-1", "--head", "00" * 32)[0] == ExitCode.USAGE


class TestReadme:
    """The program in the README, which has nothing of this project in it."""

    def run(self, tmp_path: Path, content: bytes) -> subprocess.CompletedProcess[str]:
        blocks: list[str] = re.findall(r"```py\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
        (code,) = (block for block in blocks if "dispute-chat.entry.v1" in block)
        program, file = tmp_path / "check.py", tmp_path / "case.json"
        program.write_text(code)
        file.write_bytes(content)
        return subprocess.run([sys.executable, "-I", program, file], capture_output=True, text=True, check=False)

    @pytest.mark.parametrize("reader", [BY_BUYER, BY_STAFF], ids=lambda each: each.role)
    def test_it_takes_what_holds(self, reader: Reader, tmp_path: Path) -> None:
        case = dispute_file(reader)
        ended = self.run(tmp_path, written(case))
        assert ended.stderr == ""
        ends = [
            f"{each.room.id} {each.head.seq} {each.head.hash.hex()}" for each in (case.cover.main, *case.cover.annexes)
        ]
        assert ended.stdout.splitlines() == ends

    @pytest.mark.parametrize("old", [b"Please send", b'"seq":3', b'"role":"seller"', b"9f9f", b"T12:30"])
    def test_it_refuses_what_does_not(self, old: bytes, tmp_path: Path) -> None:
        before, entries, after = written(dispute_file()).partition(b'"entries":[')
        assert old in after
        after = after.replace(old, old[:-1] + (b"0" if old[-1:] != b"0" else b"1"), 1)
        assert self.run(tmp_path, before + entries + after).returncode
