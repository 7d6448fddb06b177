"""The order that a development instance starts with, and its people."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from chatserver.instance import Demo, Links
from policies.instant import rfc3339

ORDER_ID: Final = "demo-1001"
PLACED_BEFORE: Final = timedelta(days=2)
LINK_LIFE: Final = timedelta(days=30)
PEOPLE: Final[Mapping[str, Mapping[str, str]]] = {
    "buyer": {"sub": "demo-buyer", "name": "Bo Buyer"},
    "seller": {"sub": "demo-seller", "name": "Sal Seller"},
    "agent": {"sub": "demo-agent", "name": "Ada Agent", "role": "agent"},
}


def prepare(client: httpx.Client, api_key: str) -> Demo:
    """Report the demo order, unless it is known from an earlier run, and make a link for each of its people.

    Args:
        client: speaks to an instance in sandbox mode; its base URL is the instance's.

    Raises:
        httpx.HTTPError: the instance refused, or did not answer.
    """
    authorization = {"Authorization": f"Bearer {api_key}"}
    known = client.get(f"/v1/orders/{ORDER_ID}", headers=authorization)
    if known.status_code == httpx.codes.NOT_FOUND:
        now = datetime.fromisoformat(_post(client, "/v1/sandbox/clock", {"advance_s": 0})["now"])
        client.put(f"/v1/orders/{ORDER_ID}", json=_facts(now), headers=authorization).raise_for_status()
        known = client.get(f"/v1/orders/{ORDER_ID}", headers=authorization)
    room = known.raise_for_status().json()["order_room"]
    return Demo(order_id=ORDER_ID, links=Links(**{each: _link(client, room, PEOPLE[each]) for each in PEOPLE}))


def _facts(now: datetime) -> dict[str, Any]:
    buyer, seller = PEOPLE["buyer"], PEOPLE["seller"]
    return {
        "buyer": {"id": buyer["sub"], "name": buyer["name"]},
        "seller": {"id": seller["sub"], "name": seller["name"], "trust_level": "verified"},
        "title": "Mechanical keyboard, tenkeyless, brown switches",
        "category": "item",
        "amount": 8990,
        "currency": "EUR",
        "placed_at": rfc3339(now - PLACED_BEFORE),
        "details": {"quantity": 1, "shipping": "tracked parcel"},
    }


def _link(client: httpx.Client, room: str, person: Mapping[str, str]) -> str:
    wanted = {**person, "ttl_s": int(LINK_LIFE.total_seconds())}
    token = _post(client, "/v1/sandbox/tokens", wanted)["token"]
    # Behind the "#", where a browser keeps it to itself: tokens in paths and queries end up in logs.
    return f"{client.base_url}/#{urlencode({'room': room, 'token': token})}"


def _post(client: httpx.Client, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(path, json=content).raise_for_status().json()
    return answer


def token_in(link: str) -> str:
    """The token that a link carries."""
    from urllib.parse import parse_qs, urlsplit

    return parse_qs(urlsplit(link).fragment)["token"][0]
