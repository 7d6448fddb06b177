"""What holds for any text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.contact import Detector
from policies.contact.normal import normalise

DETECTOR = Detector()
PIECES = st.sampled_from(
    [
        *("whatsapp", "telegram", "call me", "617-555-0143", "@", ".", "dot", "at", "gmail", "com", "one", "two", "五"),
        *("4️⃣", "\u200b", "і", "ß", "İ", "ﷺ", "paypal", "reverse", "base64", "http://", "aGVsbG8gd29ybGQh", "#1234"),
        *(" ", "\n", "ⓐ", "🇺", "+"),
    ]
)
TEXTS = st.text(max_size=200) | st.lists(PIECES, max_size=25).map("".join) | st.lists(PIECES, max_size=25).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_any_text_is_judged_with_spans_inside_it(text: str, context: list[str]) -> None:
    verdict = DETECTOR.check(text, context)
    for finding in verdict.findings:
        assert 0 <= finding.start <= finding.end <= len(text)
        assert 0 <= finding.confidence <= 1
    assert DETECTOR.check(text, context) == verdict


@settings(deadline=None)
@given(st.text(max_size=100))
def test_every_character_knows_where_it_comes_from(text: str) -> None:
    normal = normalise(text)
    assert normal.starts is None or len(normal.starts) == len(normal.text)
    for place in range(len(normal.text)):
        start, end = normal.span(place, place + 1)
        assert 0 <= start < end <= len(text)
    assert normal.span(0, 0) == (0, 0)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_the_normal_form_is_its_own(text: str) -> None:
    once = normalise(normalise(text).text).text
    assert normalise(once).text == once


ADVERSARIAL = [
    *("whatsapp ", "w h a t s ", "1 2 3 ", "1", "one", "a.", "a@", "@a.b", "(at)", "at dot ", "http://", "a-", "a b "),
    *(
        "call 617-555-0143 ",
        "discord: owl_77 ",
        "#1234 a",
        "微信",
        "一二三",
        "Aa1+",
        "0x",
        "DE89 ",
        "no paypal ",
        "aaa",
    ),
    *("\u200ba", "і a", "$1", "reverse ", "hex 41 ", "4️⃣", "a#1234 ", "my number ", "double ", "fourfive", "......"),
    *("-----", "+1", "qr scan ", "w.w.w.", "1.1.1."),
]


@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_time_grows_with_length_alone(piece: str) -> None:
    """Eight times the text may take some 8 times as long; quadratic work would take 64 times. Best of several runs."""

    def took(length: int) -> float:
        text = (piece * length)[:length]
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            DETECTOR.check(text, ["617", "555"])
            best = min(best, time.process_time() - start)
        return best

    took(500)
    assert took(4000) <= 24 * max(took(500), 0.0004)
