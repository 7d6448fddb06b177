"""Each doubt at its limit, and one past it."""

from collections.abc import Mapping
from typing import Any

import pytest

from policies.dispute.doubts import doubts
from policies.dispute.policy import Policy, parse_policy


def places(content: Mapping[str, Any]) -> list[str]:
    return [doubt.place for doubt in doubts(parse_policy({"version": "ours", **content}))]


def test_the_default_policy_raises_no_doubt() -> None:
    assert doubts(Policy()) == []
    assert doubts(parse_policy({})) == []


@pytest.mark.parametrize(
    ("section", "fine", "doubtful", "place"),
    [
        (
            "terms",
            {"update_within": "24h"},
            {"update_within": "23h", "reminders": {"no_update": "1h"}},
            "escalate_from",
        ),
        ("terms", {"offer_expires": "14d"}, {"offer_expires": "337h"}, "offer_expires"),
        ("terms", {"settlement_retry": "1m"}, {"settlement_retry": "59s"}, "settlement_retry"),
        ("terms", {"appeal_within": "15m"}, {"appeal_within": "14m 59s"}, "appeal_within"),
        ("terms", {"reopen_within": "15m"}, {"reopen_within": "0s"}, "reopen_within"),
        ("terms", {"close_after": "15m"}, {"close_after": "1m"}, "close_after"),
        (
            "terms",
            {"reminders": {"seller_attend": "23h 59m 59s"}},
            {"reminders": {"seller_attend": "24h"}},
            "reminders.seller_attend",
        ),
        (
            "terms",
            {"reminders": {"proposal_expiry": "71h"}},
            {"reminders": {"proposal_expiry": "73h"}},
            "reminders.proposal_expiry",
        ),
        ("terms", {"second_person_above": {"EUR": 0}}, {"second_person_above": {"EUR": -1}}, "second_person_above.EUR"),
        ("terms", {"second_person_above": {"EUR": 1}}, {"second_person_above": {"eur": 1}}, "second_person_above.eur"),
        ("evidence", {"per_side": 3, "per_kind": {"photo": 3}}, {"per_kind": {"photo": 51}}, "per_kind.photo"),
        ("contact", {"own_domains": ["shop.example"]}, {"own_domains": ["https://shop.example"]}, "own_domains"),
        ("contact", {"own_domains": ["лавка.рф"]}, {"own_domains": ["localhost"]}, "own_domains"),
        ("contact", {"default": {"warn": 0.2}}, {"default": {"warn": 0.19}}, "default.warn"),
        (
            "contact",
            {"categories": {"url": {"warn": 0.2}}},
            {"categories": {"url": {"warn": 0.1}}},
            "categories.url.warn",
        ),
        ("conduct", {"flood_messages": 4}, {"flood_messages": 3}, "flood_messages"),
        ("conduct", {"alike": 0.5}, {"alike": 0.49}, "alike"),
        ("conduct", {"flood_within": "1s"}, {"flood_within": "0s"}, "flood_within"),
        ("conduct", {"repeat_within": "1s"}, {"repeat_within": "0s"}, "repeat_within"),
        ("secrets", {"hand_over": ["card", "token"]}, {"hand_over": ["card", "password"]}, "hand_over"),
        ("strikes", {"half_life": "1d"}, {"half_life": "23h"}, "half_life"),
        ("strikes", {"report_above": 1.1}, {"report_above": 1.0}, "report_above"),
        ("strikes", {"weights": {"withheld": 2.9}}, {"weights": {"withheld": 3}}, "report_above"),
        ("opening", {"windows": {"trusted": "15m"}}, {"windows": {"trusted": "14m"}}, "windows.trusted"),
        ("opening", {"windows": {"trusted": "4d"}}, {"windows": {"trusted": "5d"}}, "windows.trusted"),
        ("opening", {"windows": {"verified": "14d"}}, {"windows": {"verified": "15d"}}, "windows.verified"),
    ],
)
def test_a_value_is_doubted_from_its_limit_on(section: str, fine: Any, doubtful: Any, place: str) -> None:
    assert places({section: fine}) == []
    assert places({section: doubtful}) == [f"{section}.{place}"]


@pytest.mark.parametrize("kinds", [{"masked": ["password"]}, {"hand_over": []}])
def test_cards_that_are_shown_are_doubted(kinds: Mapping[str, Any]) -> None:
    assert places({"secrets": kinds}) == ["secrets"]


def test_no_reminder_and_no_retry_raise_no_doubt() -> None:
    off = {"reminders": {"seller_attend": "0s"}, "settlement_retry": "0s", "settlement_retries": 0}
    assert places({"terms": off}) == []


def test_another_policy_should_have_another_name() -> None:
    assert [doubt.place for doubt in doubts(parse_policy({"terms": {"attend_within": "25h"}}))] == ["version"]
