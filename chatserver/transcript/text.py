"""Text that strangers wrote, made fit to be read in a document: nothing in it acts, and nothing in it hides.

A document is evidence, so what is changed is shown: a character that would be invisible and could mislead, or break the
page, becomes its code point in brackets. The JSON form has every text as it was.
"""

import re
import unicodedata
from typing import Final

MARKS_MAX: Final = 8
"""Accents on one letter. No script stacks more; a thousand of them paint over other people's lines."""
BLANK_LINES_MAX: Final = 2
WORD_CHARS: Final = 40
"""A run without a place to break longer than this may be broken anywhere, or it would leave the page."""
ZERO_WIDTH_SPACE: Final = "\u200b"

_LINE_ENDS: Final = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
"""Controls; overrides and isolates of writing direction, which can make a line read as another; noncharacters."""
_BLANK_LINES: Final = re.compile(rf"\n(?:[^\S\n]*\n){{{BLANK_LINES_MAX + 1},}}")
_LONG_WORD: Final = re.compile(rf"[^\s{ZERO_WIDTH_SPACE}]{{{WORD_CHARS + 1},}}")
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
_PULLING: Final = _RIGHT_TO_LEFT | {"AN"}


def shown(text: str) -> str:
    """A text of any number of lines, for display."""
    text = _LINE_ENDS.sub("\n", text)
    text = _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)
    text = _BLANK_LINES.sub(lambda found: f"\n\n[{found[0].count(chr(10)) - 1} empty lines]\n\n", text)
    return text if text.isascii() else _without_stacks(text)


def shown_line(text: str) -> str:
    """A name or title: what would be several lines is one."""
    return shown(" ".join(text.split()))


def isolated(text: str) -> str:
    """A shown name among other words: one that runs from right to left does not pull them along (UAX 9, isolates)."""
    if any(unicodedata.bidirectional(character) in _PULLING for character in text):
        return f"\u2068{text}\u2069"
    return text


def breakable(text: str) -> str:
    """The same text with invisible places to break in words that are longer than a line."""
    return _LONG_WORD.sub(lambda found: _broken(found[0]), text)


def is_right_to_left(line: str) -> bool:
    """Whether a line's first letter is of a script that runs from right to left (Unicode UAX 9, rules P2 and P3)."""
    within = False  # of ``isolated``; nothing else isolates here, and it does not nest
    for character in line:
        direction = unicodedata.bidirectional(character)
        if direction in ("FSI", "PDI"):
            within = direction == "FSI"
        elif not within and (direction == "L" or direction in _RIGHT_TO_LEFT):
            return direction != "L"
    return False


def _without_stacks(text: str) -> str:
    kept: list[str] = []
    stacked = 0
    for character in text:
        stacked = stacked + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if stacked <= MARKS_MAX:
            kept.append(character)
        elif stacked == MARKS_MAX + 1:
            kept.append(f"[U+{ord(character):04X} ...]")
    return "".join(kept)


def _broken(word: str) -> str:
    """Break between characters, and never within one: before a mark, a joiner or a variation selector there is none."""
    parts: list[str] = []
    since = 0
    for character in word:
        if since >= WORD_CHARS // 2 and not _continues(character) and (not parts or parts[-1] != "\u200d"):
            parts.append(ZERO_WIDTH_SPACE)
            since = 0
        parts.append(character)
        since += 1
    return "".join(parts)


def _continues(character: str) -> bool:
    return (
        character == "\u200d" or unicodedata.category(character)[0] == "M" or "\U0001f3fb" <= character <= "\U0001f3ff"
    )
