"""Names of channels behind leet spelling, separators, repeated letters or look-alikes."""

import re
from collections.abc import Iterator, Set
from typing import Final

from policies.contact.normal import lookalike
from policies.contact.views import View, replaced

_NAMES: Final = frozenset(
    [
        *("whatsapp", "watsapp", "whatsap", "wasap", "telegram", "discord", "skype", "instagram", "insta", "snapchat"),
        *("viber", "wechat", "facebook", "messenger", "kakaotalk", "signal", "zalo", "imessage", "facetime"),
        *("teamspeak", "threema", "vkontakte", "kik", "tiktok", "twitter"),
        *("paypal", "venmo", "cashapp", "zelle", "revolut", "westernunion", "skrill", "bitcoin", "usdt", "crypto"),
        *("payoneer", "neteller", "alipay", "giftcard"),
        *("gmail", "hotmail", "outlook", "yahoo", "protonmail", "icloud"),
    ]
)
_SHAPES: Final = {
    "a": "a4@^",
    "b": "b86",
    "c": "ck(",
    "d": "d",
    "e": "e3€",
    "f": "f",
    "g": "g96",
    "h": "h#",
    "i": "i1!l|",
    "k": "kc",
    "l": "l1!|i",
    "m": "m",
    "n": "n",
    "o": "o0",
    "p": "p",
    "r": "r",
    "s": "s5$z",
    "t": "t7+",
    "u": "uv",
    "v": "vu",
    "w": "w",
    "y": "y7",
    "z": "z2s",
}
"""By letter, the signs that are written for it."""
_GAP: Final = r"[\W_]{0,3}"


def _disguised(name: str) -> str:
    """A name however it is disguised. It begins with a plain set, by which nearly every place is passed over quickly;
    so the group that tells which name it is comes last."""
    sets = [f"[{re.escape(_SHAPES[char])}]" for char in name]
    return f"{sets[0]}{sets[0]}{{0,3}}" + "".join(f"{_GAP}{each}{{1,4}}" for each in sets[1:]) + f"(?P<{name}>)"


_NAME: Final = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(map(_disguised, sorted(_NAMES, key=len, reverse=True)))})(?![a-z0-9])"
)
_SIGNED: Final = re.compile(
    r"[0-9$@!|+€¥\\](?:(?<=[a-zа-я].)[a-zа-я0-9]|(?<![+€])(?<!\w.)[a-z]{3}|(?<=[a-zа-я]\d)(?!\S))"
    r"|/\\/\\"
)
"""A sign within a word, before it or after it. What it begins with is what is rare: so it is sought quickly."""
_SIGNS: Final = "0123456789$@!|+€¥\\"
_APART: Final = re.compile(r"(?<![^\W_])[^\W\d_](?:[\W_]{1,3}[^\W_](?![^\W_])){2}")
_CUT: Final = re.compile(r"[a-z][-_.*·~/|,]{1,3}[a-z]{1,3}[-_.*·~/|,]{1,3}[a-z]")
_TOKEN: Final = re.compile(r"[^\s,;]{3,40}")
_DRAWN: Final = (
    ("/\\/\\", "m"),
    ("|\\/|", "m"),
    ("\\/\\/", "w"),
    ("|-|", "h"),
    ("|<", "k"),
    ("|)", "d"),
    ("()", "o"),
    ("vv", "w"),
)
"""Letters drawn of several signs."""
_LETTERS: Final = str.maketrans("01345789@$!|+¥€", "oieastbgasiltye")
_LETTERS_TOO: Final = str.maketrans("01345689@$!|+¥€", "olsasgbgasiltye")
_CYRILLIC: Final = str.maketrans("0134@$6", "оиеаасб")
_ANY_CYRILLIC: Final = re.compile(r"[а-я]")
_SIGN: Final = re.compile(r"[0-9$@!|+¥€()\\]")
_LETTER: Final = re.compile(r"[^\W\d_]")
_CUTTERS: Final = "-_.*·~/|,"
_CUTS: Final = re.compile(r"[-_.*·~/|,]\w")
_WORD: Final = re.compile(r"[\u0370-\u058f]{4,12}")


def suspect(text: str, chars: Set[str], singles: int, repeated: bool) -> bool:
    """Whether a text has the look of disguised words: signs within words, letters apart, letters repeated.

    ``chars``: the characters that it is written with. ``singles``: how many of its words are one character long.
    ``repeated``: it has a letter three times in a row.
    """
    return (
        repeated
        or (singles > 2 and _APART.search(text) is not None)
        or (not chars.isdisjoint(_SIGNS) and _SIGNED.search(text) is not None)
        or (
            not chars.isdisjoint(_CUTTERS)
            and _CUTS.search(text) is not None
            and (_CUT.search(text) or _APART.search(text)) is not None
        )
    )


Parts = list[tuple[int, int, str]]
"""Start, end, what is read there."""


def unmasked(view: View) -> tuple[View, bool]:
    """With the names of channels as they are usually written, and whether there were any in disguise."""
    parts: Parts = []
    for match in _NAME.finditer(view.text):
        name = match.lastgroup or ""
        if match.group() != name:
            parts.append((match.start(), match.end(), name))
    return (replaced(view, parts), True) if parts else (view, False)


def foreign_lookalikes(view: View) -> tuple[View, bool]:
    """Words wholly of letters that look like Latin ones, where they then read as a channel."""
    parts: Parts = []
    for match in _WORD.finditer(view.text):
        seen = lookalike(match.group())
        if seen in _NAMES:
            parts.append((match.start(), match.end(), seen))
    return (replaced(view, parts), True) if parts else (view, False)


def spelled_with_signs(text: str) -> Iterator[Parts]:
    """What to read for the tokens that have signs within, in the two ways that matter: 1 is i or l."""
    tokens = [
        match
        for match in _TOKEN.finditer(text)
        if _SIGN.search(match.group()) and _LETTER.search(match.group()) and "." not in match.group()
    ]
    before: Parts = []
    for letters in (_LETTERS, _LETTERS_TOO):
        parts = [(match.start(), match.end(), _letters(match.group(), letters)) for match in tokens[:_MOST_TOKENS]]
        if parts != before:
            yield parts
        before = parts


def _letters(token: str, letters: dict[int, int]) -> str:
    for drawn, letter in _DRAWN:
        token = token.replace(drawn, letter)
    return token.translate(_CYRILLIC if _ANY_CYRILLIC.search(token) else letters)


_MOST_TOKENS: Final = 40
