"""One message under examination: everything that its readings show."""

import re
from collections.abc import Set
from functools import cached_property
from itertools import chain
from typing import Final

from policies.checksum import luhn
from policies.contact import addresses, ciphers, disguises, judgement, phones, spelled
from policies.contact.digits import NumberWords
from policies.contact.lexicon import ADDRESSED, ANCHORS, BACKWARDS, CHANNELS, PAYMENTS, Cue, Cues, Words
from policies.contact.names import CODE
from policies.contact.normal import normalise
from policies.contact.views import Span, View, backwards, closed_up, replaced, rewritten, spaced_out
from policies.contact.vocabulary import Category, OrderContext

_DOTTED: Final = re.compile(r"\.[^\W\d_]{2}")
_DIGIT: Final = re.compile(r"\d")
_STYLED: Final = re.compile(
    "[\u20e3\u2460-\u24ff\u2776-\u2793\U0001d7ce-\U0001d7ff\U0001f100-\U0001f10c\u200b-\u200f\u2060-\u2064]"
)
_SIGNS: Final = re.compile(r"[@#:]|\.[^\W\d_]{2}|\d\D{0,12}\d\D{0,12}\d|gmail|hotmail|yahoo|outlook|mail")
"""What something other than words may be found by."""
_LONG: Final = 400
"""Of a longer text, only excerpts are read once more …"""
_REACH: Final = 100
"""… so many characters before and after what may tell something …"""
_MOST_AGAIN: Final = 1000
"""… and no more than so many altogether. Whoever disguises more has said enough."""
LEAST_DIGITS: Final = 5
_MOST_RUNS: Final = 40
_NAMED: Final = int(CHANNELS | PAYMENTS | Cue.PROVIDER)
_SHORTEST_GUESS: Final = 4
"""A shorter name comes out of any text by chance."""
_KEPT: Final = re.compile(b"1+")
KEPT: Final = 0.15
"""Findings below this are noise and are not told."""
_HINTS: Final = 0.84
"""Words alone are never surer than this."""

Raw = tuple[int, int, Category, float, str]
"""Start and end in the original, category, confidence, rule."""


def has_address(text: str, chars: Set[str]) -> bool:
    """Whether a text of these characters has the signs of an address as it is written."""
    return (
        not chars.isdisjoint("@/#")
        or (":" in chars and CODE.search(text) is not None)
        or ("." in chars and _DOTTED.search(text) is not None)
    )


def _widened(span: Span, size: int) -> Span:
    """A part of a text with what stands around it."""
    return max(0, span[0] - _REACH), min(size, span[1] + _REACH)


def _delivered(found: Raw) -> Raw:
    """Credentials are what was sold: an address with a password beside it is the delivery."""
    start, end, category, score, rule = found
    return start, end, category, score - 0.5, rule


class Reading:
    """One message under examination.

    Args:
        words, numbers: what the lexicons say.
        hosts: the platform's own.
        view: the message as it is written, in normal form.
        order: what is known of the order.
    """

    def __init__(
        self, words: Words, numbers: NumberWords, hosts: addresses.Hosts, view: View, order: OrderContext
    ) -> None:
        self._words = words
        self._numbers = numbers
        self._hosts = hosts
        self._view = view
        self._original = view.normal.original
        self._order = order
        self._sold_account = order.category == "account"

    @cached_property
    def _known(self) -> frozenset[str]:
        """Numbers of the order, digits only."""
        return frozenset(re.sub(r"\D", "", number) for number in self._order.order_ids) - {""}

    @cached_property
    def _names(self) -> frozenset[str]:
        """Names in the game that were declared, in normal form."""
        return frozenset(normalise(name).text for name in self._order.in_game_names)

    @cached_property
    def _cues(self) -> Cues:
        """What the lexicons find in the message as it is written."""
        return self._words.find(self._view.text)

    def examine(self, view: View, disguised: bool, *, address: bool, digits: bool, words: bool = True) -> list[Raw]:
        """Everything that a reading of the message shows.

        Args:
            view: the reading.
            disguised: it only reads like this once a disguise is undone.
            address, digits: whether it has the signs of an address, or enough digits for a number.
            words: whether it holds some that may begin a finding.
        """
        raw: list[Raw] = []
        runs = self._numbers.runs(view.text, least=7)[:_MOST_RUNS] if digits else ()
        if address:
            cased = self._original if view.text.isascii() and len(view.text) == len(self._original) else view.text
            for start, end, score, rule in addresses.emails(view.text, self._hosts):
                raw.append((*view.span(start, end), Category.EMAIL, score, rule))
            for start, end, score, rule in addresses.links(view.text, self._hosts, cased=cased):
                raw.append((*view.span(start, end), Category.URL, score, rule))
        if not (raw or words or runs or "@" in view.text or "#" in view.text or CODE.search(view.text)):
            return raw
        cues = self._cues if view is self._view else self._words.find(view.text)
        reported = cues.everywhere & Cue.REPORT != 0
        if not reported and view.is_excerpt:
            reported = self._cues.everywhere & Cue.REPORT != 0
        if self._sold_account and cues.everywhere & (Cue.REF | Cue.PRODUCT):
            raw = [_delivered(one) if one[2] is Category.EMAIL else one for one in raw]
        for start, end, category, score, rule in judgement.weigh_words(cues, disguised=disguised, reported=reported):
            if score >= KEPT:
                raw.append(
                    (
                        *view.span(start, end),
                        category,
                        self._adjusted(view.text[start:end], category, score, rule),
                        rule,
                    )
                )
        for run in runs:
            first, last = view.span(run.start, run.end)
            styled = _STYLED.search(self._original, first, last) is not None
            score, rule, start, end = phones.weigh(view.text, run, cues, self._known, styled)
            if score >= KEPT:
                raw.append((*view.span(start, end), Category.PHONE, score, rule))
            raw += self._account(view, cues, run.start, run.end, run.digits)
        return raw

    def _account(self, view: View, cues: Cues, start: int, end: int, digits: str) -> list[Raw]:
        """Numbers of cards, accounts or on channels that money or a contact is asked to."""
        near = cues.near(start, end, 50)
        if near & (Cue.NO | Cue.REPORT | Cue.PAST):
            return []
        if near & (Cue.OFFPAY | Cue.PAY_NAME) and len(digits) >= 8:
            sure = 0.2 if luhn(digits) and len(digits) >= 15 else 0.0
            paying = 0.15 if near & Cue.PAY else 0.0
            return [(*view.span(start, end), Category.PAYMENT, 0.45 + sure + paying, "payment.account")]
        return []

    def _adjusted(self, written: str, category: Category, score: float, rule: str) -> float:
        if category is Category.HANDLE and any(name in written or written in name for name in self._names):
            return 0.0
        if category is Category.INVITE and self._order.title and rule in ("invite.channel", "invite.short_name"):
            title = normalise(self._order.title).text
            score -= 0.15 if written.split()[-1:] and written.split()[-1] in title else 0.0
        return min(
            score,
            0.93 if rule in ("invite.channel", "payment.outside", "payment.named", "handle.on_channel") else _HINTS,
        )

    def _addressed(self, text: str) -> bool:
        return has_address(text, set(text)) or self._words.anchors(text) & ADDRESSED != 0

    def _telling(self, view: View) -> View:
        """What another reading of a long message may tell: excerpts around what is found where it reads otherwise than
        the message as it is written. To weigh takes the longest, and the rest has been weighed."""
        text, size = view.text, len(view.text)
        if size <= _LONG:
            return view
        other, kept, left = bytearray(size), bytearray(size), _MOST_AGAIN
        for span in view.changed:
            start, end = _widened(span, size)
            other[start:end] = b"1" * (end - start)
        named = ((start, end) for start, end, mask in self._words.names(text) if mask & ANCHORS)
        for span in chain(named, (match.span() for match in _SIGNS.finditer(text))):
            if b"1" not in other[slice(*span)]:
                continue
            start, end = _widened(span, size)
            left -= end - start - kept.count(b"1", start, end)
            if left < 0:
                break
            kept[start:end] = b"1" * (end - start)
        return view.excerpt(match.span() for match in _KEPT.finditer(kept))

    def _again(self, view: View, *, digits: bool) -> list[Raw]:
        """Everything that another reading of the message shows."""
        told = self._telling(view)
        return self.examine(told, True, address=self._addressed(told.text), digits=digits)

    def undisguised(self, view: View) -> list[Raw]:
        raw: list[Raw] = []
        read = view
        if spaced := spaced_out(view.text):
            read = closed_up(view, self._is_name)
            spaced = read.text != view.text
            if spelled.spelled_out(read.text, set(read.text), False):
                raw += self.said(self._telling(read))
        named, changed = disguises.unmasked(read)
        if spaced or changed:  # Both are undone before it is weighed.
            raw += self._again(named, digits=spaced and len(_DIGIT.findall(named.text)) >= LEAST_DIGITS)
        if not changed:
            known: set[str] | None = None
            for parts in disguises.spelled_with_signs(read.text):
                known = self._names_in(read.text) if known is None else known
                if self._names_in(rewritten(read.text, parts)) - known:
                    raw += self.examine(self._telling(replaced(read, parts)), True, address=False, digits=False)
                    break
        return raw

    def _names_in(self, text: str) -> set[str]:
        """Names of channels and ways to pay, and of mail providers, of three letters or more."""
        return {text[start:end] for start, end, mask in self._words.names(text) if mask & _NAMED and end - start > 2}

    def _is_name(self, letters: str) -> bool:
        """Whether some letters are the name of a channel, or of a way to pay."""
        return any(end - start == len(letters) and mask & _NAMED for start, end, mask in self._words.names(letters))

    def said(self, view: View) -> list[Raw]:
        raw: list[Raw] = []
        said = spelled.unspelled(view)
        unmasked, _ = disguises.unmasked(said)
        for reading in (said, unmasked) if unmasked is not said else (said,):
            for start, end, score, rule in spelled.said_emails(reading.text, self._hosts):
                raw.append((*reading.span(start, end), Category.EMAIL, score, rule))
            for start, end, score, rule in spelled.said_links(reading.text, self._hosts):
                raw.append((*reading.span(start, end), Category.URL, score, rule))
        return raw

    def encoded(self, view: View, mask: int) -> list[Raw]:
        raw: list[Raw] = []
        if mask & (Cue.REVERSED | BACKWARDS):
            found = self._again(backwards(view), digits=True)
            raw += [
                (start, end, category, min(score + 0.12, 0.9), f"{rule}.reversed")
                for start, end, category, score, rule in found
            ]
        for start, end, plain in ciphers.decoded(self._original, announced=bool(mask & Cue.ENCODED)):
            raw += [(start, end, *rest) for rest in self._said_in(plain)]
        if mask & Cue.ENCODED and not raw and len(view.text) <= ciphers.LONGEST:
            raw += self._guessed(view)
        return raw

    def _guessed(self, view: View) -> list[Raw]:
        raw: list[Raw] = []
        named = self._names_in(view.text)
        for plain in ciphers.guessed(view.text):
            new = self._names_in(plain) - named
            if (plain.isdigit() and 9 <= len(plain) <= 15) or any(len(name) > _SHORTEST_GUESS for name in new):
                raw += [(*view.span(0, len(view.text)), *rest) for rest in self._said_in(plain)]
        return raw

    def _said_in(self, plain: str) -> list[tuple[Category, float, str]]:
        """What a deciphered text gives away."""
        inner = normalise(plain)
        found = self.examine(View(inner, inner.text), True, address=True, digits=True)
        bare = _DIGIT.findall(plain)
        if len(bare) >= 7 and len(bare) >= len(plain) - 4:
            found.append((0, 0, Category.PHONE, 0.7, "phone"))
        return [(category, min(score + 0.15, 0.9), f"{rule}.encoded") for _, _, category, score, rule in found]
