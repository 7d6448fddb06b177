"""Case files over HTTP: who gets what, and in which form."""

from typing import Any

import httpx
import pypdfium2
import pytest

from chatserver.transcript.case_file import Reader
from chatserver.transcript.gathering import CaseFiles
from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from policies.entry import Author, Draft
from policies.vocabulary import ApiScope, CommandId, DisputeId, EntryKind, Role, RoomId, UserId, Visibility
from storage.chain import link
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem, salt, with_settings

FORMS = ("json", "html", "pdf")


@pytest.fixture
async def room(back_end: Caller, backstage: Backstage) -> str:
    """An order room in which both have talked, and the seller was withheld once."""
    assert (await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())).status_code == 201
    await backstage.say(backstage.buyer, Role.BUYER, "Where is it?")
    await backstage.say(backstage.seller, Role.SELLER, "write to ruth", visibility=Visibility.WITHHELD)
    await backstage.say(backstage.seller, Role.SELLER, "On its way.")
    return backstage.room


@pytest.fixture
async def dispute(room: str, backstage: Backstage, calling: Calling) -> dict[str, Any]:
    """A dispute about the order."""
    opening = backstage.opening()
    response = await calling(backstage.token(backstage.buyer)).post("/v1/disputes", opening)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def path(room: str) -> str:
    return f"/v1/rooms/{room}/transcript"


def file_of(response: httpx.Response) -> dict[str, Any]:
    """The case file of an answer, which has to hold."""
    assert response.status_code == 200, response.text
    case = read_case_file(response.content)
    assert verify_case_file(case).findings == ()
    found: dict[str, Any] = response.json()
    return found


def pdf_text(content: bytes) -> str:
    document = pypdfium2.PdfDocument(content)
    return "\n".join(page.get_textpage().get_text_range() for page in document)


class TestReaders:
    @pytest.mark.parametrize("form", FORMS)
    async def test_who_may_read_a_room_may_take_its_case_file(
        self, form: str, room: str, backstage: Backstage, calling: Calling
    ) -> None:
        readers = [
            backstage.token(backstage.buyer),
            backstage.token(backstage.seller),
            backstage.token("agent-1", Role.AGENT),
            backstage.token("senior-1", Role.SENIOR_AGENT),
            backstage.token("auditor-1", Role.AUDITOR),
            await backstage.key(ApiScope.DISPUTES_READ),
        ]
        for reader in readers:
            response = await calling(reader).get(path(room), format=form)
            assert response.status_code == 200, response.text

    @pytest.mark.parametrize("form", FORMS)
    async def test_others_may_not(self, form: str, room: str, backstage: Backstage, calling: Calling) -> None:
        stranger, nobody = calling(backstage.token("stranger")), calling()
        assert_problem(await stranger.get(path(room), format=form), 404, "not_found")
        assert_problem(await stranger.get(path("order-none"), format=form), 404, "not_found")
        assert_problem(await nobody.get(path(room), format=form), 401, "unauthenticated")
        writing = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
        assert_problem(await writing.get(path(room), format=form), 403, "forbidden")

    async def test_a_party_gets_nothing_of_what_is_withheld_from_it(
        self, room: str, backstage: Backstage, calling: Calling
    ) -> None:
        buyer = calling(backstage.token(backstage.buyer))
        for form in FORMS:
            response = await buyer.get(path(room), format=form)
            assert b"ruth" not in response.content
            if form == "pdf":
                assert "ruth" not in pdf_text(response.content)
        hidden = file_of(await buyer.get(path(room)))["entries"][1]
        assert (hidden["body"], hidden["author"]["name"], "salt" in hidden) == ({}, "", False)
        assert hidden["visibility"] == "withheld"

    async def test_its_author_and_staff_get_it(self, room: str, backstage: Backstage, calling: Calling) -> None:
        for reader in (
            backstage.token(backstage.seller),
            backstage.token("agent-1", Role.AGENT),
            await backstage.key(ApiScope.DISPUTES_READ),
        ):
            entry = file_of(await calling(reader).get(path(room)))["entries"][1]
            assert (entry["body"], entry["visibility"]) == ({"text": "write to ruth"}, "withheld")

    async def test_a_party_who_is_staff_elsewhere_reads_as_a_party(
        self, room: str, backstage: Backstage, calling: Calling
    ) -> None:
        file = file_of(await calling(backstage.token(backstage.buyer, Role.SENIOR_AGENT)).get(path(room)))
        assert file["generated_for"] == {"role": "buyer", "user": backstage.buyer}
        assert file["entries"][1]["body"] == {}

    async def test_what_staff_take_is_on_record(
        self, dispute: dict[str, Any], backstage: Backstage, calling: Calling
    ) -> None:
        await calling(backstage.token(backstage.buyer)).get(path(dispute["room"]))
        await calling(backstage.token("auditor-1", Role.AUDITOR)).get(path(dispute["room"]), format="html")
        page = await backstage.services.audit.page(DisputeId(dispute["id"]), 10)
        told = [(each.actor, each.action, each.room, dict(each.details)) for each in page.records]
        assert told == [("auditor-1", "room.transcript", dispute["room"], {"format": "html"})]


class TestDisputes:
    async def test_the_file_tells_the_dispute_and_holds_the_conversation(
        self, dispute: dict[str, Any], backstage: Backstage, calling: Calling
    ) -> None:
        for reader in (
            backstage.token(backstage.buyer),
            backstage.token("agent-1", Role.AGENT),
            await backstage.key(ApiScope.DISPUTES_READ),
        ):
            response = await calling(reader).get(path(dispute["room"]))
            file = file_of(response)
            told = (await calling(reader).get(f"/v1/disputes/{dispute['id']}")).json()
            del told["available_actions"], told["evidence_completeness"]  # of this reader, and of now
            assert file["dispute"] == told
            assert file["annexes"][0]["room"]["id"] == backstage.room
            assert len(file["annexes"][0]["entries"]) == 3
            verdict = verify_case_file(read_case_file(response.content))
            assert any("the state of the dispute is what its entries add up to" in line for line in verdict.holds)

    async def test_the_staff_log_is_for_staff(
        self, dispute: dict[str, Any], backstage: Backstage, calling: Calling
    ) -> None:
        staff_room = RoomId(f"staff-{dispute['id']}")
        log = backstage.services.log
        note = Draft(
            Author(UserId("agent-1"), Role.AGENT, "Amir"),
            CommandId("n"),
            EntryKind.MESSAGE,
            {"text": "a third such case"},
        )
        (entry,) = link(staff_room, await log.head(staff_room), [note], backstage.clock.now(), salt)
        assert (await log.submit([entry])).failure is None

        async def annexes(credential: str) -> list[str]:
            file = file_of(await calling(credential).get(path(dispute["room"])))
            return [annex["room"]["id"] for annex in file["annexes"]]

        assert await annexes(backstage.token("agent-2", Role.AGENT)) == [backstage.room, staff_room]
        for outsider in (
            backstage.token(backstage.buyer),
            backstage.token(backstage.seller, Role.AGENT),
            await backstage.key(ApiScope.DISPUTES_READ),
        ):
            assert await annexes(outsider) == [backstage.room]
        for form in FORMS:
            response = await calling(backstage.token(backstage.seller)).get(path(dispute["room"]), format=form)
            assert b"third such case" not in response.content
        assert_problem(await calling(backstage.token(backstage.buyer)).get(path(staff_room)), 404, "not_found")
        own = file_of(await calling(backstage.token("agent-2", Role.AGENT)).get(path(staff_room)))
        assert own["entries"][0]["body"] == {"text": "a third such case"}

    async def test_who_is_a_party_no_longer_learns_nothing_of_later_ones(
        self, dispute: dict[str, Any], backstage: Backstage, back_end: Caller, calling: Calling
    ) -> None:
        await backstage.close(DisputeId(dispute["id"]))
        later = {"id": f"later-{backstage.tag}", "name": "Leo Later"}
        put = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(buyer=later))
        assert put.status_code == 200, put.text
        response = await calling(backstage.token(backstage.buyer)).get(path(dispute["room"]))
        file = file_of(response)
        assert "order" not in file
        assert file["annexes"] == []
        assert b"later" not in response.content.lower()
        for form in ("html", "pdf"):
            page = await calling(backstage.token(backstage.buyer)).get(path(dispute["room"]), format=form)
            assert page.status_code == 200
        assert_problem(await calling(backstage.token(later["id"])).get(path(dispute["room"])), 404, "not_found")
        assert file_of(await calling(backstage.token("agent-1", Role.AGENT)).get(path(dispute["room"])))["order"]

    async def test_its_pages_tell_the_dispute(
        self, dispute: dict[str, Any], backstage: Backstage, calling: Calling
    ) -> None:
        buyer = calling(backstage.token(backstage.buyer))
        page = (await buyer.get(path(dispute["room"]), format="html")).text
        printed = pdf_text((await buyer.get(path(dispute["room"]), format="pdf")).content)
        for text in (page, printed):
            assert "Case file of dispute" in text
            assert "Annex 1: conversation about the order" in text
            assert dispute["description"] in " ".join(text.split())
            assert "Deadlines" in text


class TestForms:
    async def test_json_is_what_one_gets_unasked(self, room: str, backstage: Backstage, calling: Calling) -> None:
        response = await calling(backstage.token(backstage.buyer)).get(path(room))
        file = file_of(response)
        assert response.headers["content-type"] == "application/json"
        assert (file["format"], file["version"], file["generated_at"]) == (
            "dispute-chat.case-file", 2, "2026-01-31T09:30:00.000Z",
        )  # fmt: skip
        assert (file["room"]["id"], file["order"]["title"], file["head"]["seq"]) == (room, "A lamp", 3)
        order = (await calling(backstage.token(backstage.buyer)).get(f"/v1/orders/{backstage.order_id}")).json()
        assert {**order, **file["order"]} == order

    async def test_a_page_is_contained(self, room: str, backstage: Backstage, calling: Calling) -> None:
        response = await calling(backstage.token(backstage.buyer)).get(path(room), format="html")
        policy = response.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert "script" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["content-disposition"] == f'inline; filename="case-file-{room}-3.html"'
        assert response.headers["cache-control"] == "no-store"

    async def test_a_pdf_is_saved(self, room: str, backstage: Backstage, calling: Calling) -> None:
        response = await calling(backstage.token(backstage.buyer)).get(path(room), format="pdf")
        assert response.content.startswith(b"%PDF-")
        assert response.headers["content-type"] == "application/pdf"
        assert response.headers["content-disposition"] == f'attachment; filename="case-file-{room}-3.pdf"'
        text = pdf_text(response.content)
        assert "Where is it?" in text
        assert "Withheld" in text

    async def test_names_of_files_are_safe(self, backstage: Backstage, back_end: Caller) -> None:
        strange = f"{backstage.tag}@~=+#:{'x' * 100}"
        order = httpx.URL("http://test").copy_with(raw_path=f"/v1/orders/{strange.replace('#', '%23')}".encode())
        response = await back_end.client.put(order, json=backstage.report(), headers=back_end.headers)
        assert response.status_code == 201, response.text
        place = path(f"order-{strange}").replace("#", "%23")
        answered = await back_end.client.get(place, headers=back_end.headers)
        assert answered.status_code == 200, answered.text
        name = answered.headers["content-disposition"].partition("filename=")[2]
        assert name.strip('"').isascii()
        assert set(name) & set("@~=+#:/\\") == set()
        assert len(name) < 130

    async def test_another_form(self, room: str, backstage: Backstage, calling: Calling) -> None:
        response = await calling(backstage.token(backstage.buyer)).get(path(room), format="docx")
        assert assert_problem(response, 400, "bad_request")["details"]["field"] == "format"

    async def test_the_same_again_is_not_sent_again(self, room: str, backstage: Backstage, calling: Calling) -> None:
        buyer = calling(backstage.token(backstage.buyer))
        for form in FORMS:
            tag = (await buyer.get(path(room), format=form)).headers["etag"]
            backstage.clock.advance(60)
            known = Caller(buyer.client, {**buyer.headers, "If-None-Match": f'"other", {tag}'})
            again = await known.get(path(room), format=form)
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            for other in set(FORMS) - {form}:
                assert (await known.get(path(room), format=other)).status_code == 200
            await backstage.say(backstage.buyer, Role.BUYER, f"more before {form}")
            assert (await known.get(path(room), format=form)).status_code == 200

    async def test_an_empty_room(self, back_end: Caller, backstage: Backstage) -> None:
        await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())
        file = file_of(await back_end.get(path(backstage.room)))
        assert (file["entries"], file["head"]["seq"], file["generated_for"]) == ([], 0, {"role": "system"})
        for form in ("html", "pdf"):
            assert (await back_end.get(path(backstage.room), format=form)).status_code == 200

    async def test_what_was_erased_is_marked(self, room: str, backstage: Backstage, calling: Calling) -> None:
        await backstage.services.log.erase(backstage.room, author=UserId(backstage.buyer))
        staff = calling(backstage.token("agent-1", Role.AGENT))
        entry = file_of(await staff.get(path(room)))["entries"][0]
        assert (entry["body"], "salt" in entry) == ({}, False)
        for text in (
            (await staff.get(path(room), format="html")).text,
            pdf_text((await staff.get(path(room), format="pdf")).content),
        ):
            assert "Erased." in text
            assert "Where is it?" not in text


class TestLimits:
    @pytest.mark.parametrize("form", ["html", "pdf"])
    async def test_pages_have_a_limit_and_json_has_none(
        self, form: str, room: str, backstage: Backstage, calling: Calling
    ) -> None:
        credential = backstage.token(backstage.buyer)

        async def ask(limit: int, form: str) -> httpx.Response:
            api = with_settings(backstage, transcript_entries=limit)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
                return await Caller(client, {"Authorization": f"Bearer {credential}"}).get(path(room), format=form)

        assert (await ask(3, form)).status_code == 200
        problem = assert_problem(await ask(2, form), 413, "too_large")
        assert problem["details"] == {"limit": 2, "format": "json"}
        assert (await ask(2, "json")).status_code == 200

    async def test_pages_have_a_limit_of_text(self, room: str, backstage: Backstage, calling: Calling) -> None:
        size = len(b'{"text":"Where is it?"}') + len(b'{"text":"write to ruth"}')
        size += len(b'{"text":"On its way."}')
        credential = backstage.token(backstage.buyer)
        for limit, status in ((size, 200), (size - 1, 413)):
            api = with_settings(backstage, transcript_bytes=limit)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
                answer = await Caller(client, {"Authorization": f"Bearer {credential}"}).get(path(room), format="html")
                assert answer.status_code == status

    async def test_a_pdf_that_takes_too_long(self, room: str, backstage: Backstage, calling: Calling) -> None:
        api = with_settings(backstage, transcript_timeout_s=0.001)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
            caller = Caller(client, {"Authorization": f"Bearer {backstage.token(backstage.buyer)}"})
            problem = assert_problem(await caller.get(path(room), format="pdf"), 413, "too_large")
            assert problem["details"] == {"format": "json"}

    async def test_a_long_room_comes_in_a_stream_that_holds(
        self, back_end: Caller, backstage: Backstage, calling: Calling
    ) -> None:
        await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())
        log = backstage.services.log
        author = Author(UserId(backstage.buyer), Role.BUYER, "Ada")
        for batch in range(3):
            drafts = [
                Draft(author, CommandId(f"{batch}-{n}"), EntryKind.MESSAGE, {"text": f"{batch} {n}"})
                for n in range(450)
            ]
            entries = link(backstage.room, await log.head(backstage.room), drafts, backstage.clock.now(), salt)
            assert (await log.submit(entries)).failure is None
        file = file_of(await back_end.get(path(backstage.room)))
        assert [entry["seq"] for entry in file["entries"]] == list(range(1, 1351))


async def test_an_annex_holds_the_latest_entries(
    dispute: dict[str, Any], backstage: Backstage, calling: Calling
) -> None:
    services = backstage.services
    facts = await services.rooms.facts(RoomId(dispute["room"]))
    assert facts is not None
    for limit, first in ((3, 1), (2, 2)):
        files = CaseFiles(services.log, services.rooms, services.orders, services.disputes, annex=limit)
        cover = await files.cover(facts, Reader(Role.BUYER, UserId(backstage.buyer)), backstage.clock.now())
        case = await files.collect(cover, 100, 100_000)
        assert [entry.seq for entry in case.annexes[0].entries] == list(range(first, 4))
        verdict = verify_case_file(case)
        assert verdict.findings == ()
        assert any("entries before entry 2" in line for line in verdict.unknown) is (first == 2)
