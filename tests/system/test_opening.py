"""Disputes opened over HTTP on two processes at once."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from storage.client import MongoConfig, open_database
from tests.system.conftest import Serve
from tests.system.site import Server, Site, token, unique

RACERS = 12


@pytest.mark.parametrize("keys", ["none", "same", "different"])
async def test_racing_openings_on_two_processes_make_one_dispute(
    keys: str, site: Site, pair: tuple[Server, Server]
) -> None:
    order = site.order(pair[0])
    wanted = {
        "order_id": order.id,
        "reason": "not_received",
        "description": "Nothing came.",
        "desired_resolution": "full_refund",
    }
    shared = unique("key")

    async def open_one(client: httpx.AsyncClient, number: int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token(order.buyer)}"}
        if keys != "none":
            headers["Idempotency-Key"] = shared if keys == "same" else f"{shared}-{number}"
        return await client.post(f"{pair[number % 2].url}/v1/disputes", json=wanted, headers=headers)

    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as client:
        answers = await asyncio.gather(*(open_one(client, number) for number in range(RACERS)))
    repeat = 200 if keys == "same" else 409
    assert Counter(answer.status_code for answer in answers) == {201: 1, repeat: RACERS - 1}
    (won,) = (answer.json()["id"] for answer in answers if answer.status_code == 201)
    told = {
        answer.json()["details"]["dispute"] if answer.status_code == 409 else answer.json()["id"] for answer in answers
    }
    assert told == {won}
    for server in pair:
        read = site.get(server, f"/v1/orders/{order.id}", token(order.seller))
        assert [each["id"] for each in read["disputes"]] == [won]
        assert read["dispute_eligibility"] == {"allowed": False, "rule": "active_dispute"}
        rooms = {each["room"] for each in site.get(server, "/v1/rooms", token(order.buyer))["rooms"]}
        assert rooms == {order.room, f"dispute-{won}"}
        entries = site.get(server, f"/v1/rooms/dispute-{won}/entries", token(order.seller))["entries"]
        assert [entry["kind"] for entry in entries] == ["dispute.opened", "notice"]
    database = open_database(MongoConfig(site.mongo_url, site.database))
    told_once = await database.collection("outbox").find({"dispute": won, "type": "dispute.opened"})
    await database.close()
    assert len(told_once) == 1


async def test_a_dispute_is_opened_under_the_policy_of_the_file(site: Site, serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        'version = "strict-7"\n[opening]\ndescription_chars = 10\n[terms]\nattend_within = "2h"\n'
        '[checklists.not_received]\nbuyer = ["document"]\nseller = []\n'
    )
    server = await serve(site, policy_file=file)
    order = site.order(server)
    headers = {"Authorization": f"Bearer {token(order.buyer)}"}
    wanted = {"order_id": order.id, "reason": "not_received", "desired_resolution": "full_refund"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=20.0, trust_env=False) as client:
        too_long = await client.post("/v1/disputes", json={**wanted, "description": "x" * 11})
        assert (too_long.status_code, too_long.json()["details"]["limit"]) == (413, 10)
        opened = (await client.post("/v1/disputes", json={**wanted, "description": "x" * 10})).json()
    assert opened["policy_version"] == "strict-7"
    assert opened["evidence_checklist"] == [{"side": "buyer", "kind": "document"}]
    (due,) = [each for each in opened["deadlines"] if each["rule"] == "seller_attend"]
    attend_within = datetime.fromisoformat(due["due_at"]) - datetime.fromisoformat(opened["opened_at"])
    assert attend_within == timedelta(hours=2)
