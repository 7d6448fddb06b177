"""The detector: reads a message in several ways, weighs what it finds, and says what to do with it."""

import re
from collections.abc import Iterable, Sequence, Set
from typing import Final

from policies.contact import addresses, disguises, judgement, phones, wallets
from policies.contact.digits import NumberWords
from policies.contact.lexicon import ADDRESSED, ANCHORS, CHANNELS, REPEATED, Cue, Cues, Lexicons, Words, load_lexicons
from policies.contact.normal import normalise
from policies.contact.rules import ContactRules
from policies.contact.sentences import for_author, for_staff
from policies.contact.views import View, backwards, closed_up, spaced_out
from policies.contact.vocabulary import Action, Category, Finding, OrderContext, Verdict
from policies.contact.window import Earlier

_DOTTED: Final = re.compile(r"\.[^\W\d_]{2}")
_DIGIT: Final = re.compile(r"\d")
_DIGITS: Final = "0123456789"
_DENSE: Final = re.compile(r"\d(?:\D{0,16}\d){4}")
"""Numerals so near each other that they may be one number; the widest gap of a run is 12."""
_STYLED: Final = re.compile(
    "[\u20e3\u2460-\u24ff\u2776-\u2793\U0001d7ce-\U0001d7ff\U0001f100-\U0001f10c\u200b-\u200f\u2060-\u2064]"
)
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/]{12}")
_LONG_TOKEN: Final = re.compile(r"[A-Za-z0-9]{25}|[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]{4}|0x[0-9a-fA-F]{10}")
_GLUE: Final = re.compile(
    r"@|gmail|hotmail|yahoo|outlook|mail|icloud|www|\.(?:com|net|org|ru|gg)|\b(?:com|gg|dot|punto|ponto|punkt|point|arroba|slash)\b|точка|собака"
)
_GLUED_END: Final = re.compile(r"\b(?:com|net|org|ru|gg|me|shop|info|io)(?:/\S*)?$")
_PARTS: Final = re.compile(
    r"\b(?:part|rest|ends|last|first|second|parte|resto|rest|teil|partie|suite|часть|конец|final)\b|后面|前面|剩下"
)
_LONGEST_PART: Final = 120
_LONGEST_GLUED: Final = 40
"""Characters of a message that may be a part of a number, or of an address or name."""
_LEAST_DIGITS: Final = 5
_MOST_RUNS: Final = 40
_KEPT: Final = 0.15
"""Findings below this are noise and are not told."""
_HINTS: Final = 0.84
"""Words alone are never surer than this."""

_SPELLING: Final = int(Cue.DOT | Cue.PROVIDER)
_CODED: Final = int(Cue.REVERSED | Cue.ENCODED)

Raw = tuple[int, int, Category, float, str]


class Detector:
    """Detects contact details, invitations elsewhere and payment outside in the messages of a dispute.

    Pure and immutable once made: it may be shared by threads. ``rules`` are the operator's; ``lexicons`` the words, to
    which those of the rules are added.
    """

    def __init__(self, rules: ContactRules | None = None, lexicons: Lexicons | None = None) -> None:
        self.rules: Final = rules or ContactRules()
        lexicons = (lexicons or load_lexicons()).extended(self.rules.lexicon)
        self._words = Words(lexicons)
        self._numbers = NumberWords(lexicons.digits)
        self._hosts = addresses.own_hosts(self.rules.own_domains)

    def check(
        self, text: str, context: Sequence[str] = (), order: OrderContext | None = None, warned: bool = False
    ) -> Verdict:
        """Judge a message.

        Args:
            text: the message, or any other text of a user.
            context: the sender's earlier messages in the same room, oldest first: the last 8 or of 10 minutes.
            order: what is known of the order.
            warned: the sender was reminded a short time ago, so that a finding is rather an attempt.
        """
        raw = self._read(text, context, order or _NO_ORDER)
        if not raw:
            return _ALLOWED
        findings = _settled(raw, 1 if not warned else 1 + self.rules.warned_raise)
        return self._decide(findings)

    def _decide(self, findings: tuple[Finding, ...]) -> Verdict:
        action = Action.ALLOW
        for finding in findings:
            limits = self.rules.thresholds(finding.category)
            if finding.confidence >= limits.withhold:
                action = Action.WITHHOLD
            elif finding.confidence >= limits.warn and action is Action.ALLOW:
                action = Action.WARN
        confidence = max((finding.confidence for finding in findings), default=0.0)
        if not findings:
            return _ALLOWED
        staff = for_staff(findings, action, shadow=self.rules.shadow)
        if self.rules.shadow:
            return Verdict(Action.ALLOW, confidence, findings, staff, "")
        author = for_author(findings, action) if action is not Action.ALLOW else ""
        return Verdict(action, confidence, findings, staff, author)

    def _read(self, text: str, context: Sequence[str], order: OrderContext) -> list[Raw]:
        # Nearly every message is ordinary: what only looks whether something is there comes first and makes no objects.
        normal = normalise(text)
        plain = normal.text
        chars = set(plain)
        found = self._words.anchors(plain)
        mask = found & ANCHORS
        written = 0 if chars.isdisjoint(_DIGITS) else len(_DIGIT.findall(plain))
        count = written + self._numbers.count(plain)
        digits = count >= _LEAST_DIGITS and (count > written or _DENSE.search(plain) is not None)
        lengths = [len(piece) for piece in plain.split()]
        longest = max(lengths, default=0)
        view = View(normal, plain)
        reading: _Reading | None = None
        raw: list[Raw] = []
        address = found & ADDRESSED != 0 or _has_address(plain, chars)
        if mask or digits or address:
            reading = _Reading(self, text, order)
            raw += reading.examine(view, normal.hidden, address=address, digits=digits, words=mask != 0)
        if (written > 9 or longest > 24) and _LONG_TOKEN.search(text):
            raw += [(start, end, Category.CRYPTO, score, rule) for start, end, score, rule in wallets.wallets(text)]
            raw += [(start, end, Category.PAYMENT, score, rule) for start, end, score, rule in wallets.ibans(text)]
        if disguises.suspect(plain, chars, lengths.count(1), found & REPEATED != 0):
            reading = reading or _Reading(self, text, order)
            raw += reading.undisguised(view)
        if normal.foreign:
            seen, changed = disguises.foreign_lookalikes(view)
            if changed:
                reading = reading or _Reading(self, text, order)
                raw += reading.examine(seen, True, address=False, digits=False)
        if addresses.spelled_out(plain, chars, bool(mask & _SPELLING)):
            reading = reading or _Reading(self, text, order)
            raw += reading.said(view)
        if mask & _CODED or (longest > 11 and _ENCODED.search(text)):
            reading = reading or _Reading(self, text, order)
            raw += reading.encoded(view, mask)
        if context:
            raw += self._window(view, context, order, count)
        return raw

    def _window(self, view: View, context: Sequence[str], order: OrderContext, count: int) -> list[Raw]:
        """What only shows when the message is read together with those before it. ``count``: of its digits, about."""
        text = view.text.strip()
        if not text or len(text) > _LONGEST_PART:
            return []
        name = _name_in(text)
        short = len(text) < _LONGEST_GLUED
        if not (count or name or short):
            return []
        earlier = Earlier(context, self._words, self._numbers)
        pieces = earlier.pieces
        if not pieces:
            return []
        found: list[Raw] = []
        whole = view.span(0, len(view.text))
        if count and earlier.has_digits():
            found += self._joined_number(earlier, text, whole)
        if short and self._may_be_glued(pieces, text):
            found += self._glued(pieces, text, whole, order)
        if name and self._follows_channel(earlier, name, alone=name == text):
            distinct = any(not char.isalpha() for char in name.strip("@"))
            found.append((*whole, Category.HANDLE, 0.62 if distinct else 0.55, "handle.split"))
        return found

    def _may_be_glued(self, pieces: Sequence[str], text: str) -> bool:
        """Whether a message and those before it have the signs of an address between them."""
        if len(pieces[-1].split()) >= 6 or sum(map(len, pieces[-4:])) >= 160:
            return False
        return _GLUE.search(f"{' '.join(pieces[-4:])} {text}") is not None

    def _joined_number(self, earlier: Earlier, text: str, whole: tuple[int, int]) -> list[Raw]:
        """A telephone number whose digits came in several messages."""
        own, own_phone = earlier.part_of_number(text)
        if not own or len(own) > 11:
            return []
        before, phone = earlier.digits_before()
        joined = before + own
        if not before or not 7 <= len(joined) <= 16:
            return []
        pieces = earlier.pieces
        valid = phones.nationally_valid(joined) or phones.nationally_valid(own + before)
        bare = earlier.announced or _PARTS.search(text) or not any(map(str.isalpha, "".join(pieces[-2:])))
        score = 0.3 + (0.36 if phone or own_phone else 0.0) + (0.16 if valid else 0.0)
        score += (0.15 if len(pieces) > 3 else 0.0) + (0.12 if bare else 0.0)
        return [(*whole, Category.PHONE, score, "phone.split")]

    def _follows_channel(self, earlier: Earlier, name: str, *, alone: bool) -> bool:
        """Whether a message that is only a name follows one that named a channel. A plain word must be introduced."""
        before = earlier.mask() if earlier.names_channel() else 0
        if not before & CHANNELS or before & (Cue.NO | Cue.REPORT | Cue.PRODUCT | Cue.PAST):
            return False
        if any(not char.isalpha() for char in name.strip("@")):
            return not name.isdigit() or len(name) > 4
        last = self._words.find(earlier.pieces[-1]).everywhere
        introduced = bool(last & (Cue.MINE | Cue.SPLIT)) and not last & CHANNELS
        return introduced and alone and name not in self._words.known

    def _glued(self, pieces: Sequence[str], text: str, whole: tuple[int, int], order: OrderContext) -> list[Raw]:
        """Addresses whose parts are messages of their own."""
        hosts = addresses.own_hosts(self.rules.own_domains, order.own_domains)
        for count in range(1, min(4, len(pieces)) + 1):
            parts = pieces[-count:]
            if sum(len(part) for part in parts) > 120:
                break
            last = len(parts[-1].split()) <= 2 and len(text.split()) <= 2
            for glue in ("", " "):
                joined = glue.join(parts)
                size = len(joined) + len(glue)
                candidate = joined + glue + text
                reading = View(normalise(candidate), normalise(candidate).text)
                said = (
                    addresses.unspelled(reading) if addresses.spelled_out(candidate, set(candidate), True) else reading
                )
                spans = [
                    (*said.place(a, b), Category.EMAIL, s) for a, b, s, _ in addresses.said_emails(said.text, hosts)
                ]
                spans += [(a, b, Category.EMAIL, s) for a, b, s, _ in addresses.emails(candidate, hosts)]
                if last:
                    spans += [
                        (*said.place(a, b), Category.URL, s) for a, b, s, _ in addresses.said_links(said.text, hosts)
                    ]
                for start, end, category, score in spans:
                    if category is Category.URL and not _GLUED_END.search(candidate[:end]):
                        continue
                    if start < size < end - 1 and (glue or not parts[-1][-1:].isspace()):
                        return [(*whole, category, min(score, 0.8), f"{category}.split")]
        return []


class _Reading:
    """One message under examination."""

    def __init__(self, detector: Detector, original: str, order: OrderContext) -> None:
        self._detector = detector
        self._original = original
        self._order = order
        own = (detector.rules.own_domains, order.own_domains)
        self._hosts = addresses.own_hosts(*own) if order.own_domains else detector._hosts
        self._known = frozenset(re.sub(r"\D", "", number) for number in order.order_ids) - {""}
        self._sold_account = order.category == "account"
        self._names = frozenset(normalise(name).text for name in order.in_game_names)

    def examine(self, view: View, disguised: bool, *, address: bool, digits: bool, words: bool = True) -> list[Raw]:
        """Everything that a reading of the message shows. ``words``: it holds some that may begin a finding."""
        raw: list[Raw] = []
        runs = self._detector._numbers.runs(view.text, least=7)[:_MOST_RUNS] if digits else ()
        if address:
            cased = self._original if view.text.isascii() and len(view.text) == len(self._original) else view.text
            for start, end, score, rule in addresses.emails(view.text, self._hosts):
                raw.append((*view.span(start, end), Category.EMAIL, score, rule))
            for start, end, score, rule in addresses.links(view.text, self._hosts, cased=cased):
                raw.append((*view.span(start, end), Category.URL, score, rule))
        if not (raw or words or runs or "@" in view.text or "#" in view.text):
            return raw
        cues = self._detector._words.find(view.text)
        if self._sold_account and cues.everywhere & (Cue.REF | Cue.PRODUCT):
            raw = [_delivered(one) if one[2] is Category.EMAIL else one for one in raw]
        for start, end, category, score, rule in judgement.weigh_words(cues, disguised=disguised):
            if score >= _KEPT:
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
            if score >= _KEPT:
                raw.append((*view.span(start, end), Category.PHONE, score, rule))
            raw += self._account(view, cues, run.start, run.end, run.digits)
        return raw

    def _account(self, view: View, cues: Cues, start: int, end: int, digits: str) -> list[Raw]:
        """Numbers of cards, accounts or on channels that money or a contact is asked to."""
        near = cues.near(start, end, 50)
        if near & (Cue.NO | Cue.REPORT | Cue.PAST):
            return []
        if near & (Cue.OFFPAY | Cue.PAY_NAME) and len(digits) >= 8:
            sure = 0.2 if phones.luhn(digits) and len(digits) >= 15 else 0.0
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
        return _has_address(text, set(text)) or self._detector._words.anchors(text) & ADDRESSED != 0

    def undisguised(self, view: View) -> list[Raw]:
        raw: list[Raw] = []
        if spaced_out(view.text):
            closed = closed_up(view)
            digits = len(_DIGIT.findall(closed.text)) >= _LEAST_DIGITS
            raw += self.examine(closed, True, address=self._addressed(closed.text), digits=digits)
            view = closed
        seen, changed = disguises.unmasked(view)
        if changed:
            raw += self.examine(seen, True, address=self._addressed(seen.text), digits=False)
        return raw

    def said(self, view: View) -> list[Raw]:
        raw: list[Raw] = []
        said = addresses.unspelled(view)
        unmasked, _ = disguises.unmasked(said)
        for reading in (said, unmasked) if unmasked is not said else (said,):
            for start, end, score, rule in addresses.said_emails(reading.text, self._hosts):
                raw.append((*reading.span(start, end), Category.EMAIL, score, rule))
            for start, end, score, rule in addresses.said_links(reading.text, self._hosts):
                raw.append((*reading.span(start, end), Category.URL, score, rule))
        return raw

    def encoded(self, view: View, mask: int) -> list[Raw]:
        raw: list[Raw] = []
        if mask & Cue.REVERSED:
            other = backwards(view)
            found = self.examine(other, True, address=True, digits=True)
            raw += [
                (start, end, category, min(score + 0.1, 0.9), f"{rule}.reversed")
                for start, end, category, score, rule in found
            ]
        for start, end, plain in disguises.decoded(self._original, announced=bool(mask & Cue.ENCODED)):
            inner = normalise(plain)
            found = self.examine(View(inner, inner.text), True, address=True, digits=True)
            bare = _DIGIT.findall(plain)
            if len(bare) >= 7 and len(bare) >= len(plain) - 4:
                found.append((0, 0, Category.PHONE, 0.7, "phone"))
            raw += [
                (start, end, category, min(score + 0.15, 0.9), f"{rule}.encoded")
                for _, _, category, score, rule in found
            ]
        return raw


_NO_ORDER: Final = OrderContext()
_ALLOWED: Final = Verdict(Action.ALLOW, 0.0, (), "", "")
_NAME: Final = re.compile(r"@?[a-z0-9][\w.\-#]{2,31}")


def _delivered(found: Raw) -> Raw:
    """Credentials are what was sold: an address with a password beside it is the delivery."""
    start, end, category, score, rule = found
    return start, end, category, score - 0.5, rule


def _name_in(text: str) -> str:
    """The name that a message of one or two words ends with; empty when there is none."""
    parts = text.split() if len(text) <= _LONGEST_GLUED else []
    return parts[-1] if 0 < len(parts) < 3 and _NAME.fullmatch(parts[-1]) else ""


def _has_address(text: str, chars: Set[str]) -> bool:
    """Whether a text of these characters has the signs of an address as it is written."""
    return not chars.isdisjoint("@/#") or ("." in chars and _DOTTED.search(text) is not None)


_RANK: Final = {
    Category.CRYPTO: 7, Category.EMAIL: 6, Category.URL: 5, Category.PHONE: 3, Category.HANDLE: 2,
    Category.PAYMENT: 1, Category.INVITE: 0,
}  # fmt: skip


def _settled(raw: Iterable[Raw], factor: float) -> tuple[Finding, ...]:
    """One finding for each place and category, the surest; what lies within a surer address is part of it."""
    kept: list[Raw] = []
    for one in sorted(raw, key=lambda one: (-one[3], -_RANK[one[2]], one[0])):
        start, end, category, score, _ = one
        if score < _KEPT:
            continue
        covered = False
        for first, last, other, sure, _ in kept:
            shared = min(end, last) - max(start, first)
            if shared <= 0 and not (start == end == first == last == 0):
                continue
            if other is category or (
                _RANK[other] >= 2 and _RANK[category] >= 2 and (_RANK[other] >= _RANK[category] or sure >= score)
            ):
                covered = True
                break
        if not covered:
            kept.append(one)
        if len(kept) >= 64:
            break
    kept.sort(key=lambda one: (one[0], one[1]))
    return tuple(
        Finding(category, start, end, round(max(0.0, min(score * factor, 0.99)), 3), rule)
        for start, end, category, score, rule in kept
    )
