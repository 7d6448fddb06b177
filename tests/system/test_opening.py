"""Disputes opened over HTTP on two processes at once."""

import asyncio
from collections import Counter

import httpx
import pytest

from storage.client import MongoConfig, open_database
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
