"""The documents that describe the server, as machines and people get them."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from chatserver.http.docs_page import CSP, STYLE, markdown, page
from policies.errors import ErrorCode
from policies.refusals import REFUSALS
from tests.chatserver.http.conftest import Backstage, Caller, Calling, with_settings


@pytest.fixture
async def openapi(calling: Calling) -> dict[str, Any]:
    document: dict[str, Any] = (await calling().get("/openapi.json")).json()
    return document


async def test_the_openapi_document_is_valid(openapi: dict[str, Any]) -> None:
    validate(openapi)


async def test_every_route_of_the_contract_is_described(openapi: dict[str, Any]) -> None:
    routes = {(method, path) for path, item in openapi["paths"].items() for method in item}
    assert routes == {
        ("put", "/v1/orders/{order_id}"),
        ("get", "/v1/orders/{order_id}"),
        ("post", "/v1/orders/{order_id}/events"),
        ("post", "/v1/disputes"),
        ("get", "/v1/disputes"),
        ("get", "/v1/disputes/{dispute}"),
        ("get", "/v1/disputes/{dispute}/audit"),
        ("post", "/v1/disputes/{dispute}/hold"),
        ("get", "/v1/rooms"),
        ("get", "/v1/rooms/{room}/entries"),
        ("get", "/v1/rooms/{room}/transcript"),
        ("post", "/v1/rooms/{room}/entries/{seq}/release"),
        ("post", "/v1/rooms/{room}/entries/{seq}/redact"),
        ("post", "/v1/rooms/{room}/entries/{seq}/confirm"),
        ("put", "/v1/rooms/{room}/slow-mode"),
        ("post", "/v1/rooms/{room}/reports"),
        ("get", "/v1/reports"),
        ("post", "/v1/reports/{report}/resolve"),
        ("get", "/v1/flags"),
        ("get", "/v1/users/{user_id}/strikes"),
        ("post", "/v1/rooms/{room}/evidence"),
        ("get", "/v1/evidence/{evidence_id}"),
        ("delete", "/v1/evidence/{evidence_id}"),
        ("get", "/v1/evidence/{evidence_id}/upload"),
        ("post", "/v1/evidence/{evidence_id}/complete"),
        ("post", "/v1/policies/contact/check"),
        ("post", "/v1/webhooks"),
        ("get", "/v1/webhooks"),
        ("get", "/v1/webhooks/{webhook}"),
        ("patch", "/v1/webhooks/{webhook}"),
        ("delete", "/v1/webhooks/{webhook}"),
        ("post", "/v1/webhooks/{webhook}/rotate"),
        ("post", "/v1/webhooks/{webhook}/test"),
        ("get", "/v1/webhooks/{webhook}/deliveries"),
        ("get", "/v1/webhooks/{webhook}/deliveries/{event}"),
        ("post", "/v1/webhooks/{webhook}/replay"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }


async def test_every_route_of_the_api_says_how_it_fails(openapi: dict[str, Any]) -> None:
    for path, item in openapi["paths"].items():
        for operation in item.values():
            refused = operation["responses"].get("422")
            assert refused is None or "`refused`" in refused["description"]
            if path.startswith("/v1/"):
                assert operation["security"]
                problem = operation["responses"]["401"]["content"]["application/problem+json"]
                assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}


async def test_opening_a_dispute_says_all_that_may_come_of_it(openapi: dict[str, Any]) -> None:
    operation = openapi["paths"]["/v1/disputes"]["post"]
    assert operation["responses"].keys() == {
        "200", "201", "400", "401", "403", "404", "409", "413", "422", "429", "503",
    }  # fmt: skip
    (key,) = operation["parameters"]
    assert (key["name"].lower(), key["in"], key["required"]) == ("idempotency-key", "header", False)
    assert operation["requestBody"]["content"]["application/json"]["examples"]
    for status in ("400", "403", "404", "409", "413", "422"):
        examples = operation["responses"][status]["content"]["application/problem+json"]["examples"]
        assert all(str(example["value"]["status"]) == status for example in examples.values())


async def test_examples_are_as_the_schemas_say(openapi: dict[str, Any]) -> None:
    checked = 0
    contents = [
        content
        for item in openapi["paths"].values()
        for operation in item.values()
        for place in (operation.get("requestBody", {}), *operation["responses"].values())
        for content in place.get("content", {}).values()
    ]
    for content in contents:
        examples = [example["value"] for example in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        for example in examples:
            jsonschema.validate(example, {**content["schema"], "components": openapi["components"]})
            checked += 1
    assert checked >= 16


async def test_the_sandbox_is_described_where_there_is_one(backstage: Backstage) -> None:
    api = with_settings(backstage, sandbox=True, public_url="https://chat.example")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        document = (await client.get("/openapi.json")).json()
    validate(document)
    assert document["servers"] == [{"url": "https://chat.example"}]
    assert "security" not in document["paths"]["/v1/sandbox/tokens"]["post"]


async def test_answers_are_as_described(
    openapi: dict[str, Any], backstage: Backstage, back_end: Caller, calling: Calling
) -> None:
    def check(instance: object, schema: str) -> None:
        jsonschema.validate(instance, {"$ref": f"#/components/schemas/{schema}", "components": openapi["components"]})

    path = f"/v1/orders/{backstage.order_id}"
    check((await back_end.put(path, backstage.report())).json(), "OrderView")
    event = {"id": "e", "type": "delivered", "at": "2026-01-31T08:00:00Z"}
    check((await back_end.post(f"{path}/events", event)).json(), "EventView")
    check((await back_end.get(f"/v1/rooms/{backstage.room}/entries")).json(), "EntryPage")
    buyer = calling(backstage.token(backstage.buyer))
    dispute = (await buyer.post("/v1/disputes", backstage.opening())).json()
    check(dispute, "DisputeRead")
    check((await back_end.get("/v1/disputes", q=backstage.order_id)).json(), "DisputeList")
    check((await back_end.get(f"/v1/disputes/{dispute['id']}/audit")).json(), "AuditPage")
    check((await buyer.post("/v1/disputes", backstage.opening())).json(), "Problem")
    check((await back_end.get(path)).json(), "OrderView")
    check((await buyer.get("/v1/rooms")).json(), "RoomList")
    check((await back_end.get("/v1/rooms")).json(), "Problem")
    check((await back_end.put(path, {})).json(), "Problem")


async def test_the_documents_may_be_kept_for_a_while(calling: Calling) -> None:
    for path in ("/openapi.json", "/asyncapi.json", "/docs"):
        response = await calling().get(path)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=300"
        assert response.content == (await calling().get(path)).content


class Page(HTMLParser):
    """Reads a page as a browser would: what it links to, loads and runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.anchors.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_page_is_whole_and_loads_nothing(calling: Calling) -> None:
    response = await calling().get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"] == CSP
    read = Page(response.text)
    assert read.open == []
    assert not read.tags & {"script", "img", "link", "iframe", "object", "form", "base"}
    assert read.attributes <= {"lang", "charset", "name", "content", "id", "class", "href"}
    assert len(read.anchors) == len(set(read.anchors))
    for link in read.links:
        assert link in ("/openapi.json", "/asyncapi.json") or link.removeprefix("#") in read.anchors, link
    assert {code.value for code in ErrorCode} <= set(read.anchors), "where problem documents point"
    assert {"rules", *(f"rule-{rule}" for rule in REFUSALS)} <= set(read.anchors)
    assert STYLE in response.text


async def test_the_page_names_all_routes_and_frames(calling: Calling, openapi: dict[str, Any]) -> None:
    text = (await calling().get("/docs")).text
    asyncapi = (await calling().get("/asyncapi.json")).json()
    for path in openapi["paths"]:
        assert path in text
    for name in (*asyncapi["components"]["messages"], *openapi["components"]["schemas"]):
        assert name in text


def test_everything_in_the_page_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&"
    schema = {
        "description": evil,
        "properties": {evil: {"type": evil, "description": evil, "pattern": evil}, "e": {"enum": [evil]}},
    }
    openapi = {
        "info": {"title": evil, "description": f"{evil} `{evil}` **{evil}**\n\n| {evil} |\n|---|\n| {evil} |"},
        "paths": {
            evil: {
                "get": {
                    "summary": evil,
                    "description": evil,
                    "parameters": [{"name": evil, "in": evil, "schema": {"const": evil}, "description": evil}],
                    "requestBody": {"content": {evil: {"schema": {"$ref": f"#/x/{evil}"}}}},
                    "responses": {evil: {"description": evil, "content": {}}},
                }
            }
        },
        "components": {"schemas": {evil: schema}},
    }
    asyncapi = {
        "info": {"description": evil},
        "channels": {evil: {"address": evil}},
        "operations": {evil: {"messages": [{"$ref": evil}], "reply": {"messages": [{"$ref": evil}]}}},
        "components": {
            "messages": {evil: {"payload": {"type": "array", "items": evil}, "examples": [{"payload": {evil: evil}}]}},
            "schemas": {evil: {"anyOf": [{"type": evil}, {}]}},
        },
    }
    text = page(openapi, asyncapi)
    assert "script" not in Page(text).tags
    assert Page(text).attributes <= {"lang", "charset", "name", "content", "id", "class", "href"}


def test_the_markdown_of_descriptions() -> None:
    text = markdown("One `a<b` **bold**\nline.\n\n| a | b |\n|---|---|\n| `1` | 2 |\n\n")
    assert re.sub(r"<div.*?>|</div>", "", text) == (
        "<p>One <code>a&lt;b</code> <strong>bold</strong> line.</p>"
        "<table><thead><tr><th>a</th><th>b</th></tr></thead>"
        "<tbody><tr><td><code>1</code></td><td>2</td></tr></tbody></table>"
    )


async def test_the_webhooks_are_described(openapi: dict[str, Any], calling: Calling) -> None:
    operation = openapi["webhooks"]["payment.refund_requested"]["post"]
    assert {each["name"] for each in operation["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    shown = (await calling().get("/docs")).text
    for name in openapi["webhooks"]:
        assert f'id="webhook-{name}"' in shown
    assert "pay it once" in shown
