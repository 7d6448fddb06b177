"""The detector: reads a message in several ways, weighs what it finds, and says what to do with it."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from policies.contact import addresses, disguises, phones, spelled, wallets
from policies.contact.digits import NumberWords
from policies.contact.lexicon import (
    ADDRESSED,
    ANCHORS,
    BACKWARDS,
    CHANNELS,
    REPEATED,
    Cue,
    Lexicons,
    Words,
    load_lexicons,
)
from policies.contact.normal import Normal, normalise
from policies.contact.reading import KEPT, LEAST_DIGITS, Raw, Reading, has_address
from policies.contact.rules import ContactRules
from policies.contact.sentences import for_author, for_staff
from policies.contact.views import View
from policies.contact.vocabulary import LONGEST_PART, Action, Category, Finding, OrderContext, Verdict
from policies.contact.window import Earlier, is_amount

_DIGIT: Final = re.compile(r"\d")
_DIGITS: Final = "0123456789"
_DENSE: Final = re.compile(r"\d(?:\D{0,16}\d){4}")
"""Numerals so near each other that they may be one number; the widest gap of a run is 12."""
_ENCODED: Final = re.compile(r"(?<![A-Za-z0-9+/=])(?=[A-Za-z]*[0-9+/=])[A-Za-z0-9+/]{12}")
"""A long token that is not of letters alone, unless it ends in a sign of equality."""
_CODE_SIGNS: Final = "0123456789+/="
_LONG_TOKEN: Final = re.compile(r"[A-Za-z0-9]{25}|[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]{4}|0x[0-9a-fA-F]{10}")
_GLUE: Final = re.compile(
    r"@|gmail|hotmail|yahoo|outlook|mail|icloud|www|\.(?:com|net|org|ru|gg)|\b(?:com|gg|dot|punto|ponto|punkt|point|arroba|slash)\b|точка|собака"
)
_GLUED_END: Final = re.compile(r"\b(?:com|net|org|ru|gg|me|shop|info|io|ly|gl|ee|cc|xyz|tv|co|gd|site|store)(?:/\S*)?$")
_PARTS: Final = re.compile(
    r"\b(?:part|rest|ends|last|first|second|parte|resto|rest|teil|partie|suite|часть|конец|final)\b|后面|前面|剩下"
)
_LONGEST_GLUED: Final = 40
"""Characters of a message that may be a part of an address or name."""
_SPELLING: Final = int(Cue.DOT | Cue.PROVIDER)
_CODED: Final = int(Cue.REVERSED | Cue.ENCODED) | BACKWARDS


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
        addresses.load_suffixes()
        phones.load_plans()

    def check(
        self,
        text: str,
        context: Sequence[str] = (),
        order: OrderContext | None = None,
        warned: bool = False,
        normal: Normal | None = None,
    ) -> Verdict:
        """Judge a message.

        Args:
            text: the message, or any other text of a user.
            context: the sender's earlier messages in the same room, oldest first: the last 8 or of 10 minutes.
            order: what is known of the order.
            warned: the sender was reminded a short time ago, so that a finding is rather an attempt.
            normal: the normal form of the message, where that is known already.
        """
        raw = self._read(normal or normalise(text), context, order or _NO_ORDER)
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

    def _read(self, normal: Normal, context: Sequence[str], order: OrderContext) -> list[Raw]:
        # Nearly every message is ordinary: what only looks whether something is there comes first and makes no objects.
        text, plain = normal.original, normal.text
        chars = set(plain)
        found = self._words.anchors(plain)
        mask = found & ANCHORS
        written = 0 if chars.isdisjoint(_DIGITS) else len(_DIGIT.findall(plain))
        count = written + self._numbers.count(plain)
        digits = count >= LEAST_DIGITS and (count > written or _DENSE.search(plain) is not None)
        lengths = [len(piece) for piece in plain.split()]
        longest = max(lengths, default=0)
        view = View(normal, plain)
        reading: Reading | None = None
        raw: list[Raw] = []
        address = found & ADDRESSED != 0 or has_address(plain, chars)
        if mask or digits or address:
            reading = self._reading(view, order)
            raw += reading.examine(view, normal.hidden, address=address, digits=digits, words=mask != 0)
        if (written > 9 or longest > 24) and _LONG_TOKEN.search(text):
            raw += [(start, end, Category.CRYPTO, score, rule) for start, end, score, rule in wallets.wallets(text)]
            raw += [(start, end, Category.PAYMENT, score, rule) for start, end, score, rule in wallets.ibans(text)]
        if disguises.suspect(plain, chars, lengths.count(1), found & REPEATED != 0):
            reading = reading or self._reading(view, order)
            raw += reading.undisguised(view)
        if normal.foreign:
            seen, changed = disguises.foreign_lookalikes(view)
            if changed:
                reading = reading or self._reading(view, order)
                raw += reading.examine(seen, True, address=False, digits=False)
        if spelled.spelled_out(plain, chars, bool(mask & _SPELLING)):
            reading = reading or self._reading(view, order)
            raw += reading.said(view)
        if found & _CODED or (longest > 11 and not chars.isdisjoint(_CODE_SIGNS) and _ENCODED.search(text)):
            reading = reading or self._reading(view, order)
            raw += reading.encoded(view, found)
        if context:
            raw += self._window(view, context, order, count)
        return raw

    def _reading(self, view: View, order: OrderContext) -> Reading:
        hosts = addresses.own_hosts(self.rules.own_domains, order.own_domains) if order.own_domains else self._hosts
        return Reading(self._words, self._numbers, hosts, view, order)

    def _window(self, view: View, context: Sequence[str], order: OrderContext, count: int) -> list[Raw]:
        """What only shows when the message is read together with those before it. ``count``: of its digits, about."""
        text = view.text.strip()
        if not text or len(text) > LONGEST_PART:
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
        if short and earlier.cut_name(text):
            found.append((*whole, Category.INVITE, 0.62, "invite.split"))
        if name and name.strip("#") not in order.order_ids and self._follows_channel(earlier, name, alone=name == text):
            distinct = any(not char.isalpha() for char in name.strip("@"))
            found.append((*whole, Category.HANDLE, 0.62 if distinct else 0.55, "handle.split"))
        return found

    def _may_be_glued(self, pieces: Sequence[str], text: str) -> bool:
        """Whether a message and those before it have the signs of an address between them."""
        if len(pieces[-1].split()) >= 6 or sum(map(len, pieces[-4:])) >= 160:
            return False
        if text[0] in "/.@" or pieces[-1][-1:] in ("/", ".", "@"):
            return True
        return _GLUE.search(f"{' '.join(pieces[-4:])} {text}") is not None

    def _joined_number(self, earlier: Earlier, text: str, whole: tuple[int, int]) -> list[Raw]:
        """A telephone number whose digits came in several messages."""
        if is_amount(text):
            return []
        own = earlier.part_of_number(text)
        if not own.digits or len(own.digits) > 11 or earlier.counts_up_to(text):
            return []  # Nearly always: only few messages are read together with those before.
        before = earlier.digits_before()
        joined = before.digits + own.digits
        if not before.digits or not 7 <= len(joined) <= 16:
            return []
        pieces = earlier.pieces
        valid = phones.nationally_valid(joined) or phones.nationally_valid(own.digits + before.digits)
        if not (before.strict and own.strict) and not (valid and 9 <= len(joined) <= 12 and len(own.digits) > 2):
            return []
        bare = (
            earlier.announced or before.alone or _PARTS.search(text) or not any(map(str.isalpha, "".join(pieces[-2:])))
        )
        score = 0.3 + (0.36 if before.phone or own.phone else 0.0) + (0.16 if valid else 0.0)
        score += (0.15 if len(pieces) > 3 else 0.0) + (0.12 if bare else 0.0)
        return [(*whole, Category.PHONE, score, "phone.split")]

    def _follows_channel(self, earlier: Earlier, name: str, *, alone: bool) -> bool:
        """Whether a message that is only a name follows one that named a channel. A plain word must be introduced."""
        distinct = any(not char.isalpha() for char in name.strip("@"))
        if not earlier.names_channel():
            return distinct and not name.isdigit() and earlier.names_provider()
        before = earlier.mask()
        if before & (Cue.NO | Cue.REPORT | Cue.PRODUCT | Cue.PAST):
            return False
        if distinct:
            return not name.isdigit() or len(name) > 4
        if earlier.is_only_channel() and alone and name not in self._words.known and len(name) > 4:
            return True
        last = self._words.find(earlier.pieces[-1]).everywhere
        introduced = bool(last & (Cue.MINE | Cue.SPLIT)) and not last & CHANNELS
        return introduced and alone and name not in self._words.known

    def _glued(self, pieces: Sequence[str], text: str, whole: tuple[int, int], order: OrderContext) -> list[Raw]:
        """Addresses whose parts are messages of their own."""
        hosts = addresses.own_hosts(self.rules.own_domains, order.own_domains) if order.own_domains else self._hosts
        for count in range(1, min(4, len(pieces)) + 1):
            parts = pieces[-count:]
            if sum(len(part) for part in parts) > 120:
                break
            last = len(parts[-1].split()) <= 2 and len(text.split()) <= 2
            for glue in ("", " "):
                joined = glue.join(parts)
                size = len(joined) + len(glue)
                candidate = joined + glue + text
                normal = normalise(candidate)
                reading = View(normal, normal.text)
                said = spelled.unspelled(reading) if spelled.spelled_out(candidate, set(candidate), True) else reading
                spans = [(*said.place(a, b), Category.EMAIL, s) for a, b, s, _ in spelled.said_emails(said.text, hosts)]
                spans += [(a, b, Category.EMAIL, s) for a, b, s, _ in addresses.emails(candidate, hosts)]
                if last:
                    spans += [
                        (a, b, Category.URL, s) for a, b, s, _ in addresses.links(candidate, hosts, cased=candidate)
                    ]
                    spans += [
                        (*said.place(a, b), Category.URL, s) for a, b, s, _ in spelled.said_links(said.text, hosts)
                    ]
                for start, end, category, score in spans:
                    if category is Category.URL and not _GLUED_END.search(candidate[:end]):
                        continue
                    if start < size < end - 1 and (glue or not parts[-1][-1:].isspace()):
                        return [(*whole, category, min(score, 0.8), f"{category}.split")]
        return []


_NO_ORDER: Final = OrderContext()
_ALLOWED: Final = Verdict(Action.ALLOW, 0.0, (), "", "")
_NAME: Final = re.compile(r"@?[a-z0-9][\w.\-#]{2,31}|#\d{4}")


def _name_in(text: str) -> str:
    """The name that a message of one or two words ends with; empty when there is none."""
    parts = text.split() if len(text) <= _LONGEST_GLUED else []
    return parts[-1] if 0 < len(parts) < 3 and _NAME.fullmatch(parts[-1]) else ""


_RANK: Final = {
    Category.CRYPTO: 7, Category.EMAIL: 6, Category.URL: 5, Category.PHONE: 3, Category.HANDLE: 2,
    Category.PAYMENT: 1, Category.INVITE: 0,
}  # fmt: skip


def _settled(raw: Iterable[Raw], factor: float) -> tuple[Finding, ...]:
    """One finding for each place and category, the surest; what lies within a surer address is part of it."""
    kept: list[Raw] = []
    for one in sorted(raw, key=lambda one: (-one[3], -_RANK[one[2]], one[0])):
        start, end, category, score, _ = one
        if score < KEPT:
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
