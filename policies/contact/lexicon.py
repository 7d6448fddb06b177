"""The words: lexicon files in one automaton, so that a message is read once, whatever the languages.

A file is TOML: a section for each kind of cue with a list ``words``, and a section ``digits`` that says what
number words stand for. An entry ending in ``*`` may go on with letters; ``(a|b|)`` stands for either. Entries are
folded like messages are.
"""

import re
import tomllib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from functools import cache, cached_property
from importlib.resources import files
from itertools import product
from string import ascii_lowercase
from typing import Any, Final

from ahocorasick_rs import AhoCorasick, MatchKind

from policies.contact.normal import fold


class Cue(IntEnum):
    """The kinds of cues, each a bit of a mask. Each is a section of the lexicon files, in lower case."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return 1 << count

    APP = auto()
    APP_SHORT = auto()
    PAY_NAME = auto()
    PAY_NAME_SHORT = auto()
    PROVIDER = auto()
    REACH = auto()
    INVITE = auto()
    OFFPAY = auto()
    OUTSIDE = auto()
    ASK = auto()
    SOLICITING = auto()
    YOURS = auto()
    MINE = auto()
    NOUN = auto()
    TALK = auto()
    VIA = auto()
    PAY = auto()
    CHEAP = auto()
    DIRECT = auto()
    NO = auto()
    NO_AFTER = auto()
    REPORT = auto()
    THIRD = auto()
    PRODUCT = auto()
    GOODS = auto()
    PAST = auto()
    HERE = auto()
    PHONE = auto()
    REF = auto()
    UNIT = auto()
    GAME = auto()
    QR = auto()
    SCAN = auto()
    LOOK = auto()
    PROFILE = auto()
    SAME = auto()
    HINT = auto()
    AT = auto()
    DOT = auto()
    REVERSED = auto()
    ENCODED = auto()
    SPLIT = auto()
    MARKET = auto()
    OWN = auto()


CHANNELS: Final = int(Cue.APP | Cue.APP_SHORT)
PAYMENTS: Final = int(Cue.PAY_NAME | Cue.PAY_NAME_SHORT)
ANCHORS: Final = int(
    CHANNELS | PAYMENTS | Cue.PROVIDER | Cue.INVITE | Cue.OFFPAY | Cue.OUTSIDE | Cue.SOLICITING | Cue.QR | Cue.PROFILE
    | Cue.SAME | Cue.HINT | Cue.NOUN | Cue.DIRECT | Cue.DOT | Cue.REVERSED | Cue.ENCODED
    | Cue.MARKET | Cue.OWN
)  # fmt: skip
"""What a message must hold one of for its words to be weighed at all. Most messages hold none."""

REPEATED: Final = 1 << 61
"""A letter three times in a row. No cue, but found along with them."""
ADDRESSED: Final = 1 << 62
"""Letters that are in most addresses."""
BACKWARDS: Final = 1 << 60
"""A name that is read from its end. Letters come in such an order by chance in no language that is known."""
_MIRRORED: Final = (
    "whatsapp", "whats app", "telegram", "discord", "instagram", "snapchat", "facebook", "paypal", "messenger",
    "@gmail", "gmail.com", "hotmail", "yahoo.com", "outlook.com", "skype:", "t.me/", "discord.gg",
)  # fmt: skip
_ANYWHERE: Final = {
    **{letter * 3: REPEATED for letter in ascii_lowercase},
    **dict.fromkeys((name[::-1] for name in _MIRRORED), BACKWARDS),
    **dict.fromkeys(("mail", "www", "yahoo", "outlook", "discord gg"), ADDRESSED),
}

_CUT_NAMES: Final = (
    "whatsapp",
    "telegram",
    "discord",
    "instagram",
    "snapchat",
    "facebook",
    "paypal",
    "cashapp",
    "viber",
)
"""Names that people cut in two: each cut is an entry too."""
_ALTERNATIVES: Final = re.compile(r"(\([^()]*\|[^()]*\))")
_UNSPACED: Final = re.compile(r"[\u0e00-\u0e7f\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff❤]")
"""Scripts that put no spaces between words: no boundary is asked for beside them."""
_PIECE: Final = re.compile(r"[^\W_\u0e00-\u0e7f\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+")
"""Letters and digits that belong together, where spaces separate words."""
_ARABIC: Final = re.compile(r"[\u0600-\u06ff]")
_ARABIC_PREFIXES: Final = frozenset("والبلعفك")

_PORTUGUESE: Final = re.compile(r"\b(?:voce|vc|comigo|meu|minha|seu|teu|pra|eu|chama|fala|nao|bora)\b")
_REFUSING: Final = int(Cue.NO | Cue.NO_AFTER | Cue.REPORT | Cue.PRODUCT | Cue.PAST)
_VERBS: Final = int(Cue.REACH | Cue.TALK | Cue.PAY)
Hit = tuple[int, int, int]
"""Start, end and cues (a mask) of an entry that was found."""


@dataclass(frozen=True, slots=True)
class Lexicons:
    """Words by kind, before they are put into automata: what files say, and what the operator adds."""

    words: Mapping[str, int]
    digits: Mapping[str, str]

    def extended(self, data: Mapping[str, Any]) -> "Lexicons":
        """With the words of one more lexicon file, parsed.

        Raises:
            ValueError: a section that is no kind of cue.
        """
        more, numbers = read_lexicon(data)
        words = dict(self.words)
        for entry, mask in more.items():
            words[entry] = words.get(entry, 0) | mask
        return Lexicons(words, {**self.digits, **numbers})


def expanded(entry: str) -> list[str]:
    """All that an entry with alternatives stands for: ``off (this|the|) site``."""
    parts = [part[1:-1].split("|") if "|" in part else [part] for part in _ALTERNATIVES.split(entry)]
    return ["".join(form) for form in product(*parts)]


def read_lexicon(data: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, str]]:
    """The words and the number words of a parsed lexicon file.

    Raises:
        ValueError: a section that is no kind of cue, or none of words.
    """
    words: dict[str, int] = {}
    digits: dict[str, str] = {}
    for name, section in data.items():
        if name == "digits":
            digits = {fold(word): value for value, entries in section.items() for word in entries}
            continue
        try:
            cue, written = Cue[name.upper()], section["words"]
        except KeyError:
            raise ValueError(f"{name!r} is no kind of cue with a list of words") from None
        for entry in written:
            for form in expanded(fold(entry)):  # Folding takes longer than all else, and changes no sign of the syntax.
                if folded := " ".join(form.split()):
                    words[folded] = words.get(folded, 0) | cue
    return words, digits


@cache
def load_lexicons() -> Lexicons:
    """The packaged lexicons. Read once in a process."""
    words: dict[str, int] = {}
    digits: dict[str, str] = {}
    for file in sorted(files("policies.contact").joinpath("data").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            read, numbers = read_lexicon(tomllib.loads(file.read_text(encoding="utf-8")))
            for entry, cue in read.items():
                words[entry] = words.get(entry, 0) | cue
            for word, value in numbers.items():
                digits.setdefault(word, value)
    for name in _CUT_NAMES:
        for place in range(2, len(name) - 1):
            for cut in (" ", "-"):
                written = f"{name[:place]}{cut}{name[place:]}"
                words[written] = words.get(written, 0) | words.get(name, 0) | words.get(f"{name}*", 0)
    for entry, mask in words.items():
        if mask & Cue.GOODS:  # What is goods in one language is none of the plain facts in another.
            words[entry] = mask & ~int(Cue.PRODUCT)
    return Lexicons(words, digits)


class _Joins(dict[str, bool]):
    """Whether a character belongs to the word beside it, worked out once for each: it is asked of every word found."""

    def __missing__(self, char: str) -> bool:
        joins = self[char] = char.isalnum() and (char.isascii() or not _UNSPACED.match(char))
        return joins


_JOINS: Final = _Joins()


class Automaton:
    """Entries that are looked for together, with what each asks of the characters around it.

    ``words``: by entry in normal form, a mask that every hit carries. ``pieces``: entries that are a whole piece of
    writing are looked up, not searched; that pays where the shortest words are among them, which most letters begin.
    ``anywhere``: what is found within words too.
    """

    def __init__(
        self, words: Mapping[str, int], *, pieces: bool = False, anywhere: Mapping[str, int] | None = None
    ) -> None:
        patterns: list[str] = []
        self._kinds: list[tuple[int, bool, bool, bool]] = []
        self._pieces: dict[str, int] = {}
        for entry, mask in words.items():
            word = entry.rstrip("*").strip()
            if not word:
                continue
            if pieces and _PIECE.fullmatch(entry) and not _ARABIC.match(entry):
                self._pieces[entry] = mask
                continue
            patterns.append(word)
            left, right = _JOINS[word[0]], _JOINS[word[-1]] and entry[-1] != "*"
            self._kinds.append((mask, left, right, not word[0].isascii() and _ARABIC.match(word[0]) is not None))
        for letters, mask in (anywhere or {}).items():
            patterns.append(letters)
            self._kinds.append((mask, False, False, False))
        self._automaton = AhoCorasick(patterns, matchkind=MatchKind.Standard)

    def find(self, text: str) -> list[Hit]:
        found: list[Hit] = []
        if pieces := self._pieces:
            for match in _PIECE.finditer(text):
                if (known := pieces.get(match.group())) is not None:
                    found.append((match.start(), match.end(), known))  # noqa: PERF401 (faster than to build a tuple)
        kinds, size, joins = self._kinds, len(text), _JOINS
        for index, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            mask, left, right, arabic = kinds[index]
            if right and end < size and joins[text[end]]:
                continue
            if left and start and joins[text[start - 1]] and not (arabic and _prefixed(text, start)):
                continue
            found.append((start, end, mask))
        return found


def _prefixed(text: str, start: int) -> bool:
    """Whether what comes before an Arabic word in the same piece of writing is only prefixes."""
    first = start
    while first and start - first < 4 and text[first - 1].isalnum():
        first -= 1
    return start - first < 4 and all(char in _ARABIC_PREFIXES for char in text[first:start])


class Words:
    """What lexicons find in a text."""

    def __init__(self, lexicons: Lexicons) -> None:
        anchors: dict[str, int] = {}
        others: dict[str, int] = {}
        for entry, mask in lexicons.words.items():
            (anchors if mask & ANCHORS else others)[entry] = mask
        self._anchors = Automaton(anchors, anywhere=_ANYWHERE)
        self._others = Automaton(others, pieces=True)
        self.known: Final = frozenset(entry.rstrip("*") for entry in lexicons.words)

    def anchors(self, text: str) -> int:
        """The kinds of the entries found that may begin a finding, and the signs of a disguise or an address."""
        mask = 0
        for _, _, kinds in self._anchors.find(text):
            mask |= kinds
        return mask

    def names(self, text: str) -> list[Hit]:
        """The entries found that may begin a finding."""
        return self._anchors.find(text)

    def find(self, text: str) -> "Cues":
        line = text.replace("\n", " ")
        return Cues(text, [hit for hit in self._anchors.find(line) if hit[2] < BACKWARDS] + self._others.find(line))


_SENTENCE: Final = re.compile(r"[.!?;](?=[\s\"')]|$)|[。！？；\n؟]")
_CLAUSE: Final = re.compile(r"[,:،，]|\b(?:but|aber|pero|mas|mais|но|ale|ama|tapi)\b")


class Cues:
    """The entries found in a text, and questions about what stands near what."""

    def __init__(self, text: str, hits: list[Hit]) -> None:
        self.text = text
        self.hits: Sequence[Hit] = sorted(hits)
        self.everywhere = 0
        for _, _, mask in hits:
            self.everywhere |= mask

    @cached_property
    def _starts(self) -> list[int]:
        return [hit[0] for hit in self.hits]

    @cached_property
    def _sentences(self) -> list[int]:
        return [match.end() for match in _SENTENCE.finditer(self.text)]

    @cached_property
    def _clauses(self) -> list[int]:
        return [match.end() for match in _CLAUSE.finditer(self.text)]

    def sentence(self, offset: int) -> int:
        return bisect_right(self._sentences, offset)

    def clause(self, offset: int) -> int:
        return bisect_right(self._clauses, offset)

    def around(self, start: int, end: int, reach: int) -> Sequence[Hit]:
        """The entries that begin at most ``reach`` characters before or after a span."""
        return self.hits[bisect_left(self._starts, start - reach) : bisect_right(self._starts, end + reach)]

    def near(self, start: int, end: int, reach: int = 60, but: tuple[int, int] = (0, 0)) -> int:
        """The kinds found in the same sentence, at most ``reach`` characters away, not within the span itself.

        ``but``: a span that is a name, so that words in it mean nothing.
        """
        sentence = self.sentence(start)
        mask = 0
        for first, last, kinds in self.around(start, end, reach):
            if (
                (last <= start or first >= end)
                and not (first >= but[0] and last <= but[1])
                and self.sentence(first) == sentence
            ):
                mask |= kinds
        return mask

    def within(self, start: int, end: int) -> int:
        """The kinds found inside a span."""
        mask = 0
        for first, last, kinds in self.around(start, end, 0):
            if first >= start and last <= end:
                mask |= kinds
        return mask

    def denied(self, start: int, end: int) -> bool:
        """Whether a negation stands before a span in its clause, or after it as in Turkish and Hindi."""
        sentence, clause = self.sentence(start), self.clause(start)
        window = self.around(start, end, 36)
        if any(
            kinds & Cue.NO_AFTER and first >= end and self.sentence(first) == sentence for first, _, kinds in window
        ):
            return True
        for first, last, kinds in window:
            if not kinds & Cue.NO or last > start or self.sentence(first) != sentence or self.clause(first) != clause:
                continue
            if any(a <= first and last <= b and b - a > last - first and not mask & _REFUSING for a, b, mask in window):
                continue  # "no fees" refuses nothing
            # Portuguese "no" means "on the".
            if self.text[first:last] != "no" or not (
                _PORTUGUESE.search(self.text) or any(end == first - 1 and mask & _VERBS for _, end, mask in window)
            ):
                return True
        return False
