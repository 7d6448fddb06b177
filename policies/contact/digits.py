"""Runs of digits: numerals, number words of many languages, letters that stand for digits, across any separators."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from typing import Final

from ahocorasick_rs import AhoCorasick, MatchKind

_LEET: Final = {"o": "o0", "i": "i1!|", "e": "e3", "s": "s5$", "a": "a4@", "t": "t7", "z": "z2"}
_LEET_SHORT: Final = {"o": "o0", "i": "i1"}
_HAN: Final = "\u2e80-\u303f\u3100-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_KANA: Final = "\u3040-\u30ff"
_SOUTH: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_TOKEN: Final = re.compile(
    rf"[{_HAN}]|[{_KANA}]+|[{_SOUTH}]+|[^\W_{_HAN}{_KANA}{_SOUTH}]+(?:'[\u0400-\u04ff]+)?|[\W_]+"
)
"""Signs of Han one by one; kana, and letters of scripts of South-East Asia, which numerals are written onto; words,
with the apostrophe of Ukrainian ones; and what is between."""
_KANA_SIGN: Final = re.compile(rf"[{_KANA}]")
_ATTACHED: Final = re.compile(r"[^\W\d]{1,20}(\d{6,})|(\d{7,})[^\W\d]{1,20}")
"""Digits written onto a word: ``tel0812…``, ``0812…pls``."""
_SHORTEST_ATTACHED: Final = 7
_LETTERED: Final = re.compile(r"[\doil|sbzgоізбч]+")
_FILLERS: Final = frozenset(
    [
        *("and", "then", "dash", "minus", "hyphen", "space", "plus", "area", "code", "or"),
        *(
            "y",
            "e",
            "luego",
            "und",
            "dann",
            "et",
            "puis",
            "poi",
            "и",
            "потом",
            "ve",
            "sonra",
            "dan",
            "lalu",
            "terus",
            "の",
            "de",
        ),
    ]
)
"""Words that may stand between digits without ending a run."""
_REPEATS: Final = {
    "double": 2,
    "triple": 3,
    "doble": 2,
    "dubbel": 2,
    "doppel": 2,
    "doppelte": 2,
    "doppia": 2,
    "tripla": 3,
    "dupla": 2,
    "двойная": 2,
    "двойной": 2,
    "podwojne": 2,
    "cift": 2,
}
"""How often the digit after such a word is meant."""
_LINK: Final = re.compile(r"und|en|og|och|e(?=[^aeiou])|y|i|a(?=[^aeiou])")
"""What joins the words of a number that is written as one word."""
_LINKS: Final = frozenset({"und", "en", "og", "och", "e", "y", "i", "a"})
_UNSPACED: Final = "\u2e80"
"""From here on, scripts put no spaces between words, or styled signs stand."""
_SAID_ON: Final = re.compile(r"[ -]{1,2}(?:(?:y|e|i|si|and|und|et|و) )?")
"""What is between the words of one number; a comma begins another."""
_ENDING: Final = frozenset('";%$€£¥₺₽₹')
"""Signs that end a run: what follows is another amount or measure."""
_MOST_SIGNS: Final = 5
"""Letters at the beginning of a number word that may be signs."""
_LONGEST_TOKEN: Final = 60
"""Longest piece of writing that may be number words."""
_MOST_DIGITS: Final = 40
"""Longest run that is built. What goes on after it is no telephone number."""


def _joined(before: str, value: str) -> str | None:
    """What two numbers said one after the other make together: 200 and 40, 240 and 5, 9 and a hundred."""
    size = len(value)
    if value == "100" and len(before) < 3 and before[0] != "0":
        return before + "00"
    if size < 3 and value[0] != "0":
        if len(before) == 3 and before.endswith("00") and before[0] != "0":
            return before[:-size] + value
        if size == 1 and len(before) > 1 and before[-1] == "0" and before[-2] in "23456789":
            return before[:-1] + value
    return None


def _touches(text: str, start: int, end: int) -> bool:
    """Whether letters or digits stand right beside a part of a text."""
    return text[max(0, start - 1) : start].isalnum() or text[end : end + 1].isalnum()


def _goes_on(char: str) -> bool:
    """Whether what comes after this character is not the beginning of a word."""
    return char.isalpha() and char < _UNSPACED


def _disguised_forms(word: str) -> list[str]:
    """A number word with signs for some of its letters: ``0ne``, ``f1ve``. Never one of digits only."""
    signs = _LEET if len(word) > 3 else _LEET_SHORT  # "ath" is a number word in Hindi, and "4th" is none.
    choices = [signs.get(char, char) for char in word[:_MOST_SIGNS]]
    forms = ("".join(form) + word[_MOST_SIGNS:] for form in product(*choices))
    return [form for form in forms if not form.isdigit()]


class Kind(IntEnum):
    """How the digits of a run are written, each a bit of a mask."""

    NUMERAL = 1
    WORD = 2
    LETTER = 4
    HAN = 8
    REPEATED = 16
    ATTACHED = 32


@dataclass(slots=True)
class Run:
    """Digits that belong together. ``groups`` are the digits between separators; ``gaps`` what separates them."""

    start: int
    end: int
    digits: str
    groups: list[str]
    gaps: list[str]
    kinds: int
    words: int = 0

    @property
    def singles(self) -> int:
        return sum(len(group) == 1 for group in self.groups)


class NumberWords:
    """Reads runs of digits. Made once of the number words of the lexicons."""

    def __init__(self, digits: Mapping[str, str]) -> None:
        self._digits = {word: value for word, value in digits.items() if " " not in word}
        glued = [word for word in self._digits if len(word) > 2 or not word.isascii()]
        self._forms = {form: self._digits[word] for word in reversed(glued) for form in _disguised_forms(word)}
        if zero := self._digits.get("oh"):
            self._forms["oh"] = zero
        sizes: dict[str, set[int]] = {}
        for form in self._forms:
            sizes.setdefault(form[:2], set()).add(len(form))
        self._sizes = {begin: tuple(sorted(lengths, reverse=True)) for begin, lengths in sizes.items()}
        """By the first two characters of forms, how long they are, the longest first: hardly anything begins so."""
        self._counted = AhoCorasick(glued, matchkind=MatchKind.LeftmostLongest)

    def count(self, text: str) -> int:
        """How many number words a text may hold: words, or parts of words that begin where another number ends."""
        found = 0
        last = -1
        for _, start, end in self._counted.find_matches_as_indexes(text):
            if start != last and start and _goes_on(text[start - 1]) and text[last:start] not in _LINKS:
                continue
            found += 1
            last = end
        return found

    def _value(self, token: str, *, within: bool) -> tuple[str, int, int] | None:
        """The digits that a token stands for, how, and how many of them are words; None for an ordinary word.

        ``within``: digits came before, so that letters are rather taken for some.
        """
        if token.isdigit():
            return token, Kind.NUMERAL, 0
        if (value := self._digits.get(token)) is not None:
            return value, (Kind.HAN if ord(token[0]) > 0x2E80 else Kind.WORD), 1
        if token.isalpha():
            if within and len(token) > 1 and token == token[0] * len(token) and token[0] in "osl":
                return token.translate(_AS_DIGITS), Kind.NUMERAL | Kind.LETTER, 0
            return self._glue(token) if token[:2] in self._sizes or token[0] in self._sizes else None
        if _LETTERED.fullmatch(token) and any(char.isdigit() for char in token):
            letters = sum(not char.isdigit() for char in token)
            firm = all(char.isdigit() or char in "oil|" for char in token)
            if letters <= len(token) // 2 + 1 and (
                firm
                or (len(token) > 3 and token[0].isdigit() and token[-1].isdigit())
                or (letters == 1 and len(token) == 3)
                or (within and len(token) > 2 and letters <= len(token) // 2)
            ):
                return token.translate(_AS_DIGITS), Kind.NUMERAL | Kind.LETTER, 0
        return self._glue(token)

    def _begun(self, token: str, place: int) -> tuple[str | None, int]:
        """What the longest number word at a place of a token stands for, and its length."""
        for size in self._sizes.get(token[place : place + 2], ()):
            if place + size <= len(token) and (value := self._forms.get(token[place : place + size])) is not None:
                return value, size
        return self._forms.get(token[place]), 1

    def _glue(self, token: str) -> tuple[str, int, int] | None:
        """Number words and numerals written together: ``9two5``, ``fourthreetwo``, ``40ne48five``."""
        if len(token) > _LONGEST_TOKEN:
            return None
        found, kinds, words, place = "", 0, 0, 0
        last = ""
        linked = False
        while place < len(token):
            value, size = self._begun(token, place)
            if value is not None:
                if linked and len(last) == 1 and len(value) == 2 and value[1] == "0":
                    value, found = value[0] + last, found[:-1]  # five and forty
                elif last and (both := _joined(last, value)) is not None:
                    value, found = both, found[: -len(last)]
                found += value
                last, linked = value, False
                kinds |= Kind.HAN if ord(token[place]) > 0x2E80 else Kind.WORD
                words += 1
                place += size
            elif token[place].isdigit():
                found += token[place]
                last, linked = "", False
                kinds |= Kind.NUMERAL
                place += 1
            elif last and (link := _LINK.match(token, place)) is not None:
                linked = True
                place = link.end()
            elif token[place] in "ol" and (found or (place + 1 < len(token) and token[place + 1].isdigit())):
                found += "0" if token[place] == "o" else "1"
                last, linked = "", False
                kinds |= Kind.LETTER
                place += 1
            elif words > 3 and not token.isascii():
                break  # Japanese writes what follows onto a number.
            else:
                return None
        return (found, kinds, words) if found and not linked else None

    def runs(self, text: str, least: int = 5, widest: int = 12) -> list[Run]:
        """The runs of at least ``least`` digits, in order. ``widest``: the longest gap within a run, in characters."""
        found: list[Run] = []
        run: Run | None = None
        gap, repeat, foreign = "", 1, 0
        said = False

        def close() -> None:
            nonlocal run
            if run is not None and len(run.digits) >= least:
                found.append(run)
            run = None

        for match in _TOKEN.finditer(text):
            token = match.group()
            if not token[-1].isalnum():
                if run is not None:
                    gap += token
                    if len(gap) > widest or gap.count("\n") > 1 or not _ENDING.isdisjoint(token):
                        close()
                continue
            read = self._value(token, within=run is not None and "," not in gap)
            if read and len(token) == 1 and _KANA_SIGN.match(token) and _touches(text, *match.span()):
                read = None  # a particle
            if read is None and run is None and token.isalpha() and token not in _REPEATS:
                gap, repeat = "", 1
                continue
            start = match.start()
            if read is None and token in _REPEATS:
                repeat = _REPEATS[token]
                gap += token
                continue
            if read is None:
                if run is not None and (
                    token in _FILLERS
                    or (
                        len(token) == 1
                        and not token.isascii()
                        and foreign < 3
                        and text[match.end() : match.end() + 1] == " "
                    )
                ):
                    foreign += 1
                    gap += token
                    continue
                close()
                gap, repeat = "", 1
                if len(token) < _SHORTEST_ATTACHED or (attached := _ATTACHED.fullmatch(token)) is None:
                    continue
                place, number = (attached.start(1), attached[1]) if attached[1] else (attached.start(2), attached[2])
                run = Run(
                    start + place, start + place + len(number), number, [number], [], Kind.NUMERAL | Kind.ATTACHED
                )
                if attached[2]:
                    close()
                foreign = 0
                continue
            digits, kinds, words = read[0], read[1], read[2]
            if repeat > 1 and len(digits) == 1:
                digits, kinds = digits * repeat, kinds | Kind.REPEATED
                repeat = 1
            if run is None or len(run.digits) + len(digits) > _MOST_DIGITS:
                close()
                run = Run(start, match.end(), digits, [digits], [], kinds, words)
            elif words and said and _SAID_ON.fullmatch(gap) and (both := _joined(run.groups[-1], digits)) is not None:
                run.digits = run.digits[: -len(run.groups[-1])] + both
                run.groups[-1] = both
                run.end = match.end()
                run.words += words
            else:
                run.groups.append(digits)
                run.gaps.append(gap)
                run.digits += digits
                run.end = match.end()
                run.kinds |= kinds
                run.words += words
            said = kinds & Kind.WORD != 0 and not kinds & (Kind.NUMERAL | Kind.REPEATED)
            gap, foreign = "", 0
        close()
        return found


_AS_DIGITS: Final = str.maketrans("oil|sbzgоізбч", "0111582901364")
