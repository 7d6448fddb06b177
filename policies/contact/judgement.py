"""Weighs words: which channel is named, how, and what stands around it.

Every rule starts at an anchor (a channel, a way to pay, a phrase) with a base, and adds or takes off what the cues near
it are worth. The sums are plain so that staff can be told which cues made the difference.
"""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from policies.contact.lexicon import CHANNELS, PAYMENTS, Cue, Cues, Hit
from policies.contact.names import MOST_ANCHORS, Weighed, added, handle_after, names_in
from policies.contact.vocabulary import Category

_FROM: Final = re.compile(r"'?(?:dan|tan|den|ten|da|ta|de|te|a|e|ya|ye)\b")
"""Turkish endings that say by which way."""
_QUESTION: Final = re.compile(r"[?？؟]")
_WORDS: Final = re.compile(r"\w+")
_SERVICE: Final = re.compile(
    r"app|logo|icon|made by|mess|chat|aplic|aplik|прил|мессен|чат|"
    r"прог|додат|застос|komun|uygul|program|ứng|软件|聊|アフリ"
    r"|チャット|앱|어플|메신저|톡|تطبيق|برنام|اب|ऐ|एप|网|net|rete|reseau|red |rede"
)
"""A hint that says that it is about some service, not a thing."""
_WITH_NOUNS: Final = int(Cue.ASK | Cue.SCAN | Cue.PROFILE)
_FACTS: Final = int(Cue.PAST | Cue.PRODUCT | Cue.REF | Cue.NO | Cue.HERE | Cue.REPORT)
_SHORT_MESSAGE: Final = 16
_REPORTED: Final = 0.4
"""Words are never surer than this in a message that reports somebody else's attempt."""
_LOWERED: Final = 0.55
"""What a report takes off all that it tells of."""
_BESIDE: Final = 6
"""Characters between a word and what it is said of."""


def weigh_words(cues: Cues, *, disguised: bool, reported: bool) -> list[Weighed]:
    """Findings that words make: channels, payments, invitations, hints.

    Args:
        cues: what the lexicons find in the text.
        disguised: the text only reads like this once a disguise is undone.
        reported: the message reports what somebody else tried.
    """
    found: list[Weighed] = []
    words = len(_WORDS.findall(cues.text)) if len(cues.text) < 200 else 40
    question = len(cues.text) < 200 and _QUESTION.search(cues.text) is not None
    lowered = _LOWERED if reported else 0.0
    for hit in _widest(cues.hits):
        start, end, mask = hit
        near = cues.near(start, end)
        if mask == Cue.NOUN and not near & _WITH_NOUNS:
            continue  # Most are a plain "no" or "number".
        denied = cues.denied(start, end)
        third = 0.3 if _told_of_another(cues, start) else 0.0
        damp = lowered + third + (0.5 if denied else 0.0) + (0.3 if near & Cue.HERE else 0.0)
        if mask & CHANNELS:
            found.append(_channel(cues, hit, near, damp, words, question=question, disguised=disguised))
        if mask & PAYMENTS:
            found.append(_payment(cues, hit, near, damp, words, question=question, disguised=disguised))
        if mask & Cue.OFFPAY:
            score = 0.6 + added(near, ((Cue.CHEAP, 0.12), (Cue.PAY, 0.06), (PAYMENTS, 0.1), (Cue.OUTSIDE, 0.1))) - damp
            score -= 0.25 if near & Cue.PAST else 0.0
            found.append((*_stretched(cues, hit, int(Cue.PAY | PAYMENTS)), Category.PAYMENT, score, "payment.outside"))
        if mask & Cue.INVITE:
            score = 0.58 + added(near, ((Cue.REACH, 0.1), (Cue.TALK, 0.06), (CHANNELS, 0.1), (Cue.GAME, -0.25))) - damp
            score -= 0.2 if near & Cue.PRODUCT and not near & (Cue.REACH | Cue.TALK) else 0.0
            found.append((start, end, Category.INVITE, score, "invite.elsewhere"))
        if mask & Cue.SOLICITING:
            score = 0.52 + added(
                near | cues.within(start, end),
                ((Cue.ASK, 0.14), (Cue.REACH, 0.12), (CHANNELS, 0.1), (Cue.GAME, -0.35), (Cue.TALK, 0.04)),
            )
            score += 0.14 if question else 0.0
            score -= (0.3 if near & (Cue.PRODUCT | Cue.PAST | Cue.REF) else 0.0) + damp
            found.append((*_stretched(cues, hit, int(Cue.ASK)), Category.INVITE, score, "invite.asks"))
        elif mask & Cue.NOUN and near & Cue.ASK and not mask & Cue.PROVIDER and not cues.text.startswith(" of ", end):
            found.append(_noun(cues, hit, near, damp, question=question))
        contact = mask & Cue.OWN or (mask & Cue.NOUN and end - start > 2 and words < 5)
        if contact and near & (Cue.SCAN | Cue.PROFILE):
            score = 0.58 + added(near, ((Cue.LOOK, 0.06), (Cue.REF, -0.35))) - damp
            found.append((*_stretched(cues, hit, int(Cue.LOOK)), Category.INVITE, score, "invite.placed"))
        if mask & Cue.MARKET:
            found.append(_market(cues, hit, near, damp))
        if mask & Cue.DIRECT and near & Cue.PAY and near & Cue.CHEAP and not _is_thing(cues.text, start, end):
            score = 0.56 - damp - (0.25 if near & (Cue.PAST | Cue.PRODUCT) else 0.0)
            found.append((*_stretched(cues, hit, int(Cue.PAY)), Category.PAYMENT, score, "payment.direct"))
        if mask & Cue.OUTSIDE and not mask & (Cue.OFFPAY | Cue.INVITE):
            paying = near & (Cue.PAY | Cue.CHEAP | PAYMENTS)
            score = (
                (0.28 if " " in cues.text[start:end] else 0.04)
                + added(near, ((Cue.TALK, 0.24), (Cue.PAY, 0.2), (Cue.CHEAP, 0.22), (Cue.REACH, 0.24)))
                - damp
            )
            score -= 0.2 if near & (Cue.PRODUCT | Cue.PAST) else 0.0
            category = Category.PAYMENT if paying else Category.INVITE
            found.append((*_stretched(cues, hit, int(Cue.PAY | Cue.TALK)), category, score, "payment.elsewhere"))
        if mask & Cue.QR:
            score = 0.33 + added(
                near | (cues.within(start, end) if cues.text.startswith("scan", start) else 0),
                ((Cue.SCAN, 0.34), (Cue.REACH, 0.15), (Cue.MINE, 0.08), (Cue.LOOK, 0.08), (Cue.PRODUCT, -0.15)),
            )
            category = Category.PAYMENT if near & Cue.PAY and not near & Cue.REACH else Category.INVITE
            begin, last = _stretched(cues, hit, int(Cue.SCAN))
            score -= 0.3 if _ONESELF.search(cues.text, max(0, begin - 6), begin) else 0.0
            found.append((begin, last, category, score - damp, "invite.qr"))
        if mask & Cue.PROFILE:
            own = (near | mask) & Cue.MINE or _starts_with_own(cues, hit)
            score = (
                0.2
                + (0.2 if own else 0.0)
                + added(near, ((Cue.LOOK, 0.22), (Cue.REACH, 0.15), (Cue.NOUN, 0.15), (CHANNELS, 0.1)))
            )
            score -= (0.5 if near & Cue.YOURS else 0.0) + (0.25 if near & (Cue.PRODUCT | Cue.PAST) else 0.0) + damp
            found.append((*_stretched(cues, hit, int(Cue.LOOK)), Category.INVITE, score, "invite.profile"))
        if mask & Cue.SAME:
            score = 0.58 + added(near, ((Cue.REACH, 0.1), (CHANNELS, 0.1), (Cue.LOOK, 0.05), (Cue.GAME, -0.3))) - damp
            found.append((start, end, Category.INVITE, score, "invite.same_name"))
        if mask & Cue.HINT:
            score = (0.44 if _SERVICE.search(cues.text, start, end) else 0.34) + added(
                near,
                (
                    (Cue.REACH, 0.25),
                    (Cue.LOOK, 0.08),
                    (Cue.TALK, 0.12),
                    (Cue.ASK, 0.15),
                    (Cue.VIA, 0.1),
                    (Cue.MINE, 0.12),
                ),
            )
            score += (0.12 if words <= 5 else 0.0) - (0.35 if near & (Cue.PRODUCT | Cue.GAME) else 0.0) - damp
            found.append((start, end, Category.INVITE, min(score, 0.8), "invite.hint"))
    found.extend(names_in(cues, damp=lowered))
    if lowered:
        return [(start, end, category, min(score, _REPORTED), rule) for start, end, category, score, rule in found]
    return found


def _told_of_another(cues: Cues, start: int) -> bool:
    """Whether the sentence begins with somebody else: the seller, he."""
    sentence = cues.sentence(start)
    return any(
        mask & Cue.THIRD
        and last <= start
        and cues.sentence(first) == sentence
        and not any(a < first and last <= b for a, b, _ in cues.around(first, last, 12))
        for first, last, mask in cues.around(start, start, 50)
    )


def _channel(cues: Cues, hit: Hit, near: int, damp: float, words: int, *, question: bool, disguised: bool) -> Weighed:
    start, end, mask = hit
    firm = bool(mask & Cue.APP)
    name = handle_after(cues, end, firm=firm)
    if name is not None:
        near = cues.near(start, end, but=name[:2])
    if not firm and start and cues.text[start - 1] in "-/'":
        return start, end, Category.INVITE, 0.0, "invite.short_name"  # a part of another word: on-line
    score = 0.35 if firm else 0.12
    score += added(near, ((Cue.REACH, 0.4), (Cue.OUTSIDE | Cue.INVITE, 0.25), (Cue.SOLICITING, 0.25)))
    score += max(0.24 if near & Cue.TALK else 0.0, 0.14 if near & Cue.ASK else 0.0)
    if _before(cues, start, Cue.YOURS) or _before(cues, start, Cue.ASK):
        score += 0.3
    elif _before(cues, start, Cue.MINE):
        score += 0.3 if firm else 0.4
    elif near & (Cue.MINE | Cue.YOURS):
        score += 0.06
    if _before(cues, start, Cue.VIA) or _after(cues, end, Cue.VIA):
        score += 0.12
    if _after(cues, end, Cue.MINE):
        score += 0.3 if firm else 0.4
    elif _after(cues, end, Cue.YOURS | Cue.REACH | Cue.ASK):
        score += 0.22
    if disguised:
        score += 0.3
    if _FROM.match(cues.text, end):
        score += 0.2
    if not firm and near & Cue.TALK and _before(cues, start, Cue.VIA):
        score += 0.08
    if not firm and _before(cues, start, Cue.TALK | Cue.REACH):
        score += 0.2
    if words <= 4 and question:
        score += 0.24
    elif words <= 2 and firm:
        score += 0.12
    if name is not None:
        score += 0.3
    if _of_goods(cues, start):
        score -= 0.2
    if not firm and _is_thing(cues.text, start, end):
        score -= 0.25
    if _after(cues, end, Cue.PRODUCT | Cue.GOODS):
        score -= 0.5
    elif near & Cue.PRODUCT:
        score -= 0.1 if disguised else 0.2 if near & Cue.REACH else 0.3 if near & (Cue.TALK | Cue.ASK) else 0.42
    elif near & Cue.GOODS and not near & (Cue.REACH | Cue.TALK | Cue.ASK):
        score -= 0.2
    if near & Cue.PAST:
        score -= 0.3
    if near & Cue.GAME and not firm:
        score -= 0.35
    begin = start
    if near & Cue.ASK and (first := _reaching(cues, start, int(Cue.ASK), 22)) is not None:
        begin = first
    if not firm and not disguised and not near & Cue.REACH and not _tied(cues, start, end) and name is None:
        score = min(score, 0.45)
    cap = 0.93 if firm and near & (Cue.REACH | Cue.SOLICITING) else 0.84
    return begin, end, Category.INVITE, min(score - damp, cap), "invite.channel" if firm else "invite.short_name"


_OF: Final = re.compile(r"\s(?:de|do|da|di|du|d'|of|von|van|on)\s?(?:the\s|l')?")


def _of_goods(cues: Cues, start: int) -> bool:
    """Whether a channel is what something is of that was bought: ``the account of``, nobody's own."""
    return any(
        mask & Cue.PRODUCT and _OF.fullmatch(cues.text, last, start) and not _before(cues, first, Cue.MINE | Cue.YOURS)
        for first, last, mask in cues.around(start, start, 20)
    )


_ONESELF: Final = re.compile(r"\b(?:i|we|i've|we've|ich|wir|je|nous|yo|eu|io|я|мы)\s\Z")
"""Who tells what they do asks nobody to do it."""
_COMMON: Final = re.compile(r"\b(?:the|an?)\s\Z")
_NOUN: Final = re.compile(
    r"\s(?!app|chat|is\b|at\b|on\b|and\b|or\b|for\b|to\b|me\b|please|pls|thing|one\b|name|id\b)[a-z]{3,}"
)


def _is_thing(text: str, start: int, end: int) -> bool:
    """Whether an article and a noun around a word tell that it means no channel or way: ``the signal range``."""
    return _COMMON.search(text, max(0, start - 5), start) is not None and _NOUN.match(text, end) is not None


def _tied(cues: Cues, start: int, end: int) -> bool:
    """Whether words right beside a short name make it a channel."""
    if _before(cues, start, Cue.YOURS | Cue.MINE | Cue.ASK) or _after(
        cues, end, Cue.MINE | Cue.YOURS | Cue.REACH | Cue.ASK
    ):
        return True
    if _before(cues, start, Cue.TALK | Cue.REACH):
        return True
    via = _before(cues, start, Cue.VIA)
    return via and bool(cues.near(start, end, 25) & Cue.TALK)


def _payment(cues: Cues, hit: Hit, near: int, damp: float, words: int, *, question: bool, disguised: bool) -> Weighed:
    start, _, mask = hit
    score = 0.3 if mask & Cue.PAY_NAME else 0.08
    worth = (
        (Cue.PAY, 0.24), (Cue.CHEAP, 0.22), (Cue.DIRECT | Cue.OUTSIDE, 0.3), (Cue.OFFPAY, 0.35), (Cue.REACH, 0.1),
        (Cue.TALK, 0.05), (Cue.PAST, -0.42), (Cue.REF, -0.1),
    )  # fmt: skip
    score += added(near, worth)
    if _before(cues, start, Cue.MINE):
        score += 0.22
    elif _before(cues, start, Cue.YOURS | Cue.ASK):
        score += 0.24
    elif _after(cues, hit[1], Cue.MINE):
        score += 0.2
    if _before(cues, start, Cue.VIA):
        score += 0.06
    if disguised:
        score += 0.3
    if near & Cue.PRODUCT:
        score -= 0.1 if near & (Cue.CHEAP | Cue.OUTSIDE | Cue.OFFPAY) else 0.25
    if words <= 2 and mask & Cue.PAY_NAME:
        score += 0.1
    if words <= 5 and mask & Cue.PAY_NAME and not near & _FACTS:
        score += 0.2 if near & (Cue.TALK | Cue.MINE | Cue.DIRECT) else 0.06
    if not near & Cue.CHEAP and cues.everywhere & Cue.CHEAP and words < _SHORT_MESSAGE:
        score += 0.18
    if mask & Cue.PAY_NAME_SHORT and words <= 4 and question and not near & (Cue.PRODUCT | Cue.PAST):
        score += 0.3
    stretched = _stretched(cues, hit, int(Cue.PAY))
    return *stretched, Category.PAYMENT, min(score - damp, 0.9), "payment.named"


def _market(cues: Cues, hit: Hit, near: int, damp: float) -> Weighed:
    """Another marketplace: a fact, unless it is the writer's own shop there, or a cheaper way to buy."""
    start, end, _ = hit
    beside = any(
        mask & Cue.MINE
        and (last - first > 1 or cues.text[first].isascii())
        and (0 <= start - last <= _BESIDE or 0 <= first - end <= _BESIDE)
        for first, last, mask in cues.around(start, end, 12)
    )
    worth = ((Cue.PAY, 0.17), (Cue.CHEAP, 0.2), (Cue.TALK, 0.1), (Cue.REACH | Cue.LOOK, 0.1), (Cue.OFFPAY, 0.3))
    score = 0.12 + (0.3 if beside else 0.13 if near & Cue.MINE else 0.0) + added(near, worth)
    score -= (0.3 if near & Cue.PRODUCT and not beside else 0.0) + (0.3 if near & Cue.PAST else 0.0)
    return *_stretched(cues, hit, int(Cue.MINE | Cue.PAY)), Category.PAYMENT, min(score - damp, 0.8), "payment.market"


def _noun(cues: Cues, hit: Hit, near: int, damp: float, *, question: bool) -> Weighed:
    start = hit[0]
    score = 0.1
    score += 0.28 if _before(cues, start, Cue.YOURS) else 0.2 if near & Cue.YOURS else 0.0
    score += 0.2 if near & Cue.ASK else 0.0
    score += 0.12 if question else 0.0
    score += added(
        near,
        (
            (Cue.REACH, 0.12),
            (CHANNELS, 0.1),
            (Cue.REF, -0.35),
            (Cue.PRODUCT, -0.35),
            (Cue.PAST, -0.35),
            (Cue.GAME, -0.4),
        ),
    )
    if _before(cues, start, Cue.MINE):
        score -= 0.3
    begin, last = _stretched(cues, hit, int(Cue.ASK | Cue.YOURS))
    return begin, last, Category.INVITE, min(score - damp, 0.8), "invite.asks_noun"


def _starts_with_own(cues: Cues, hit: Hit) -> bool:
    return any(first == hit[0] and mask & Cue.MINE for first, _, mask in cues.around(hit[0], hit[0], 0))


def _before(cues: Cues, start: int, kinds: int) -> bool:
    """Whether one of these kinds ends right before, an article between them at most."""
    return any(
        mask & kinds and 0 <= start - last <= 5 and _is_gap(cues.text[last:start])
        for _, last, mask in cues.around(start, start, 40)
    )


def _after(cues: Cues, end: int, kinds: int) -> bool:
    return any(
        mask & kinds and 0 <= first - end <= 4 and _is_gap(cues.text[end:first])
        for first, _, mask in cues.around(end, end, 6)
    )


_GAP: Final = re.compile(
    r"[\s'\"*_(]*(?:the|a|my|le|la|el|o|den|das|il|l'|ur|old|new|id|number|no|nick|numero)?[\s'\"*_]*"
)


def _is_gap(text: str) -> bool:
    return _GAP.fullmatch(text) is not None


def _reaching(cues: Cues, start: int, kinds: int, reach: int) -> int | None:
    """Where the first of these kinds begins, at most ``reach`` characters before, in the same sentence."""
    sentence = cues.sentence(start)
    starts = [
        first for first, last, mask in cues.around(start, start, reach)
        if mask & kinds and last <= start and start - first <= reach and cues.sentence(first) == sentence
    ]  # fmt: skip
    return min(starts) if starts else None


def _stretched(cues: Cues, hit: Hit, kinds: int) -> tuple[int, int]:
    """The span of a hit with the words just before it that belong to it."""
    first = _reaching(cues, hit[0], kinds, 26)
    return (hit[0] if first is None else first), hit[1]


def _widest(hits: Iterable[Hit]) -> list[Hit]:
    """Hits that lie in no longer one of the same kind. Of many, those that say most: nobody hides among the others."""
    strong = list(islice((hit for hit in hits if hit[2] & _STRONG), _MOST_HITS))
    weak = islice((hit for hit in hits if hit[2] & _WEIGHED and not hit[2] & _STRONG), _MOST_HITS)
    ordered = sorted((*strong, *weak), key=lambda hit: (hit[0], -hit[1]))
    kept: list[Hit] = []
    last_of: dict[int, int] = {}
    for start, end, mask in ordered:
        groups = mask & _WEIGHED
        left = 0
        bit = groups
        while bit:
            low = bit & -bit
            bit ^= low
            if last_of.get(low, -1) < end:
                left |= low
                last_of[low] = end
        if left & int(Cue.APP_SHORT) and last_of.get(int(Cue.APP), -1) >= end:
            left &= ~int(Cue.APP_SHORT)
        if left & int(Cue.NOUN) and max(last_of.get(int(Cue.SOLICITING), -1), last_of.get(int(Cue.APP), -1)) >= end:
            left &= ~int(Cue.NOUN)
        if left:
            kept.append((start, end, left))
    if len(kept) > MOST_ANCHORS:
        kept.sort(key=lambda hit: not hit[2] & _STRONG)
        kept = sorted(kept[:MOST_ANCHORS])
    return kept


_MOST_HITS: Final = 200
_STRONG: Final = int(Cue.APP | Cue.PAY_NAME | Cue.INVITE | Cue.OFFPAY | Cue.SOLICITING | Cue.SAME | Cue.HINT | Cue.OWN)
"""What says something by itself: more than a noun, or a name that is a word as well."""


_WEIGHED: Final = int(
    CHANNELS
    | PAYMENTS
    | Cue.INVITE
    | Cue.OFFPAY
    | Cue.SOLICITING
    | Cue.NOUN
    | Cue.OUTSIDE
    | Cue.QR
    | Cue.PROFILE
    | Cue.SAME
    | Cue.HINT
    | Cue.DIRECT
    | Cue.MARKET
    | Cue.OWN
)
