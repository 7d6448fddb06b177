"""Attempts that are spread over several messages of the same sender."""

import re
from collections.abc import Sequence
from typing import Final

from policies.contact.digits import Kind, NumberWords
from policies.contact.lexicon import CHANNELS, Cue, Words
from policies.contact.normal import normalise

_MOST_MESSAGES: Final = 8
_MOST_CHARS: Final = 400
"""Of an earlier message: the part of a number or name stands in a short one, or at the end of a long one."""
_WORD: Final = re.compile(r"[^\W_]+")
_DIGIT: Final = re.compile(r"\d")
_LONGEST_PIECE: Final = 60
_AMOUNT: Final = re.compile(r"[$€£¥₺₽₹%]|\d:\d\d|\d{4}-\d\d-\d\d|\d\d/\d\d/\d\d|\d\.\d\d?(?!\d)")


class Earlier:
    """The sender's earlier messages, as far as the present one may go on with them."""

    def __init__(self, context: Sequence[str], words: Words, numbers: NumberWords) -> None:
        self._words = words
        self._numbers = numbers
        self.pieces: Final = _pieces(context)
        """The short messages that come directly before, oldest first, white space at their ends dropped."""
        self.announced = False
        """Whether an earlier message says that it holds a part."""

    def has_digits(self) -> bool:
        """Whether there are any digits or number words in them. Quick: there mostly are none."""
        return any(_DIGIT.search(piece) or self._numbers.count(piece) for piece in self.pieces)

    def names_channel(self) -> bool:
        """Whether one of the last may name a channel."""
        return self._words.anchors("\n".join(self.pieces[-4:])) & CHANNELS != 0

    def mask(self) -> int:
        """The kinds of cues in the messages directly before."""
        mask = 0
        for piece in self.pieces[-4:]:
            mask |= self._words.find(piece).everywhere
        return mask

    def digits_before(self) -> tuple[str, bool]:
        """The digits of messages that hold digits and next to nothing else, and whether they speak of a telephone."""
        digits = ""
        phone = False
        for piece in self.pieces:
            part, about_phone = self.part_of_number(piece)
            phone = phone or about_phone
            digits += part
        return digits, phone

    def part_of_number(self, piece: str) -> tuple[str, bool]:
        """The digits of a short message that may be a part of a number; empty when it is about something else."""
        cues = self._words.find(piece)
        about_phone = bool(cues.everywhere & (Cue.PHONE | CHANNELS | Cue.REACH))
        if cues.everywhere & Cue.REF and not about_phone:
            return "", False
        runs = self._numbers.runs(piece, least=1)
        digits = "".join(run.digits for run in runs)
        if not digits:
            return "", about_phone
        covered = bytearray(len(piece))
        for start, end, mask in cues.hits:
            self.announced |= bool(mask & Cue.SPLIT) and end - start > 6
            if mask & (Cue.SPLIT | Cue.PHONE | Cue.REACH | Cue.MINE | CHANNELS):
                covered[start:end] = b"1" * (end - start)
        for run in runs:
            covered[run.start : run.end] = b"1" * (run.end - run.start)
        others = sum(not all(covered[match.start() : match.end()]) for match in _WORD.finditer(piece))
        bare = all(run.kinds & Kind.NUMERAL for run in runs) or len(digits) > 2
        allowed = 2 if about_phone and len(digits) > 2 else 0
        if others > allowed or not bare or _AMOUNT.search(piece):
            return "", about_phone
        return digits, about_phone


def _pieces(context: Sequence[str]) -> list[str]:
    pieces: list[str] = []
    for message in reversed(context[-_MOST_MESSAGES:]):
        if len(message) > _LONGEST_PIECE and message.isascii():
            break
        text = normalise(message[-_MOST_CHARS:]).text
        if len(text) > _LONGEST_PIECE:
            break
        pieces.append(text.strip())
    tail = "\n".join(reversed(pieces))
    return tail.split("\n") if tail else []
