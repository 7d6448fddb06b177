"""Names of channels behind leet spelling, separators, repeated letters or look-alikes; and texts that are encoded."""

import base64
import binascii
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
_NAME: Final = re.compile(
    r"(?<![^\W_])(?:"
    + "|".join(
        f"(?P<{name}>" + _GAP.join(f"[{re.escape(_SHAPES[char])}]{{1,4}}" for char in name) + ")"
        for name in sorted(_NAMES, key=len, reverse=True)
    )
    + r")(?![a-z0-9])"
)
_SIGNED: Final = re.compile(r"[0-9$@!|+€](?:(?<=[a-z].)[a-z0-9]|(?<![+€])(?<!\w.)[a-z]{3}|(?<=[a-z]\d)(?!\S))")
"""A sign within a word, before it or after it. What it begins with is what is rare: so it is sought quickly."""
_SIGNS: Final = "0123456789$@!|+€"
_APART: Final = re.compile(r"(?<![^\W_])[^\W\d_](?:[\W_]{1,3}[^\W_](?![^\W_])){2}")
_CUT: Final = re.compile(r"[a-z][-_.*·~/|,]{1,3}[a-z]{1,3}[-_.*·~/|,]{1,3}[a-z]")
_CUTTERS: Final = "-_.*·~/|,"
_CUTS: Final = re.compile(r"[-_.*·~/|,]\w")
_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{11,400}={0,2}(?![A-Za-z0-9+/=])")
_HEX: Final = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-fA-F]{2}[\s:]?){8,200}(?![0-9a-zA-Z])")
_CODES: Final = re.compile(r"(?<!\d)(?:1?\d{2}[\s,;-]{1,2}){6,100}1?\d{2}(?!\d)")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e\n]{5,}")
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


def unmasked(view: View) -> tuple[View, bool]:
    """With the names of channels as they are usually written, and whether there were any in disguise."""
    parts: list[tuple[int, int, str]] = []
    for match in _NAME.finditer(view.text):
        name = match.lastgroup or ""
        if match.group() != name:
            parts.append((match.start(), match.end(), name))
    return (replaced(view, parts), True) if parts else (view, False)


def foreign_lookalikes(view: View) -> tuple[View, bool]:
    """Words wholly of letters that look like Latin ones, where they then read as a channel."""
    parts: list[tuple[int, int, str]] = []
    for match in _WORD.finditer(view.text):
        seen = lookalike(match.group())
        if seen in _NAMES:
            parts.append((match.start(), match.end(), seen))
    return (replaced(view, parts), True) if parts else (view, False)


def decoded(text: str, *, announced: bool) -> Iterator[tuple[int, int, str]]:
    """What encoded parts of a text say: start, end, plain text. ``announced``: the message says that it is encoded.

    Base64 betrays itself; hex and lists of character codes are read only where they are announced.
    """
    for match in _BASE64.finditer(text):
        written = match.group()
        stem = written.rstrip("=")
        if stem.isalpha() and not (announced or written.endswith("=")):
            continue
        try:
            plain = base64.b64decode(stem + "=" * (-len(stem) % 4), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if _PRINTABLE.fullmatch(plain):
            yield match.start(), match.end(), plain
    if not announced:
        return
    for match in _HEX.finditer(text):
        compact = re.sub(r"[\s:]", "", match.group())
        plain = bytes.fromhex(compact).decode("latin-1")
        if _PRINTABLE.fullmatch(plain):
            yield match.start(), match.end(), plain
    for match in _CODES.finditer(text):
        plain = "".join(chr(int(code)) for code in re.findall(r"\d+", match.group()))
        if _PRINTABLE.fullmatch(plain):
            yield match.start(), match.end(), plain
