"""The HTML page and the PDF: everything of the record is on them, and no text of it acts."""

import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatserver.transcript import pdf_process
from chatserver.transcript.case_file import CaseFile, Reader
from chatserver.transcript.html import HtmlForm
from chatserver.transcript.kinds import words
from chatserver.transcript.pdf import PdfFailed, PdfForm
from chatserver.transcript.pdf_document import render_pdf
from chatserver.transcript.presentation import Item, days, front_page
from policies.entry import Entry
from policies.errors import TooLarge
from policies.vocabulary import EntryKind, RoomKind, Visibility
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
from tests.chatserver.transcript.story import HOSTILE, SCRIPTS, notes, standing, story
from tests.chatserver.transcript.test_verification import order_file

ORDER = facts(ORDER_ROOM, RoomKind.ORDER)
DISPUTE = facts(DISPUTE_ROOM, RoomKind.DISPUTE)
PAGE = HtmlForm()


def whole_story(reader: Reader = BY_BUYER) -> CaseFile:
    annexes = [chain(conversation(), ORDER, reader)]
    if reader is BY_STAFF:
        annexes.append(chain(notes(), facts(STAFF_ROOM, RoomKind.STAFF), reader))
    return case_file(story(), DISPUTE, reader, annexes, standing())


def with_text(text: str, name: str = BUYER.name) -> CaseFile:
    author = type(BUYER)(BUYER.id, BUYER.role, name)
    return case_file(chained(ORDER_ROOM, [Said(0, author, EntryKind.MESSAGE, {"text": text})]), ORDER, BY_STAFF)


def html(case: CaseFile) -> str:
    return "".join(PAGE.write(case))


def pdf_text(content: bytes) -> str:
    document = pypdfium2.PdfDocument(content)
    return "\n".join(page.get_textpage().get_text_range() for page in document)


class Parsed(HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, page: str, between: str = "") -> None:
        super().__init__()
        self.between = between
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data + self.between


class TestHtml:
    def test_the_same_case_gives_the_same_page(self) -> None:
        assert html(whole_story()) == html(whole_story())

    def test_a_text_is_never_markup(self) -> None:
        calm = with_text("calm")
        wild = with_text(HOSTILE, name='<b onclick="x">"Eve\u202e')
        assert Parsed(html(wild)).tags == Parsed(html(calm)).tags
        assert "<script>alert(1)</script>" in Parsed(html(wild)).text
        assert "{{ 7*7 }}" in Parsed(html(wild)).text
        assert "\u202e" not in html(wild)

    def test_every_string_of_a_case_is_escaped(self) -> None:
        evil = "<i>\"'&"

        def poisoned(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: poisoned(each) for name, each in value.items()}
            if isinstance(value, list):
                return [poisoned(each) for each in value]
            return f"{value}{evil}" if isinstance(value, str) else value

        entries = chained(
            DISPUTE_ROOM, [Said(n, BUYER, each.kind, poisoned(dict(each.body))) for n, each in enumerate(story())]
        )
        page = html(case_file(entries, DISPUTE, BY_STAFF, (), poisoned(standing())))
        assert "<i>" not in page
        assert page.count("&lt;i&gt;&#34;&#39;&amp;") > 100

    def test_it_needs_nothing_and_runs_nothing(self) -> None:
        parsed = Parsed(html(whole_story(BY_STAFF)))
        assert not {"script", "img", "iframe", "object", "embed", "form", "input", "link", "base"} & set(parsed.tags)
        names = {name for name, _ in parsed.attributes}
        assert not {"style", "src", "srcset", "action"} & names
        assert not any(name.startswith("on") for name in names)
        assert all(str(value).startswith("#") for name, value in parsed.attributes if name == "href")
        assert "url(" not in html(whole_story()) + PAGE.policy
        assert "@import" not in html(whole_story())

    def test_it_carries_its_policy_when_it_is_saved(self) -> None:
        meta = next(
            value for name, value in Parsed(html(whole_story())).attributes if name == "content" and "src" in str(value)
        )
        assert meta is not None
        assert PAGE.policy == f"sandbox; {meta}; frame-ancestors 'none'"

    def test_it_can_be_found_through(self) -> None:
        parsed = Parsed(html(whole_story(BY_STAFF)))
        assert ("lang", "en") in parsed.attributes
        assert len(parsed.ids) == len(set(parsed.ids))
        assert {"main", "header", "h1", "h2", "h3", "ol", "article", "time", "dl"} <= set(parsed.tags)
        assert parsed.tags.count("h1") == 1
        assert parsed.tags.count("main") == 1
        assert parsed.tags.count("article") == len(story()) + len(conversation()) + len(notes())

    def test_it_comes_in_pieces(self) -> None:
        pieces = list(PAGE.write(case_file(long_room(500), ORDER)))
        assert len(pieces) > 5
        assert max(map(len, pieces)) < 200_000


class TestPdf:
    def test_the_same_case_gives_the_same_bytes(self) -> None:
        assert render_pdf(whole_story()) == render_pdf(whole_story())

    def test_a_text_is_never_markup(self) -> None:
        text = pdf_text(render_pdf(with_text(HOSTILE)))
        for part in ('#eval("1")', "#set page(width: 1pt)", "$x$ *b* _i_ `c` @ref <label>", "[U+202E]evil[U+202C]"):
            assert part in text

    def test_scripts_that_have_glyphs_come_out_as_they_went_in(self) -> None:
        text = " ".join(pdf_text(render_pdf(with_text(SCRIPTS), system_fonts=False)).split())
        for part in ("η λάμπα τρεμοπαίζει", "лампа мигает", "żółć", "Íslenska", "nhấp nháy", "þetta er ónýtt"):
            assert part in text

    def test_every_page_has_its_number_and_the_head(self) -> None:
        case = case_file(long_room(60), ORDER)
        document = pypdfium2.PdfDocument(render_pdf(case))
        assert len(document) > 3
        for number, page in enumerate(document, start=1):
            text = page.get_textpage().get_text_range()
            assert f"{number} of {len(document)}" in text
            assert case.main.span.head.hash.hex()[:12] in text
        assert document.get_metadata_dict()["Title"].startswith("Case file of order 1042")

    def test_long_words_stay_on_the_page(self) -> None:
        document = pypdfium2.PdfDocument(render_pdf(with_text("a" * 3000, name="N" * 300)))
        for page in document:
            width = page.get_width()
            assert all(right <= width - 40 for _, _, right, _ in rectangles(page))

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text(max_size=400), st.text(max_size=40))
    def test_no_text_makes_it_fail(self, text: str, name: str) -> None:
        case = with_text(text.encode("utf-8", "ignore").decode(), name.encode("utf-8", "ignore").decode())
        assert render_pdf(case).startswith(b"%PDF-")
        assert Parsed(html(case)).tags.count("article") == 1

    def test_a_room_without_entries(self) -> None:
        case = case_file([], ORDER)
        assert "No entries." in pdf_text(render_pdf(case))
        assert "No entries." in html(case)


def items(case: CaseFile) -> list[Item]:
    return [item for day in days(case.main.entries, case.cover, case.main.span) for item in day.items]


def rectangles(page: Any) -> list[tuple[float, float, float, float]]:
    text = page.get_textpage()
    return [text.get_rect(number) for number in range(text.count_rects())]


class TestContent:
    @pytest.mark.parametrize("form", ["html", "pdf"])
    def test_everything_of_a_dispute_is_on_it(self, form: str) -> None:
        case = whole_story(BY_STAFF)
        page = Parsed(html(case), " ").text if form == "html" else pdf_text(render_pdf(case))
        text = " ".join(page.split())
        for part in (
            "Case file of dispute 0f2d6a8c41b7e95d3a60",
            "Desk lamp “Nordlicht”, brass",
            "9 February 2026, 12:00:00 UTC",
            "Bea Novak (u-17)",
            "Amir (staff-4)",
            "89.90 EUR",
            "Dispute opened: defective",
            "Evidence: photo",
            "9f" * 32,
            "Offer: partial refund",
            "15.00 EUR",
            "Offer rejected",
            "Escalated to support by rule: silence of both parties",
            "Counted from 31 January 2026, 17:30:00 UTC",
            "Evidence requested from the seller",
            "Decision: in the buyer's favor",
            "The photo shows a cracked switch.",
            "Settlement by the marketplace",
            "Time to appeal due 9 February 2026, 05:30:00 UTC",
            "Order: payment refunded",
            "Annex 1: conversation about the order",
            "Annex 2: staff log",
            "Seller had two such cases this month.",
            case.main.span.head.hash.hex(),
            *(entry.hash.hex() for entry in case.main.entries),
        ):
            assert part in text, part

    @pytest.mark.parametrize("form", ["html", "pdf"])
    def test_a_party_sees_no_more_than_its_own(self, form: str) -> None:
        for reader, sees in ((BY_BUYER, False), (BY_SELLER, True), (BY_STAFF, True), (BY_BACK_END, True)):
            case = whole_story(reader)
            text = html(case) if form == "html" else pdf_text(render_pdf(case))
            assert ("0151 5550123" in text) is sees
            assert ("Withheld. Its content is not part" in " ".join(text.split())) is not sees
            assert "Lampenhaus Süd" in text

    def test_what_was_erased_says_so(self) -> None:
        first, second = chained(
            ORDER_ROOM,
            [
                Said(0, BUYER, EntryKind.MESSAGE, {"text": "my address"}),
                Said(1, SELLER, EntryKind.MESSAGE, {"text": "sent"}, Visibility.WITHHELD),
            ],
        )
        for reader in (BY_BUYER, BY_STAFF):
            case = case_file([erased(first), second], ORDER, reader)
            first_item = items(case)[0]
            assert first_item.mark.startswith("Erased.")
            assert (first_item.author, first_item.text) == (BUYER.name, "")
        assert items(case_file([erased(second)], ORDER, BY_STAFF))[0].mark.startswith("Erased.")

    def test_a_timeline_goes_day_by_day(self) -> None:
        case = case_file(long_room(3000), ORDER)
        found = [(day.name, len(list(day.items))) for day in days(case.main.entries, case.cover, case.main.span)]
        assert [name for name, _ in found] == ["31 January 2026", "1 February 2026", "2 February 2026"]
        assert [item.seq for item in items(case)] == list(range(1, 3001))
        assert sum(count for _, count in found) == 3000

    def test_a_long_day_is_made_entry_by_entry(self) -> None:
        """Or everybody else on the server would wait for it."""
        case = case_file(long_room(300), ORDER)
        looked = 0

        def counted() -> Iterator[Entry]:
            nonlocal looked
            for entry in case.main.entries:
                looked += 1
                yield entry

        (first_day, *_) = itertools.islice(days(counted(), case.cover, case.main.span), 1)
        assert next(first_day.items).seq == 1
        assert looked == 1

    @pytest.mark.parametrize("kind", list(EntryKind))
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {
                "text": 5,
                "reason": [],
                "rule": {},
                "notice": [1],
                "outcome": None,
                "amount": "x",
                "currency": 5,
                "due_at": 1,
            },
            {
                "order": 1,
                "policy": [],
                "settlement": "x",
                "receipt": None,
                "event": {"data": []},
                "checklist": {"buyer": 1},
            },
            {"event": {"type": {}, "at": 5, "data": {"amount": 5, "deep": {"er": [{}]}}}, "policy": {"terms": 5}},
        ],
    )
    def test_any_body_can_be_told(self, kind: EntryKind, body: dict[str, Any]) -> None:
        (entry,) = chained(ORDER_ROOM, [Said(0, BUYER, kind, body)])
        assert words(entry.kind, entry.body, "EUR").tone
        assert Parsed(html(case_file([entry], ORDER))).tags.count("article") == 1

    @pytest.mark.parametrize("kind", list(EntryKind))
    def test_nothing_of_a_body_is_left_out(self, kind: EntryKind) -> None:
        (entry,) = chained(ORDER_ROOM, [Said(0, BUYER, kind, {"later": "added", "within": {"a": {"b": "deep"}}})])
        told = {fact.label: fact.value for fact in words(entry.kind, entry.body, "EUR").facts}
        assert told == {"Later": "added", "Within: a: b": "deep"}

    def test_all_that_may_be_open_in_a_dispute_is_told(self) -> None:
        offer = {"seq": 7, "side": "seller", "resolution": "partial_refund", "amount": 1500, "note": "Once more.",
                 "expires_at": "2026-02-03T15:30:00.250Z"}  # fmt: skip
        state = standing()
        state |= {
            "frozen": True,
            "frozen_at": "2026-02-01T00:00:00.000Z",
            "agent": {"name": "Amir", "since": "2026-02-01T00:00:00.000Z"},
            "deadlines": [{"rule": "no_update", "due_at": "2026-02-03T17:30:00.250Z", "moved_by": 11, "paused": True}],
            "offers": [offer],
            "fulfillment": {"offer": {**offer, "resolution": "replacement"}, "fulfill_by": "2026-02-08T00:00:00.000Z"},
            "recommendation": {**state["decision"], "statement": "I would pay back half.", "agent": "staff-5"},
            "appeal": {"seq": 20, "at": "2026-02-07T00:00:00.000Z", "side": "seller", "reason": "It was tested.",
                       "evidence": ["ev-2"], "answered": False, "against": "staff-4"},
            "earlier_settlements": [{**state["settlement"], "status": "failed", "attempts": 3}],
            "recused": ["staff-9"],
        }  # fmt: skip
        page = Parsed(html(case_file(story(), DISPUTE, BY_STAFF, (), state)), " ").text
        text = " ".join(page.split())
        for part in (
            "Frozen since 1 February 2026, 00:00:00 UTC",
            "Agent Amir",
            "Recused staff-9",
            "Silence of both parties due 3 February 2026, 17:30:00 UTC, paused (moved by entry 11)",
            "Open offer Once more. By the seller Resolution partial refund Amount 15.00 EUR",
            "To be fulfilled Once more. By the seller Resolution replacement",
            "To be done by 8 February 2026, 00:00:00 UTC",
            "Recommendation I would pay back half.",
            "By staff-5",
            "Appeal It was tested. By the seller",
            "Against the decision of staff-4",
            "Earlier settlement Status failed",
            "Asked for 3 times",
        ):
            assert part in text, part

    def test_an_order_tells_how_it_stands(self) -> None:
        case = case_file(conversation(), ORDER)
        order = dict(case.cover.order or {})
        order["state"] = {**order["state"], "refunded": 4500, "chargeback": "open"}
        case = replace(case, cover=replace(case.cover, order=order))
        text = " ".join(Parsed(html(case), " ").text.split())
        for part in ("Chargeback open", "Refunded so far 45.00 EUR", "Payment held", "Sku NL-7", "Parcel: carrier DHL"):
            assert part in text

    def test_a_file_without_the_order(self) -> None:
        case = case_file(conversation(), ORDER)
        case = replace(case, cover=replace(case.cover, order=None))
        assert front_page(case).title == "Order 1042"
        assert render_pdf(case)

    def test_a_dispute_that_tells_little(self) -> None:
        strange: dict[str, Any] = {"deadlines": [1, {}], "offers": {}, "settlement": 5, "decision": {"amount": "?"}}
        case = case_file(story(), DISPUTE, BY_STAFF, (), strange)
        assert [group.title for group in front_page(case).groups] == [
            "Parties", "Order", "Dispute", "Deadlines", "Decision",
        ]  # fmt: skip
        assert render_pdf(case)


class TestProcess:
    def form(self, **changed: Any) -> PdfForm:
        options: dict[str, Any] = {"system_fonts": False, "timeout_s": 60.0, "memory": 4 * 1024**3, **changed}
        return PdfForm(options.pop("fonts", []), **options)

    async def test_it_makes_what_the_document_is(self) -> None:
        case = order_file()
        assert await self.form().write(written(case)) == render_pdf(case, system_fonts=False)

    async def test_it_ends_in_time(self) -> None:
        with pytest.raises(TooLarge):
            await self.form(timeout_s=0.01).write(written(order_file()))

    async def test_it_keeps_to_its_memory(self) -> None:
        with pytest.raises(TooLarge):
            await self.form(memory=300 * 1024**2).write(written(case_file(long_room(2000), ORDER)))

    async def test_it_says_when_it_cannot(self) -> None:
        with pytest.raises(PdfFailed, match="not a case file"):
            await self.form().write(b"{}")

    async def test_it_does_not_get_the_servers_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", "/nowhere")
        monkeypatch.setenv("CHATSERVER_JWT_SECRET", "secret")
        monkeypatch.setattr(sys, "executable", "/usr/bin/env")
        with pytest.raises(PdfFailed) as failed:
            await self.form().write(b"")
        assert "secret" not in str(failed.value)

    def test_the_process_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limits: list[tuple[int, int]] = []
        monkeypatch.setattr(pdf_process, "_limit", lambda what, most: limits.append((what, most)))
        target = BytesIO()
        assert pdf_process.main(["1000000", "9", "0"], BytesIO(written(order_file())), target) == 0
        assert target.getvalue() == render_pdf(order_file(), system_fonts=False)
        assert [most for _, most in limits] == [1_000_000, 9, 0]
        assert re.match(rb"%PDF-1\.\d", target.getvalue())
