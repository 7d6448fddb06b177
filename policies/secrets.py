"""Secrets that people write into a chat: numbers of cards, passwords, tokens, one-time codes; and how to mask them.

Sources: ISO/IEC 7812-1 (numbers of cards, with their check digit) and the ranges that the schemes publish, RFC 7519
(JWT); prefixes of tokens as their issuers publish them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ahocorasick_rs import AhoCorasick
from pydantic import Field

from policies.checksum import luhn
from policies.part import Part
from policies.secret_shapes import (
    BRANDS,
    CODE,
    CODE_BEFORE,
    DIGITS,
    FIELD_END,
    GUARD_CODE,
    HARD_TO_GUESS,
    HINTS,
    LONGEST_CARD,
    MIXED,
    MOST_GROUPS,
    NO_PASSWORD_HERE,
    NOT_THE_NEXT,
    OF_A_CARD,
    OTHER_NUMBER,
    PASSWORD,
    PRODUCT_KEY,
    SEED,
    SEPARATED,
    SHORTEST_CARD,
    SHORTEST_CODE,
    SHORTEST_PASSWORD,
    STRONG,
    TALK,
    TOKEN,
    SecretKind,
)

__all__ = ["MASK", "Secret", "SecretKind", "SecretRules", "find_secrets", "mask"]


class SecretRules(Part):
    """Which secrets are masked for the other side."""

    masked: tuple[SecretKind, ...] = Field(tuple(SecretKind), description="The kinds that are masked.")
    hand_over: tuple[SecretKind, ...] = Field(
        (SecretKind.CARD,), description="Those that are masked where an account is handed over: its password is not."
    )

    def kinds(self, *, hand_over: bool) -> frozenset[SecretKind]:
        """The kinds that are masked. ``hand_over``: the dispute is about an account that changes hands."""
        return frozenset(self.hand_over if hand_over else self.masked)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret and where it stands, in code points of the text."""

    kind: SecretKind
    start: int
    end: int


MASK: Final = "•"

_KINDS: Final = tuple(kind for kind, hints in HINTS.items() for _ in hints)
_SEARCH: Final = AhoCorasick([hint for hints in HINTS.values() for hint in hints])


def find_secrets(text: str) -> tuple[Secret, ...]:
    """The secrets of a text, in order, not overlapping. A number of a card counts when its check digit is right."""
    hinted = _hinted(text.lower())
    long_number = len(text) > 12 and DIGITS.search(text)
    if not hinted and not long_number:
        return ()
    found: list[Secret] = []
    if long_number:
        found += _cards(text)
    if SecretKind.TOKEN in hinted:
        found += [Secret(SecretKind.TOKEN, match.start(), match.end()) for match in TOKEN.finditer(text)]
        found += [Secret(SecretKind.TOKEN, *match.span("secret")) for match in SEED.finditer(text)]
    if SecretKind.PASSWORD in hinted:
        found += _passwords(text)
    if SecretKind.CODE in hinted:
        found += _codes(text)
    return _apart(found)


def _hinted(text: str) -> set[SecretKind]:
    """The kinds that there is any use in looking for."""
    try:
        return {_KINDS[index] for index, _, _ in _SEARCH.find_matches_as_indexes(text, overlapping=True)}
    except UnicodeEncodeError:  # half of a surrogate pair, which is no character
        return _hinted(text.encode("utf-8", "replace").decode())


def mask(text: str, secrets: Sequence[Secret], kinds: frozenset[SecretKind] = frozenset(SecretKind)) -> str:
    """The text with secrets hidden; of a card, the last four digits stay, so that people know which one is meant.

    The text keeps its length: spans that were found in it stay true.
    """
    chars = list(text)
    for secret in secrets:
        if secret.kind not in kinds:
            continue
        digits = 0
        for place in range(secret.end - 1, secret.start - 1, -1):
            if secret.kind is SecretKind.CARD and digits < 4:
                digits += chars[place].isdecimal()
            elif not chars[place].isspace():
                chars[place] = MASK
    return "".join(chars)


def _apart(found: Sequence[Secret]) -> tuple[Secret, ...]:
    """In order; of one that begins within another, what goes beyond it. A card is never a part of something else, since
    it is masked where a password may be shown."""
    cards = [secret for secret in found if secret.kind is SecretKind.CARD]
    others = [part for secret in found if secret.kind is not SecretKind.CARD for part in _beside(secret, cards)]
    kept: list[Secret] = []
    end = 0
    for secret in sorted([*cards, *others], key=lambda secret: (secret.start, -secret.end)):
        if secret.end > end:
            kept.append(Secret(secret.kind, max(secret.start, end), secret.end))
            end = secret.end
    return tuple(kept)


def _beside(secret: Secret, cards: Sequence[Secret]) -> Iterator[Secret]:
    """What of a secret lies before, between and after cards."""
    start = secret.start
    for card in cards:
        if card.end <= start or card.start >= secret.end:
            continue
        if card.start > start:
            yield Secret(secret.kind, start, card.start)
        start = card.end
    if start < secret.end:
        yield Secret(secret.kind, start, secret.end)


def _cards(text: str) -> Iterator[Secret]:
    for run in DIGITS.finditer(text):
        groups = [match.span() for match in SEPARATED.finditer(text, *run.span())]
        numbers = [_ascii(text[start:end]) for start, end in groups]
        first = 0
        while first < len(groups):
            last = _card(text, groups, numbers, first)
            if last is not None:
                start, end = groups[first][0], groups[last][1]
                if not OTHER_NUMBER.search(text, max(0, start - 24), start):
                    yield Secret(SecretKind.CARD, start, end)
            first = first + 1 if last is None else last + 1


def _ascii(digits: str) -> str:
    """Digits of any script in plain ones."""
    return digits if digits.isascii() else "".join([str(int(digit)) for digit in digits])


def _card(text: str, groups: Sequence[tuple[int, int]], numbers: Sequence[str], first: int) -> int | None:
    """The last of the groups of digits that make up the longest number of a card beginning with the first of them.

    ``numbers``: the groups as they are read.
    """
    start = groups[first][0]
    if start and (text[start - 1].isalnum() or text[start - 1] in "-_" or MASK in text[max(0, start - 2) : start]):
        return None
    ends: list[tuple[int, int]] = []
    digits = ""
    for place in range(first, min(first + MOST_GROUPS, len(groups))):
        digits += numbers[place]
        if len(digits) > LONGEST_CARD:
            break
        end = groups[place][1]
        if len(digits) >= SHORTEST_CARD and not (
            text[end : end + 1].isalnum() or text[end : end + 1] in ("-", "_", MASK)
        ):
            ends.append((place, len(digits)))
    if not ends:
        return None
    brands = [sizes for begins, sizes in BRANDS if begins.match(digits)]
    for place, size in reversed(ends):
        if any(size in sizes for sizes in brands) and luhn(digits[:size]):
            return place
    return None


def _passwords(text: str) -> Iterator[Secret]:
    for match in PASSWORD.finditer(text):
        if _is_password(text, match):
            yield Secret(SecretKind.PASSWORD, *match.span("secret"))


def _is_password(text: str, match: re.Match[str]) -> bool:
    """Whether what stands after the word is one: people also talk about passwords, and play with battle passes."""
    written, link, short = match["secret"], match["link"].strip(), match["short"]
    value = written.rstrip(".,;:!?)]}'\"").lstrip("('\"[{")
    if len(value) < SHORTEST_PASSWORD or MASK in written or NOT_THE_NEXT.match(value) or value.lower() in TALK:
        return False
    if short and NO_PASSWORD_HERE.search(text, max(0, match.start() - 16), match.start()):
        return False
    if short and short.lower() == "clave" and PRODUCT_KEY.fullmatch(written):
        return False
    if link[-1:] and link[-1] in STRONG:
        return bool(HARD_TO_GUESS.search(value) or FIELD_END.match(text, match.end()))
    if short and not link:
        return (
            len(value) > SHORTEST_PASSWORD
            and value.isascii()
            and not value.isdecimal()
            and MIXED.search(value) is not None
        )
    return MIXED.search(value) is not None


def _codes(text: str) -> Iterator[Secret]:
    for match in CODE.finditer(text):
        if _digits(match) > SHORTEST_CODE or OF_A_CARD.search(match["name"]):
            yield Secret(SecretKind.CODE, *match.span("secret"))
    for match in CODE_BEFORE.finditer(text):
        if _digits(match) > SHORTEST_CODE:
            yield Secret(SecretKind.CODE, *match.span("secret"))
    for match in GUARD_CODE.finditer(text):
        yield Secret(SecretKind.CODE, *match.span("secret"))


def _digits(match: re.Match[str]) -> int:
    return sum(char.isdecimal() for char in match["secret"])
