"""Judging a text over HTTP."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI

from chatserver.http.api import create_api, openapi_document
from chatserver.http.policies import body_bytes
from chatserver.transcript.press import WAITING_PER_SEAT
from policies.contact import ContactRules, Detector
from policies.vocabulary import STAFF, ApiScope, Role
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem, staff

CHECK = "/v1/policies/contact/check"


@pytest.fixture
def agent(backstage: Backstage, calling: Calling) -> Caller:
    return staff(backstage, calling)


async def judged(caller: Caller, **asked: Any) -> dict[str, Any]:
    response = await caller.post(CHECK, asked)
    assert response.status_code == 200, response.text
    verdict: dict[str, Any] = response.json()
    return verdict


async def test_an_attempt_is_explained(agent: Caller) -> None:
    text = "call me, +49 1512 3456789"
    verdict = await judged(agent, text=text)
    assert verdict["action"] == "withhold"
    (finding,) = (each for each in verdict["findings"] if each["category"] == "phone")
    assert text[finding["start"] : finding["end"]] == "+49 1512 3456789"
    assert finding["confidence"] == verdict["confidence"]
    assert finding["rule"] in verdict["for_staff"]
    assert "telephone" in verdict["for_author"]
    assert (verdict["conduct"], verdict["secrets"]) == ([], [])


async def test_an_ordinary_text_has_nothing(agent: Caller) -> None:
    assert await judged(agent, text="thanks, it works") == {
        "action": "allow",
        "confidence": 0.0,
        "findings": [],
        "for_staff": "",
        "for_author": "",
        "conduct": [],
        "secrets": [],
    }


async def test_earlier_messages_and_the_order_count(agent: Caller) -> None:
    split = await judged(agent, text="0143", context=["my mobile is 617", "555"])
    assert split["action"] != "allow"
    assert [(each["start"], each["end"]) for each in split["findings"]] != []
    known = await judged(agent, text="617-555-0143", order={"ids": ["617-555-0143"], "title": "A lamp"})
    assert known["action"] == "allow"
    named = {"category": "account", "in_game_names": ["owl_88"]}
    assert (await judged(agent, text="my discord is owl_88"))["findings"] != []
    assert (await judged(agent, text="deliver to owl_88", order=named))["action"] == "allow"


async def test_conduct_and_secrets_are_told(agent: Caller) -> None:
    text = "you idiot, the password: Hx7!kk"
    verdict = await judged(agent, text=text)
    assert [(each["kind"], each["action"], each["rule"]) for each in verdict["conduct"]] == [
        ("insult", "warn", "conduct.mild")
    ]
    (secret,) = verdict["secrets"]
    assert (secret["kind"], text[secret["start"] : secret["end"]], secret["masked"]) == ("password", "Hx7!kk", True)
    (sold,) = (await judged(agent, text=text, order={"category": "account"}))["secrets"]
    assert sold["masked"] is False


async def test_the_context_makes_a_repeat_and_never_a_flood(agent: Caller) -> None:
    verdict = await judged(agent, text="where is my gold", context=["where is my gold?"] * 8)
    assert [each["kind"] for each in verdict["conduct"]] == ["repeating"]


async def test_the_back_end_needs_the_scope_to_read_disputes(backstage: Backstage, calling: Calling) -> None:
    reader = calling(await backstage.key(ApiScope.DISPUTES_READ))
    assert (await judged(reader, text="hello"))["action"] == "allow"
    other = calling(await backstage.key(ApiScope.ORDERS_WRITE))
    assert_problem(await other.post(CHECK, {"text": "hello"}), 403, "forbidden")


async def test_nobody_else_learns_how_texts_are_judged(buyer: Caller, calling: Calling) -> None:
    assert_problem(await buyer.post(CHECK, {"text": "hello"}), 403, "forbidden")
    assert_problem(await calling().post(CHECK, {"text": "hello"}), 401, "unauthenticated")


@pytest.mark.parametrize("role", sorted(STAFF))
async def test_staff_may_ask(backstage: Backstage, calling: Calling, role: Role) -> None:
    assert (await judged(staff(backstage, calling, role), text="hello"))["action"] == "allow"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"text": 1},
        {"text": "a", "context": "b"},
        {"text": "a", "context": [""] * 9},
        {"text": "a", "order": {"category": "boat"}},
        {"text": "a", "order": {"title": "x" * 201}},
        {"text": "a", "order": {"ids": ["1"] * 21}},
    ],
)
async def test_what_is_not_understood_is_named(agent: Caller, asked: dict[str, Any]) -> None:
    assert_problem(await agent.post(CHECK, asked), 400, "bad_request")


async def test_a_text_is_as_long_as_a_message_may_be(agent: Caller, backstage: Backstage) -> None:
    limit = backstage.services.settings.message_chars
    longest = "\U0001f600" * limit
    verdict = await judged(agent, text=longest, context=[longest] * 8)
    assert [each["kind"] for each in verdict["conduct"]] == ["repeating", "long_paste"]
    problem = assert_problem(await agent.post(CHECK, {"text": longest + "x"}), 413, "too_large")
    assert problem["details"] == {"field": "text", "limit": limit}
    problem = assert_problem(await agent.post(CHECK, {"text": "a", "context": ["x" * (limit + 1)]}), 413, "too_large")
    assert problem["details"]["field"] == "context"
    body = "x" * body_bytes(backstage.services.settings)
    assert_problem(await agent.post(CHECK, {"text": body}), 413, "too_large")


async def test_a_long_text_is_read_beside_the_event_loop(backstage: Backstage, calling: Calling) -> None:
    threads: list[int] = []

    class Watched(Detector):
        def check(self, *asked: Any, **more: Any) -> Any:
            threads.append(threading.get_ident())
            return super().check(*asked, **more)

    api = create_api(replace(backstage.services, detector=Watched()))
    agent = staff(backstage, calling)
    agent.client._transport.app = api  # type: ignore[attr-defined]
    await judged(agent, text="a" * 600)
    await judged(agent, text="a" * 599, context=["bc"])
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [True, False]


async def test_a_crowd_of_long_texts_is_judged_one_by_one(backstage: Backstage, calling: Calling) -> None:
    under_way: list[int] = []
    most: list[int] = []
    all_here = threading.Event()

    class Watched(Detector):
        def check(self, *asked: Any, **more: Any) -> Any:
            under_way.append(1)
            most.append(len(under_way))
            all_here.wait(timeout=10)
            found = super().check(*asked, **more)
            under_way.pop()
            return found

    agent = staff(backstage, calling)
    agent.client._transport.app = create_api(replace(backstage.services, detector=Watched()))  # type: ignore[attr-defined]
    asked = [asyncio.ensure_future(agent.post(CHECK, {"text": "It is a lamp. " * 280})) for _ in range(30)]
    async with asyncio.timeout(10):
        while sum(each.done() for each in asked) < len(asked) - 1 - WAITING_PER_SEAT:
            await asyncio.wait([each for each in asked if not each.done()], return_when=asyncio.FIRST_COMPLETED)
    all_here.set()
    answers = await asyncio.gather(*asked)
    codes = [answer.status_code for answer in answers]
    assert max(most) == 1
    assert codes.count(200) == len(most) == 1 + WAITING_PER_SEAT
    for answer in answers:
        if answer.status_code != 200:
            assert_problem(answer, 503, "unavailable")


async def test_in_shadow_mode_it_says_what_would_be(backstage: Backstage, calling: Calling) -> None:
    shadow = create_api(replace(backstage.services, detector=Detector(ContactRules(shadow=True))))
    agent = staff(backstage, calling)
    agent.client._transport.app = shadow  # type: ignore[attr-defined]
    verdict = await judged(agent, text="call me, +49 1512 3456789")
    assert (verdict["action"], verdict["for_author"]) == ("allow", "")
    assert verdict["for_staff"].startswith("Would be withhold")


async def test_examples_of_the_document_can_be_sent(api: FastAPI, agent: Caller) -> None:
    operation = openapi_document(api)["paths"][CHECK]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    answers = {name: await judged(agent, **example["value"]) for name, example in examples.items()}
    assert {name: answer["action"] for name, answer in answers.items()} == {
        "attempt": "withhold",
        "split": "warn",
        "order": "allow",
    }
