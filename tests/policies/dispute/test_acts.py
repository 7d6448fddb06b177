import pytest

from policies.dispute.acts import fingerprint, is_real_act, resets_clock, says_something
from policies.vocabulary import EntryKind, Role, Visibility

SPOKEN = [
    "ok",
    "I am sorry",
    "7",
    "é",
    "٣",  # an Arabic digit
    "Извините, я разберусь",
    "对不起",
    "ごめんなさい",
    "죄송합니다",
    "آسف",
    "אני מצטער",
    "क्षमा करें",
    "ขอโทษ",
    "மன்னிக்கவும்",
    "ბოდიში",
    "ይቅርታ",
    "𐌷𐌰𐌹",  # beyond the basic plane
    "ａ",  # full width
    "½",
    "①",
    "👍",
    "❤️",
    "☎",
    "✓",
    "⏰",
    "👩‍👩‍👧",  # joined by U+200D
    "🇩🇪",
    "👍🏽",
    "⠓⠑⠇⠇⠕",  # Braille
    "… a …",
    "\u200b.\u200bx",
]
SILENT = [
    "",
    " ",
    "\t\n\r",
    ".",
    "...",
    "…",
    "?!",
    "-",
    "—",
    "()",
    "。、！",
    "؟",
    "।",
    "·",
    "\u00a0",
    "\u200b",
    "\u200d\u200c\ufeff",
    "\u2800",  # the blank of Braille
    "\u3164",  # a Hangul filler
    "\u115f\u1160",
    "\uffa0",
    "\u3000",
    "\u202e",
    "\ue000",  # for private use
    "\u0301",  # an accent on nothing
    "\ufe0f",
    "ー",  # a length mark without a vowel
    "ˈ",
    "$",
    "€ %",
    "+ = <>",
    "^",
    "─│",
    "■□●",
    "©",
    "™",
    "°",
    "\ufffd",
]


@pytest.mark.parametrize("text", SPOKEN)
def test_a_letter_digit_or_pictograph_of_any_script_says_something(text: str) -> None:
    assert says_something(text)
    assert is_real_act(text, ())


@pytest.mark.parametrize("text", SILENT)
def test_spaces_punctuation_and_what_cannot_be_seen_say_nothing(text: str) -> None:
    assert not says_something(text)
    assert not is_real_act(text, ())


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("Hello", "Hello"),
        ("Hello", "hello"),
        ("Hello", "HELLO!!!"),
        ("Hello", "  hello \n"),
        ("Hello there", "hello\t\tthere."),
        ("Hello", "«hello»…"),
        ("Hello", "h\u200bello"),
        ("Straße", "STRASSE"),
        ("Привет", "ПРИВЕТ?"),
        ("ΟΔΟΣ", "οδος"),
        ("é", "e\u0301"),
        ("ａｂｃ", "abc"),
        ("ｶﾞ", "ガ"),
        ("ﬁne", "fine"),
        ("👍", "👍!"),
        ("ok 👍", "OK, 👍"),
        ("¿Qué?", "qué"),
    ],
)
def test_a_repeat_is_no_real_act_however_it_is_dressed(first: str, again: str) -> None:
    assert fingerprint(first) == fingerprint(again)
    assert not is_real_act(again, {fingerprint(first)})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Hello", "Hello you"),
        ("ab c", "a bc"),
        ("1", "2"),
        ("कि", "की"),  # differ in a vowel sign only
        ("ขา", "ข่า"),  # differ in a tone mark only
        ("e", "é"),
        ("👍", "👎"),
        ("お", "おー"),
        ("не", "нё"),
    ],
)
def test_what_says_something_else_is_no_repeat(first: str, second: str) -> None:
    assert fingerprint(first) != fingerprint(second)
    assert is_real_act(second, {fingerprint(first)})


def test_half_a_character_breaks_nothing() -> None:
    assert fingerprint("a\ud800") == fingerprint("a")


@pytest.mark.parametrize(
    "kind",
    [
        EntryKind.MESSAGE,
        EntryKind.EVIDENCE_ADDED,
        EntryKind.PROPOSAL_MADE,
        EntryKind.PROPOSAL_ACCEPTED,
        EntryKind.PROPOSAL_REJECTED,
        EntryKind.PROPOSAL_WITHDRAWN,
        EntryKind.FULFILLMENT_MARKED,
        EntryKind.FULFILLMENT_CONFIRMED,
    ],
)
def test_what_a_party_does_starts_the_silence_again(kind: EntryKind) -> None:
    assert resets_clock(kind, Role.BUYER, Visibility.ALL)
    assert resets_clock(kind, Role.SELLER, Visibility.ALL)
    assert not resets_clock(kind, Role.SELLER, Visibility.WITHHELD)
    for role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR, Role.SYSTEM):
        assert not resets_clock(kind, role, Visibility.ALL)


def test_nothing_else_does() -> None:
    counting = {kind for kind in EntryKind if resets_clock(kind, Role.BUYER, Visibility.ALL)}
    assert len(counting) == 8
    assert not counting & {EntryKind.DISPUTE_ESCALATED, EntryKind.NOTICE, EntryKind.DEADLINE_APPROACHING}
