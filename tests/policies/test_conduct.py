"""Flooding, repeats, walls of text, insults, threats, and reviews as a lever."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.conduct import ConductRules, Misconduct, Said, alike, conduct
from policies.contact import Action

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
RULES = ConductRules()


def kinds(text: str, lately: list[Said] | None = None) -> set[Misconduct]:
    return {concern.kind for concern in conduct(text, lately or [], NOW, RULES)}


def said(*texts: str, seconds: float = 1) -> list[Said]:
    return [Said(NOW - timedelta(seconds=seconds * (len(texts) - place)), text) for place, text in enumerate(texts)]


def test_a_flood() -> None:
    numbers = [f"message {number} of the day" for number in range(9)]
    assert Misconduct.FLOODING in kinds("and another", said(*numbers))
    assert Misconduct.FLOODING not in kinds("and another", said(*numbers, seconds=30))


def test_about_the_same_again_and_again() -> None:
    assert Misconduct.REPEATING in kinds(
        "Where is my GOLD??", said("where is my gold", "where is my gold!", "Where is my gold?")
    )
    assert Misconduct.REPEATING not in kinds("where is my gold", said("hello", "are you there", "it is late"))
    assert Misconduct.REPEATING not in kinds("where is my gold", said(*["where is my gold"] * 3, seconds=700))


def test_a_wall_of_text() -> None:
    assert kinds("word " * 600) == {Misconduct.LONG_PASTE}
    assert kinds("word " * 100) == set()


@pytest.mark.parametrize(
    ("text", "kind", "action"),
    [
        ("you are an idiot", Misconduct.INSULT, Action.WARN),
        ("İDİOT", Misconduct.INSULT, Action.WARN),
        ("kill yourself", Misconduct.INSULT, Action.WITHHOLD),
        ("i know where you live", Misconduct.THREAT, Action.WITHHOLD),
        ("я тебя найду", Misconduct.THREAT, Action.WITHHOLD),
        ("refund me or i leave a one star", Misconduct.EXTORTION, Action.WARN),
        ("不然我就给你差评", Misconduct.EXTORTION, Action.WARN),
    ],
)
def test_words(text: str, kind: Misconduct, action: Action) -> None:
    concern = conduct(text, [], NOW, RULES)[0]
    assert (concern.kind, concern.action) == (kind, action)
    assert 0 <= concern.start < concern.end <= len(text)


@pytest.mark.parametrize(
    "text", ["the item is not as described", "i gave 5 stars", "class assassin level 60", "refund please"]
)
def test_plain_words_pass(text: str) -> None:
    assert kinds(text) == set()


def test_one_concern_for_words_within_words() -> None:
    assert len(conduct("hijo de puta", [], NOW, RULES)) == 1


def test_likeness() -> None:
    assert alike("", "") == 1
    assert alike("", "a") == 0
    assert alike("ab", "AB!") == 1
    assert alike("something else", "nothing of it") < 0.5


@given(st.text(max_size=100), st.text(max_size=100))
def test_any_text_is_judged(text: str, other: str) -> None:
    for concern in conduct(text, [Said(NOW, other)], NOW, RULES):
        assert 0 <= concern.start <= concern.end <= len(text)
    assert alike(text, other) == alike(other, text)
