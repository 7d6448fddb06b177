"""What holds for any text whatever that is screened."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.conduct import ConductRules, Said
from policies.contact import ContactRules, Detector, OrderContext, Thresholds
from policies.entry import Author, Draft
from policies.flag import CauseKind, Mark
from policies.screener import Earlier, Screener
from policies.screening import Screening
from policies.secrets import MASK, SecretKind, SecretRules
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId, Visibility
from storage.chain import genesis, link, verify

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCREENER: Final = Screener(Detector(ContactRules()), ConductRules(), SecretRules())
ORDER: Final = OrderContext(order_ids=frozenset({"o-1042"}), title="A lamp", category="item")
BUYER: Final = Author(UserId("bo"), Role.BUYER, "Bo")
WITHHOLD: Final = round(Thresholds().withhold * 100)
TELLING: Final = st.sampled_from(
    [
        "+49 151 12345678", "call me on", "write to ann@gmail.com", "wh4ts\u200bapp", "https://wa.me/4915112345678",
        "my password: hunter2", "4111 1111 1111 1111", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "＋４９１５１１２３４５６７８", "I will kill you",
        "@ann_shop on telegram", "code 493817", "\u202e", "👩‍👩‍👧", "ﬁ", "İ", "e\u0301" * 5,
    ]
)  # fmt: skip
TEXTS: Final = st.lists(st.one_of(st.text(max_size=40), TELLING), max_size=8).map(" ".join)
"""Any Unicode, and among it what the rules look for."""


def hidden_spans(screening: Screening, name: str) -> Iterator[tuple[int, int, int]]:
    """The places that must be hidden, and how much of each may be left: of a card its last digits."""
    causes = [cause for cause in screening.flag.causes if cause.field == name]
    withheld = any(cause.kind is CauseKind.CONTACT and cause.confidence > WITHHOLD for cause in causes)
    for cause in causes:
        if cause.kind is CauseKind.SECRET:
            yield cause.start, cause.end, int(cause.category == SecretKind.CARD)
        elif cause.kind is CauseKind.CONTACT and withheld:
            yield cause.start, cause.end, 0


def whole_again(screening: Screening, fields: dict[str, str]) -> None:
    """Check what an entry that follows from a screening shows, and to whom."""
    drafted = Draft(BUYER, CommandId("c"), EntryKind.PROPOSAL_MADE, {"resolution": "replacement", **fields})
    (entry,) = link(RoomId("r"), genesis(RoomId("r")), [screening.applied(drafted)], NOW, lambda: bytes(16))
    assert entry.written == drafted.body
    assert verify(RoomId("r"), [entry]) is None
    for name, text in fields.items():
        shown = entry.body[name]
        assert len(shown) == len(text)
        changed = [place for place in range(len(text)) if shown[place] != text[place]]
        assert {shown[place] for place in changed} <= {MASK}
        for start, end, left in hidden_spans(screening, name):
            assert 0 <= start <= end <= len(text)
            assert len(shown[start:end].replace(MASK, "").split()) <= left
        assert not any(text[place].isspace() for place in changed)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_texts_are_masked_and_whole_again(note: str, reason: str) -> None:
    fields = {"note": note, "reason": reason}
    screening = SCREENER.texts(fields, ORDER, NOW)
    if screening is not None:
        assert screening.visibility is Visibility.ALL
        assert screening.whole.keys() == screening.shown.keys()
        if screening.flag.mark in (Mark.NOTED, Mark.WARNED):
            assert not screening.whole
        whole_again(screening, fields)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=4))
def test_messages_are_shown_masked_or_withheld_and_whole_again(text: str, before: list[str]) -> None:
    earlier = Earlier(tuple(Said(NOW - timedelta(seconds=30 * n), each) for n, each in enumerate(reversed(before), 1)))
    screening = SCREENER.message(text, earlier, ORDER, NOW)
    if screening is not None:
        withheld = screening.flag.mark is Mark.WITHHELD
        assert (screening.visibility is Visibility.WITHHELD) is withheld
        drafted = Draft(BUYER, CommandId("c"), EntryKind.MESSAGE, {"text": text})
        (entry,) = link(RoomId("r"), genesis(RoomId("r")), [screening.applied(drafted)], NOW, lambda: bytes(16))
        assert entry.written == drafted.body
        assert len(entry.body["text"]) == len(text)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3))
def test_evidence_is_screened_whatever_it_is_called(caption: str, filename: str, codes: list[str]) -> None:
    texts = {"caption": caption, "filename": f"{filename}.jpg"}
    screening = SCREENER.evidence(texts, f"{filename}.jpg", codes, ORDER, NOW)
    if screening is not None:
        assert (screening.visibility is Visibility.WITHHELD) is (screening.flag.mark is Mark.WITHHELD)
        assert {name: len(text) for name, text in screening.shown.items()} == {
            name: len(texts[name]) for name in screening.shown
        }
        assert all(text.endswith(".jpg") for name, text in screening.shown.items() if name == "filename")


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_any_name_is_fit_or_not(name: str) -> None:
    assert SCREENER.name_is_fit(name) in (True, False)
