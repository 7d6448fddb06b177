"""What holds for any text."""

import sys
import time
from collections.abc import Iterator

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
    *("-----", "+1", "qr scan ", "w.w.w.", "1.1.1.", "@", "닷%", "点+l", "dot%", "sk-닷", "aaa% at b "),
]
WORST = [
    "reverse base64: wh4tsapp call 617-555-0143 w h a t s owl dot gmail p4yp4l c!aa ",
    "in reverse 1 s4y4 t3l3gr4m 1 n0 j090 1 в профиле @owl_77 打给我 ",
    "whatssaab 617-555-0143 五 d y z 0 r d ",
    "i-n- -r-e-v-e-r-s-e@a-l-i-c-i@p-e---p-e-l-l@hex 41 42 43 44 45 46 47 48 ",
    "quоtе\nzооm\nnо fоn\nаwаs lu\n連絡\nin vаlоrаnt\nreverse\nδωσε\nthеу wаntеd tо\n여기서만\n",
    "reverse @٣",
]
"""What took the longest of thousands of inputs made of the lexicons' phrases, in disguises of all kinds."""


@pytest.fixture
def untraced() -> Iterator[None]:
    """Without what coverage does at every line, which slows some code down twice as much as other."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)


@pytest.mark.usefixtures("untraced")
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


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("piece", [*WORST, *ADVERSARIAL])
def test_no_text_takes_long(piece: str) -> None:
    """The aim is 20 ms on one processor of its own; a busy one is slower. Best of several runs."""
    text = (piece * 4000)[:4000]
    context = [text[:60]] * 8
    best = 1e9
    for _ in range(4):
        start = time.process_time()
        DETECTOR.check(text, context)
        best = min(best, time.process_time() - start)
    assert best < 0.05


LONG = "the parcel was late and the box was wet. " * 30


@pytest.mark.parametrize("hidden", ["w h a t s a p p", "wh4tsapp", "p a y p a l", "t.e.l.e.g.r.a.m"])
@pytest.mark.parametrize("before", [0, 20, 40, 60])
def test_a_disguise_shows_anywhere_in_a_long_text(hidden: str, before: int) -> None:
    place = before * 41
    text = f"{LONG * 2}"[:place] + f"write to me on {hidden} " + LONG
    verdict = DETECTOR.check(text)
    assert [one for one in verdict.findings if one.confidence >= 0.5 and place <= one.start < place + 40]


def test_of_many_disguises_one_is_enough() -> None:
    """What is weighed again is bounded, and nobody hides behind that: what uses it up is found itself."""
    assert DETECTOR.check("w h a t s a p p me please, it is quicker. " * 80).confidence >= 0.5
    filler = "a b c is the size of it. " * 150
    assert DETECTOR.check(f"{filler} write to me on w h a t s a p p").confidence >= 0.5


@pytest.mark.parametrize("filler", ["@ ", "number ", "line ", "no. ", "outside "])
def test_nobody_hides_behind_many_words_that_may_mean_something(filler: str) -> None:
    assert DETECTOR.check(f"{filler * 60}. write to me on whatsapp").confidence >= 0.5


def test_a_report_in_a_long_text_lowers_what_is_disguised_in_it() -> None:
    assert DETECTOR.check(f"he asked me for w h a t s a p p and i said no. {LONG}").confidence < 0.5
    assert (
        DETECTOR.check(f"the seller asked me to pay outside, i refused. {LONG} w h a t s a p p it was").confidence < 0.5
    )
