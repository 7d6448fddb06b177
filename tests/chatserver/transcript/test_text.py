"""Nothing in a stranger's text acts, and nothing in it hides."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.transcript.money import written
from chatserver.transcript.phrases import money, person, phrase, seconds_in_words, sentence, value_in_words, when
from chatserver.transcript.text import (
    BLANK_LINES_MAX,
    MARKS_MAX,
    WORD_CHARS,
    ZERO_WIDTH_SPACE,
    breakable,
    is_right_to_left,
    shown,
    shown_line,
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain", "plain"),
        ("a\r\nb\rc\u2028d\u2029e\x85f\x0bg\x0ch", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("tab\there", "tab\there"),
        ("\x00\x07\x1b[31m\x7f\x9f", "[U+0000][U+0007][U+001B][31m[U+007F][U+009F]"),
        ("\u202eevil\u202c", "[U+202E]evil[U+202C]"),
        ("\u2066a\u2069 \u202aa\u202bb\u202dc", "[U+2066]a[U+2069] [U+202A]a[U+202B]b[U+202D]c"),
        ("\ufffe\uffff\ufff9", "[U+FFFE][U+FFFF][U+FFF9]"),
        ("\u0645\u06cc\u200c\u0632\u0646\u062f \u200f", "\u0645\u06cc\u200c\u0632\u0646\u062f \u200f"),
        ("\U0001f469\u200d\U0001f467\ufe0f", "\U0001f469\u200d\U0001f467\ufe0f"),
    ],
)
def test_what_cannot_be_seen_or_misleads_is_named(text: str, seen: str) -> None:
    assert shown(text) == seen


@given(st.text())
def test_nothing_invisible_that_acts_is_left(text: str) -> None:
    for character in shown(text):
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        assert unicodedata.bidirectional(character) not in (
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "PDF",
            "RLI",
            "LRI",
            "FSI",
            "PDI",
        )


def test_empty_lines_are_counted_from_the_limit_on() -> None:
    assert shown("a" + "\n" * (BLANK_LINES_MAX + 1) + "b") == "a\n\n\nb"
    assert shown("a" + "\n" * (BLANK_LINES_MAX + 2) + "b") == "a\n\n[3 empty lines]\n\nb"
    assert shown("a\n" + " \n" * 100 + "b") == "a\n\n[100 empty lines]\n\nb"


def test_accents_are_counted_from_the_limit_on() -> None:
    most = "e" + "\u0301" * MARKS_MAX
    assert shown(most) == most
    assert shown(most + "\u0302" * 500 + "x" + "\u0301") == most + "[U+0302 ...]x\u0301"


def test_a_line_is_one_line() -> None:
    assert shown_line(" A\n lamp\u2028\t\u202e ") == "A lamp [U+202E]"


def test_long_words_can_be_broken_and_others_not() -> None:
    fits, longer = "a" * WORD_CHARS, "a" * (WORD_CHARS + 1)
    assert breakable(f"{fits} {fits}") == f"{fits} {fits}"
    assert ZERO_WIDTH_SPACE in breakable(longer)
    assert breakable(longer).replace(ZERO_WIDTH_SPACE, "") == longer


@given(st.text(alphabet="a\u0301\u200d\U0001f469\U0001f3fd\ufe0f", min_size=WORD_CHARS + 1, max_size=300))
def test_nothing_is_broken_within_a_character(word: str) -> None:
    parts = breakable(word).split(ZERO_WIDTH_SPACE)
    assert "".join(parts) == word
    for before, after in itertools.pairwise(parts):
        assert not before.endswith("\u200d")
        assert unicodedata.category(after[0])[0] != "M"
        assert after[0] not in "\u200d\U0001f3fd"


@pytest.mark.parametrize(
    ("line", "right_to_left"),
    [
        ("abc", False),
        ("\u05d0 abc", True),
        ("1. \u0627", True),
        ("abc \u05d0", False),
        ("123 !?", False),
        ("", False),
        ("\u2068\u05d0\u2069 (a)", False),
        ("\u2068a\u2069 \u05d0", True),
    ],
)
def test_a_line_runs_as_its_first_letter_does(line: str, right_to_left: bool) -> None:
    assert is_right_to_left(line) is right_to_left


def test_names_do_not_pull_their_neighbours_along() -> None:
    assert person("Bea", "u-17") == "Bea (u-17)"
    assert person("\u05d1\u05d4", "17") == "\u2068\u05d1\u05d4\u2069 (17)"
    assert person("\u2068\u202eBea", "\u0661") == "[U+2068][U+202E]Bea (\u2068\u0661\u2069)"


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "EUR", "0.00 EUR"),
        (5, "EUR", "0.05 EUR"),
        (123456789, "USD", "1,234,567.89 USD"),
        (-150, "EUR", "-1.50 EUR"),
        (4990, "JPY", "4,990 JPY"),
        (4990, "KWD", "4.990 KWD"),
        (12345, "CLF", "1.2345 CLF"),
        (100, "XXX", "1.00 XXX"),
    ],
)
def test_money_has_the_digits_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert written(amount, currency) == text
    assert money(amount, currency) == text


def test_money_without_a_currency_is_left_as_it_is() -> None:
    assert [money(5, None), money("5", "EUR"), money(True, "EUR")] == ["5", "5", "yes"]


def test_words_and_values_for_people() -> None:
    assert [phrase("partial_refund"), sentence("order.updated"), phrase("buyer_favor")] == [
        "partial refund", "Order updated", "in the buyer's favor",
    ]  # fmt: skip
    assert [seconds_in_words(0), seconds_in_words(86400), seconds_in_words(259_200 + 7200 + 61)] == [
        "no time", "1 day", "3 days 2 hours 1 minute 1 second",
    ]  # fmt: skip
    assert when("2026-01-31T09:30:00.250Z") == "31 January 2026, 09:30:00 UTC"
    assert when("2026-01-31T09:30:00.250+02:00") == "31 January 2026, 07:30:00 UTC"
    assert [when("soon\u202e"), when("2026-01-31"), when(5)] == ["soon[U+202E]", "2026-01-31", "5"]
    assert [value_in_words(each) for each in (True, None, ["a", 1], {"b": ["\u202e"]})] == [
        "yes", "null", "a, 1", '{"b": ["[U+202E]"]}',
    ]  # fmt: skip
