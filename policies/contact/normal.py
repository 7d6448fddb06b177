"""The normal form of a text: what it says once disguises of single characters are undone, with the way back.

Case, accents, full-width and styled letters, digits of every script, emoji digits and letters are folded to plain
ones; zero-width, format and combining characters are dropped. Every character of the normal form knows which code
point of the text it comes from. See Unicode TR 15 (NFKD), TR 39 (confusables), TR 51 (emoji).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SPECIAL: Final = {
    "ı": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŋ": "n", "ə": "e",
    "’": "'", "‘": "'", "`": "'", "´": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "–": "-", "—": "-", "―": "-", "‐": "-", "‑": "-", "‒": "-", "−": "-", "•": "·", "・": "·", "。": ".", "、": ",",
    "⁄": "/", "∕": "/", "ـ": "", "ك": "ك", "ی": "ي", "ک": "ك", "ة": "ه", "ى": "ي", "🔟": "10",
    "\u3164": "", "\u115f": "", "\u1160": "", "\uffa0": "", "\u2800": " ", "\t": " ", "\r": " ", "\v": " ", "\f": " ",
    "\u2028": "\n", "\u2029": "\n", "\x85": "\n",
}  # fmt: skip
"""Characters whose decomposition does not lead to what a reader takes them for."""
_SPECIAL.update(
    zip(
        "ƭƥᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɡɑɩɾɕʂʋƙɓɗƈʈʐɱ",
        "tpabcdefghijklmnoprstuvwyzgaircsvkbdctzm",
        strict=True,
    )
)
"""Small capitals and letters of phonetic alphabets."""
_SPECIAL.update(
    zip(
        "ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜᎪᏴᏟᎠᎬᏀᎻᏆᎫᏦᏞᎷᏢᎡᏚᎢᏙᏔᎩᏃᗩᗷᑕᗪᖴᕼᒍᒪᗰᑎᑭᑫᖇᔕᑌᐯᗯ᙭ᘔ",
        "abcdefghijklmnoprstuvwxyzabcdeghijklmprstvwyzabcdfhjlmnpqrsuvwxz",
        strict=True,
    )
)
"""Letters of Lisu, Cherokee and Canadian syllabics that are drawn like Latin capitals, and mostly used for them."""
_LATIN_NAME: Final = re.compile(
    r"LATIN (?:SMALL|CAPITAL) LETTER (?:TURNED |REVERSED |SCRIPT )?([A-Z])(?: WITH [A-Z -]+)?"
)
"""The Unicode name of a letter with a stroke, a hook or the like, which does not decompose."""

_LOOKALIKES: Final = str.maketrans(
    "авсԁеһіјкӏмнорԛѕтиуѵԝхзьгпќαβγεηικνορτυχωցօոսհզյѡ",
    "abcdehijklmhopqstuyvwx3brnkabyenikvoptuxwgonuhqjw",
)  # fmt: skip
"""Letters of other alphabets that are drawn like Latin ones (a choice from the confusables of Unicode TR 39)."""


_DRAWN_LIKE: Final = str.maketrans("гядлφσλθπδωσξψцшщжфює", "rranoeaondwseyuwwxooe")
"""Letters that only stand for Latin ones in a word that is otherwise Latin."""
_COINS: Final = str.maketrans("₳฿₵₣₲₭₥₦₱₴₮₩", "abcfgkmnpstw")
_COIN: Final = re.compile(r"[₳฿₵₣₲₭₥₦₱₴₮₩]")
_COINED: Final = re.compile(r"(?:[^\W\d_]|[₳฿₵₣₲₭₥₦₱₴₮₩]){4,}")
"""Signs of currencies that are drawn like letters, and words that may be made of them."""
_CYRILLIC: Final = re.compile(r"[бгджзийлпфцчшщъыьэюяєї]")
"""Cyrillic letters that are drawn like no Latin one."""
_MAYBE_CYRILLIC: Final = re.compile(r"[а-яёєіїґўabcehikmnoptuyxgr\d]+")
_PRICY: Final = 2
"""Different characters of a word of such signs alone that tells how dear something is."""
_SHORT: Final = 4
"""Letters of a word of which one tells the alphabet."""
_AS_CYRILLIC: Final = str.maketrans("abcehikmnoptuyxgr", "авсенікмпортиухгг")


def _fold(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    point = ord(char)
    for first in (0x249C, 0x1F110, 0x1F150, 0x1F170, 0x1F1E6):
        if first <= point < first + 26:  # in brackets, negative circled, negative squared, regional indicators
            return chr(ord("a") + point - first)
    if 0xAC00 <= point <= 0xD7A3:
        return char  # Korean syllables are read whole.
    if 0xE0020 <= point <= 0xE007E:  # tags: invisible ASCII
        return ""
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return str(digit)
    if not char.isascii() and (named := _LATIN_NAME.fullmatch(unicodedata.name(char, ""))):
        return named[1].lower()
    folded: list[str] = []
    for part in unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", char).casefold()):
        category = unicodedata.category(part)
        if part in _SPECIAL and part != char:
            folded.append(_SPECIAL[part])
        elif category in ("Mn", "Mc", "Me", "Cf", "Cs", "Co") or (category == "Cc" and part != "\n"):
            continue
        elif category == "Zs":
            folded.append(" ")
        elif (value := unicodedata.digit(part, None)) is not None:
            folded.append(str(value))
        else:
            folded.append(part)
    return "".join(folded)


class _Folds(dict[str, str]):
    """What every character folds to, worked out once for each."""

    def __missing__(self, char: str) -> str:
        folded = self[char] = _fold(char)
        return folded


_FOLDS: Final = _Folds()


@dataclass(frozen=True, slots=True)
class Normal:
    """A text in normal form.

    ``text`` is the normal form. ``starts`` gives, for each of its characters, the offset in ``original`` that it comes
    from; None when both have the same offsets. ``hidden`` tells that something was dropped within a word.
    """

    original: str
    text: str
    starts: Sequence[int] | None
    hidden: bool = False
    foreign: bool = False
    """Whether it holds letters of alphabets that look like Latin ones."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the original that a part of the normal form comes from, in code points."""
        if self.starts is None:
            return start, end
        if start >= end:
            return 0, 0
        first, last = self.starts[start], self.starts[end - 1] + 1
        following = self.starts[end] if end < len(self.starts) else len(self.original)
        # What was dropped right after the last character belongs to it: variation selectors, key caps.
        dropped = following > last and all(not _FOLDS[char] for char in self.original[last:following])
        return first, following if dropped else last


def normalise(original: str) -> Normal:
    """The normal form of a text, in one pass over it."""
    if original.isascii():
        folded = original.lower()
        if not folded.isprintable():
            folded = "".join([char if char.isprintable() or char == "\n" else " " for char in folded])
        return Normal(original, folded, None)
    pieces = [_FOLDS[char] for char in original]
    text = "".join(pieces)
    if len(text) == len(pieces) and "" not in pieces:
        plain = _unmask(text)
        styled = plain != text or _STYLED.search(original) is not None
        return Normal(original, plain, None, styled, _OTHER.search(text) is not None)
    starts = [offset for offset, piece in enumerate(pieces) for _ in piece]
    hidden = any(
        not piece and 0 < offset < len(pieces) - 1 and _hides(original[offset]) and original[offset - 1].isalnum()
        for offset, piece in enumerate(pieces)
    )
    plain = _unmask(text)
    hidden = hidden or plain != text or _STYLED.search(original) is not None
    return Normal(original, plain, starts, hidden, _OTHER.search(text) is not None)


def _hides(char: str) -> bool:
    return unicodedata.category(char) == "Cf" and char not in "\u200d\ufe0f"


_STYLED: Final = re.compile("[\u249c-\u24e9\u1d00-\u1d22\U0001d400-\U0001d6a3\U0001f110-\U0001f189]{3}")
"""Letters of styles that no keyboard has, one after the other."""
_LATIN: Final = re.compile(r"[a-z]")
_OTHER: Final = re.compile(r"[\u0370-\u058f]")
"""Greek, Cyrillic, Armenian."""
_BETWEEN: Final = r"[^\W_a-z\u0370-\u058f]*"
_MIXED: Final = re.compile(
    rf"(?<![^\W_])(?=[^\W_]*?(?:[a-z]{_BETWEEN}[\u0370-\u058f]|[\u0370-\u058f]{_BETWEEN}[a-z]))[^\W_]+"
)
"""A word that has letters of both."""


def _unmask(text: str) -> str:
    """Fold look-alikes in the words, and in the pieces of addresses, that mix alphabets: nobody writes such words."""
    if _COIN.search(text):
        text = _COINED.sub(_without_coins, text)
    if not _OTHER.search(text) or not _LATIN.search(text):
        return text

    def unmasked(match: re.Match[str]) -> str:
        word = match.group()
        own = len(_CYRILLIC.findall(word))
        if own and (len(word) < _SHORT or _reads_cyrillic(word, own)):
            return word.translate(_AS_CYRILLIC)
        return word.translate(_LOOKALIKES).translate(_DRAWN_LIKE)

    return _MIXED.sub(unmasked, text)


def _without_coins(match: re.Match[str]) -> str:
    word = match.group()
    return word.translate(_COINS) if len(_COIN.findall(word)) > 1 and len(set(word)) > _PRICY else word


def _reads_cyrillic(word: str, own: int) -> bool:
    """Whether a word of mixed alphabets may be a Cyrillic one: some letters are only Cyrillic, or most of them are, and
    the rest is drawn like it."""
    return _MAYBE_CYRILLIC.fullmatch(word) is not None and (own > 1 or len(_LATIN.findall(word)) * 2 <= len(word))


def lookalike(word: str) -> str:
    """A word of another alphabet as it looks to somebody who reads Latin letters."""
    return word.translate(_LOOKALIKES)


def fold(words: str) -> str:
    """A lexicon entry in normal form, white space collapsed."""
    return " ".join("".join(_FOLDS[char] for char in words).split())
