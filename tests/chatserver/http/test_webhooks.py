"""Webhooks over HTTP, with a real receiver where something is sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chatserver.http.webhooks import DESCRIPTION_CHARS
from chatserver.settings import Settings
from chatserver.webhooks.guard import URL_CHARS
from policies.vocabulary import ApiScope, DisputeId, Role, WebhookType
from storage.client import Database, Session
from storage.deliveries import Attempt, Deliveries
from storage.outbox import Outbox, OutboxEvent
from storage.webhooks import ENDPOINTS
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem
from tests.chatserver.http.test_fuzz import STRANGE
from tests.chatserver.webhooks.receiver import Receiver, receiving, status

URL = "https://8.8.8.8/hooks"
PATH = "/v1/webhooks"


@pytest.fixture(autouse=True)
async def no_webhooks(database: Database) -> AsyncIterator[None]:
    """The tests of this package share a database; an endpoint would see other tests' events."""
    await database.collection("outbox").delete_many({})
    yield
    for collection in ("webhooks", "webhook_streams", "webhook_deliveries"):
        await database.collection(collection).delete_many({})


@pytest.fixture
async def shop(backstage: Backstage, calling: Calling) -> Caller:
    return calling(await backstage.key(ApiScope.WEBHOOKS_WRITE))


@pytest.fixture
async def made(shop: Caller) -> dict[str, Any]:
    answer = await shop.post(PATH, {"url": URL, "types": ["dispute.opened", "appeal.filed"], "description": "shop"})
    assert answer.status_code == 201
    told: dict[str, Any] = answer.json()
    return told


async def patch(caller: Caller, path: str, body: Any) -> httpx.Response:
    return await caller.client.patch(path, json=body, headers=caller.headers)


async def delete(caller: Caller, path: str) -> httpx.Response:
    return await caller.client.delete(path, headers=caller.headers)


async def happen(database: Database, backstage: Backstage, webhook: str, *numbers: int) -> str:
    """Queue events of one dispute, park the first and deliver the second; the dispute."""
    dispute, now = f"d-{backstage.tag}", backstage.clock.now()
    events = [OutboxEvent(DisputeId(dispute), n, WebhookType.DISPUTE_OPENED, {"n": n}, now) for n in numbers]

    async def work(session: Session) -> None:
        await Outbox(database).put(events, session)

    await database.transact(work)
    deliveries = Deliveries(database, backstage.clock.now() - backstage.clock.now().replace(year=1930))
    while await deliveries.queue_new(now):
        pass
    (claim,) = await deliveries.claim(webhook, "t", now, now, now, 10)
    first = await deliveries.first(claim)
    assert first is not None
    await deliveries.parked(first, Attempt(now, 500, None, 12), now)
    second = await deliveries.first(claim)
    assert second is not None
    await deliveries.delivered(second, Attempt(now, 204, None, 7), now)
    return dispute


class TestAccess:
    async def test_only_keys_with_the_scope_may_come_in(
        self, backstage: Backstage, calling: Calling, made: dict[str, Any]
    ) -> None:
        others = [scope for scope in ApiScope if scope is not ApiScope.WEBHOOKS_WRITE]
        for credential in (
            await backstage.key(*others),
            backstage.token("buyer"),
            backstage.token("boss", Role.SENIOR_AGENT),
        ):
            caller = calling(credential)
            one = f"{PATH}/{made['id']}"
            for answer in (
                await caller.get(PATH),
                await caller.post(PATH, {"url": URL}),
                await caller.get(one),
                await patch(caller, one, {"enabled": False}),
                await delete(caller, one),
                await caller.post(f"{one}/rotate", {}),
                await caller.post(f"{one}/test", {}),
                await caller.get(f"{one}/deliveries"),
                await caller.get(f"{one}/deliveries/x:1"),
                await caller.post(f"{one}/replay", {"parked": True}),
            ):
                assert_problem(answer, 403, "forbidden")
        assert_problem(await calling().get(PATH), 401, "unauthenticated")

    async def test_what_is_not_there_is_not_found(self, shop: Caller) -> None:
        one = f"{PATH}/wh_0"
        for answer in (
            await shop.get(one),
            await patch(shop, one, {"enabled": False}),
            await delete(shop, one),
            await shop.post(f"{one}/rotate", {}),
            await shop.post(f"{one}/test", {}),
            await shop.get(f"{one}/deliveries"),
            await shop.get(f"{one}/deliveries/x:1"),
            await shop.post(f"{one}/replay", {"parked": True}),
        ):
            assert_problem(answer, 404, "not_found")


class TestEndpoints:
    async def test_the_secret_is_shown_once(self, shop: Caller, made: dict[str, Any]) -> None:
        assert made["secret"].startswith("whsec_")
        read = await shop.get(f"{PATH}/{made['id']}")
        listed = await shop.get(PATH)
        assert "whsec_" not in read.text + listed.text
        assert listed.json() == {"webhooks": [read.json()]}
        assert read.json() == {name: value for name, value in made.items() if name != "secret"}
        assert made == {
            "id": made["id"],
            "url": URL,
            "types": ["appeal.filed", "dispute.opened"],
            "description": "shop",
            "enabled": True,
            "created_at": "2026-01-31T09:30:00.000Z",
            "secrets": [{"created_at": "2026-01-31T09:30:00.000Z"}],
            "pending": 0,
            "parked": 0,
            "secret": made["secret"],
        }

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"url": ""},
            {"url": "http://8.8.8.8/"},
            {"url": "https://10.0.0.1/"},
            {"url": "https://localhost/"},
            {"url": "https://[::ffff:127.0.0.1]/"},
            {"url": "https://u:p@8.8.8.8/"},
            {"url": "https://8.8.8.8/".ljust(URL_CHARS + 1, "a")},
            {"url": URL, "types": ["dispute.exploded"]},
            {"url": URL, "types": ["dispute.opened"] * (len(WebhookType) + 1)},
            {"url": URL, "description": "x" * (DESCRIPTION_CHARS + 1)},
        ],
    )
    async def test_what_cannot_be_a_webhook_is_refused(self, shop: Caller, body: dict[str, Any]) -> None:
        assert_problem(await shop.post(PATH, body), 400, "bad_request")
        assert (await shop.get(PATH)).json() == {"webhooks": []}

    @pytest.mark.parametrize("field", ["url", "types", "description"])
    async def test_nothing_that_is_sent_makes_the_server_fail(self, shop: Caller, field: str) -> None:
        for value in STRANGE:
            content = json.dumps({"url": URL, field: value})
            headers = {**shop.headers, "Content-Type": "application/json"}
            answer = await shop.client.post(PATH, content=content, headers=headers)
            assert answer.status_code in (201, 400, 409), (value, answer.text)

    async def test_the_limits_are_as_they_are_said(self, shop: Caller) -> None:
        body = {
            "url": "https://8.8.8.8/".ljust(URL_CHARS, "a"),
            "types": [each.value for each in WebhookType],
            "description": "x" * DESCRIPTION_CHARS,
        }
        assert (await shop.post(PATH, body)).status_code == 201

    async def test_a_name_that_cannot_be_resolved_yet_is_accepted(self, shop: Caller) -> None:
        assert (await shop.post(PATH, {"url": "https://nothing.invalid/"})).status_code == 201

    async def test_there_may_be_so_many(self, shop: Caller) -> None:
        for _ in range(ENDPOINTS):
            assert (await shop.post(PATH, {"url": URL})).status_code == 201
        document = assert_problem(await shop.post(PATH, {"url": URL}), 409, "conflict")
        assert document["details"] == {"limit": ENDPOINTS}

    async def test_what_is_given_is_changed(self, shop: Caller, made: dict[str, Any]) -> None:
        one = f"{PATH}/{made['id']}"
        changed = (await patch(shop, one, {"url": "https://1.1.1.1/", "enabled": False})).json()
        assert (changed["url"], changed["enabled"], changed["types"]) == ("https://1.1.1.1/", False, made["types"])
        changed = (await patch(shop, one, {"types": [], "description": "", "enabled": True})).json()
        assert (changed["types"], changed["description"], changed["enabled"]) == ([], "", True)
        assert_problem(await patch(shop, one, {"url": "https://127.0.0.1/"}), 400, "bad_request")
        assert (await shop.get(one)).json()["url"] == "https://1.1.1.1/"

    async def test_a_removed_webhook_is_gone(self, shop: Caller, made: dict[str, Any]) -> None:
        answer = await delete(shop, f"{PATH}/{made['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert_problem(await shop.get(f"{PATH}/{made['id']}"), 404, "not_found")

    async def test_a_secret_is_replaced(self, shop: Caller, made: dict[str, Any], backstage: Backstage) -> None:
        one = f"{PATH}/{made['id']}"
        rotated = (await shop.post(f"{one}/rotate", {"overlap_s": 60})).json()
        assert rotated["secret"] not in (made["secret"], None)
        assert [secret.get("expires_at") for secret in rotated["secrets"]] == [None, "2026-01-31T09:31:00.000Z"]
        by_default = (await shop.post(f"{one}/rotate", {})).json()
        assert by_default["secrets"][1]["expires_at"] == "2026-02-01T09:30:00.000Z"
        at_once = (await shop.post(f"{one}/rotate", {"overlap_s": 0})).json()
        assert len(at_once["secrets"]) == 1
        for wrong in (-0.1, 30 * 24 * 3600 + 1, 1e300, "1"):
            assert_problem(await shop.post(f"{one}/rotate", {"overlap_s": wrong}), 400, "bad_request")


class TestTrying:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"webhook_private_targets": True, "webhook_timeout_s": 0.5})

    async def test_a_test_is_signed_and_says_how_it_went(self, shop: Caller) -> None:
        async with receiving(Receiver()) as receiver:
            made = (await shop.post(PATH, {"url": receiver.url})).json()
            told = (await shop.post(f"{PATH}/{made['id']}/test", {})).json()
            assert (told["delivered"], told["status"]) == (True, 204)
            sent = receiver.received[0].verified(made["secret"])
            assert (sent["type"], sent["data"]) == ("webhook.test", {"webhook": made["id"]})
            receiver.answer = lambda _: status(500)
            told = (await shop.post(f"{PATH}/{made['id']}/test", {})).json()
            assert (told["delivered"], told["status"]) == (False, 500)
            assert len({request.event for request in receiver.received}) == 2

            async def never(_: asyncio.StreamWriter) -> None:
                await asyncio.Event().wait()

            receiver.answer = lambda _: never
            told = (await shop.post(f"{PATH}/{made['id']}/test", {})).json()
            assert told["delivered"] is False
            assert told["error"] == "no answer within 0.5 s"
        assert (await shop.get(f"{PATH}/{made['id']}/deliveries")).json() == {"deliveries": []}


class TestDeliveries:
    async def test_they_are_listed_with_what_became_of_them(
        self, shop: Caller, database: Database, backstage: Backstage
    ) -> None:
        webhook = (await shop.post(PATH, {"url": URL})).json()["id"]
        dispute = await happen(database, backstage, webhook, 1, 2, 3)
        counted = (await shop.get(f"{PATH}/{webhook}")).json()
        assert (counted["pending"], counted["parked"]) == (1, 1)
        listed = (await shop.get(f"{PATH}/{webhook}/deliveries")).json()["deliveries"]
        at = "2026-01-31T09:30:00.000Z"
        common = {"type": "dispute.opened", "stream": dispute, "at": at}
        assert sorted(listed, key=lambda each: each["n"]) == [
            {
                **common, "event": f"{dispute}:1", "n": 1, "state": "parked", "attempts": 1, "ended_at": at,
                "last": {"at": at, "status": 500, "took_ms": 12},
            },
            {
                **common, "event": f"{dispute}:2", "n": 2, "state": "delivered", "attempts": 0, "ended_at": at,
                "last": {"at": at, "status": 204, "took_ms": 7},
            },
            {**common, "event": f"{dispute}:3", "n": 3, "state": "pending", "attempts": 0, "due_at": at},
        ]  # fmt: skip
        one = (await shop.get(f"{PATH}/{webhook}/deliveries/{dispute}:1")).json()
        assert one["data"] == {"n": 1}
        assert one["log"] == [{"at": at, "status": 500, "took_ms": 12}]
        assert_problem(await shop.get(f"{PATH}/{webhook}/deliveries/{dispute}:9"), 404, "not_found")

    async def test_they_are_listed_by_state_and_in_pages(
        self, shop: Caller, database: Database, backstage: Backstage
    ) -> None:
        webhook = (await shop.post(PATH, {"url": URL})).json()["id"]
        await happen(database, backstage, webhook, *range(1, 8))
        path = f"{PATH}/{webhook}/deliveries"
        parked = (await shop.get(path, state="parked")).json()
        assert [each["n"] for each in parked["deliveries"]] == [1]
        both = (await shop.get(path, state=["parked", "delivered"])).json()
        assert [each["n"] for each in both["deliveries"]] == [1, 2]
        page = (await shop.get(path, limit=4)).json()
        rest = (await shop.get(path, limit=4, cursor=page["next_cursor"])).json()
        assert len(page["deliveries"]) + len(rest["deliveries"]) == 7
        assert "next_cursor" not in rest
        for wrong in ({"state": "lost"}, {"limit": 0}, {"limit": 101}, {"cursor": "x"}):
            assert_problem(await shop.get(path, **wrong), 400, "bad_request")

    async def test_they_are_replayed(self, shop: Caller, database: Database, backstage: Backstage) -> None:
        webhook = (await shop.post(PATH, {"url": URL})).json()["id"]
        dispute = await happen(database, backstage, webhook, 1, 2)
        path = f"{PATH}/{webhook}/replay"
        assert (await shop.post(path, {"parked": True})).json() == {"events": 1}
        assert (await shop.post(path, {"event": f"{dispute}:2"})).json() == {"events": 1}
        assert (await shop.get(f"{PATH}/{webhook}")).json()["pending"] == 2
        assert (await shop.post(path, {"parked": True})).json() == {"events": 0}
        assert (await shop.post(path, {"since": "2026-01-31T09:30:00.001Z"})).json() == {"events": 0}
        assert (await shop.post(path, {"since": "2026-01-31T09:30:00Z"})).json()["events"] >= 2
        assert_problem(await shop.post(path, {"event": f"{dispute}:9"}), 404, "not_found")
        for wrong in (
            {}, {"parked": False}, {"parked": True, "event": "x"}, {"since": "2026-01-31T09:30:00Z", "event": "x"},
            {"since": 5}, {"since": "yesterday"}, {"event": ""}, {"event": "x" * 201},
        ):  # fmt: skip
            assert_problem(await shop.post(path, wrong), 400, "bad_request")


async def test_a_new_webhook_may_have_what_happened_before(
    shop: Caller, database: Database, backstage: Backstage
) -> None:
    first = (await shop.post(PATH, {"url": URL})).json()["id"]
    dispute = await happen(database, backstage, first, 1, 2)
    second = (await shop.post(PATH, {"url": URL})).json()["id"]
    await shop.post(f"{PATH}/{second}/replay", {"since": "2026-01-31T09:30:00Z"})
    listed = (await shop.get(f"{PATH}/{second}/deliveries")).json()["deliveries"]
    assert {f"{dispute}:1", f"{dispute}:2"} <= {each["event"] for each in listed}


async def test_the_document_shows_no_way_to_read_a_secret(calling: Calling) -> None:
    document = (await calling().get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert [name for name in schemas if "secret" in schemas[name].get("properties", {})] == ["WebhookSecret"]
    assert "whsec_" not in json.dumps(schemas["WebhookView"])
