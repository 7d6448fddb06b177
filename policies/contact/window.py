"""Attempts that are spread over several messages of the same sender."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from policies.contact.digits import Kind, NumberWords
from policies.contact.lexicon import CHANNELS, Cue, Words
from policies.contact.normal import normalise

_MOST_MESSAGES: Final = 8
_MOST_CHARS: Final = 400
"""Of an earlier message: the part of a number or name stands in a short one, or at the end of a long one."""
_WORD: Final = re.compile(r"[^\W_]+")
_NUMBER: Final = re.compile(r"(\D*)(\d{1,9})(\D*)")
_DIGIT: Final = re.compile(r"\d")
_LONGEST_PIECE: Final = 60
_LONGEST_NAMING: Final = 24
_LONGEST_CUT: Final = 14
_HEAD: Final = re.compile(r"[^\W\d_]{1,12}")
_SHORTEST_SAYING: Final = 6
_MOST_OTHERS: Final = 4
_OF_THINGS: Final = int(Cue.REF | Cue.UNIT | Cue.PAST | Cue.PAY | Cue.GAME | Cue.CHEAP | Cue.PRODUCT)
"""What numbers in a message are of when they are no telephone number."""
_NAMED: Final = int(Cue.APP | Cue.PAY_NAME)
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

    def names_provider(self) -> bool:
        """Whether the message before says little but a mail provider."""
        last = self.pieces[-1]
        return len(last) < _LONGEST_NAMING and self._words.anchors(last) & Cue.PROVIDER != 0

    def is_only_channel(self) -> bool:
        """Whether the message before is the name of a channel and nothing else."""
        last = self.pieces[-1].strip(" :.-@")
        return any(mask & CHANNELS and end - start >= len(last) - 2 for start, end, mask in self._words.find(last).hits)

    def cut_name(self, text: str) -> bool:
        """Whether the name of a channel or way to pay goes on from the messages before into this one."""
        head = _HEAD.match(text)
        if head is None or len(self.pieces[-1]) > _LONGEST_CUT:
            return False
        joined, goes_on = head.group(), len(head.group())
        for piece in reversed(self.pieces):
            last = piece.split()
            if not last or len(piece) > _LONGEST_CUT:
                return False
            joined = last[-1] + joined
            for start, end, mask in self._words.names(joined):
                if mask & _NAMED and start < len(joined) - goes_on < end and (end - start > 4 or not joined.isascii()):
                    return True
            if len(last) > 1:
                return False
        return False

    def mask(self) -> int:
        """The kinds of cues in the messages directly before."""
        mask = 0
        for piece in self.pieces[-4:]:
            mask |= self._words.find(piece).everywhere
        return mask

    def digits_before(self) -> "Part":
        """The digits of messages that hold digits and next to nothing else."""
        parts = [self.part_of_number(piece) for piece in self.pieces]
        return Part(
            "".join(part.digits for part in parts),
            any(part.phone for part in parts),
            all(part.strict or not part.digits for part in parts),
            all(part.alone for part in parts[-2:]),
        )

    def counts_up_to(self, text: str) -> bool:
        """Whether a message goes on counting ("photo 3" after "photo 2" and "photo 1"), so that its number is no part
        of a longer one. Of a number that is sent digit by digit, hardly three in a row do."""
        numbered = [_NUMBER.fullmatch(piece) for piece in (*self.pieces[-2:], text)]
        if len(numbered) < 2 or len({match and match.group(1, 3) for match in numbered}) != 1 or numbered[0] is None:
            return False
        counted = [int(match[2]) for match in numbered if match is not None]
        return all(after - before == 1 for before, after in pairwise(counted))

    def part_of_number(self, piece: str) -> "Part":
        """The digits of a short message that may be a part of a number; none when it is about something else."""
        cues = self._words.find(piece)
        about_phone = bool(cues.everywhere & (Cue.PHONE | CHANNELS | Cue.REACH))
        if cues.everywhere & Cue.REF and not about_phone:
            return Part("", False, True)
        said = piece
        saying = False
        for start, end, mask in cues.hits:
            if mask & Cue.SPLIT and end - start > _SHORTEST_SAYING:
                saying = True
                said = said[:start] + " " * (end - start) + said[end:]
        self.announced |= saying
        runs = self._numbers.runs(said, least=1)
        digits = "".join(run.digits for run in runs)
        if not digits or is_amount(piece):
            return Part("", about_phone, True)
        covered = bytearray(len(piece))
        for start, end, mask in cues.hits:
            if mask & (Cue.SPLIT | Cue.PHONE | Cue.REACH | Cue.MINE | CHANNELS):
                covered[start:end] = b"1" * (end - start)
        for run in runs:
            covered[run.start : run.end] = b"1" * (run.end - run.start)
        others = sum(not all(covered[match.start() : match.end()]) for match in _WORD.finditer(piece))
        bare = all(run.kinds & Kind.NUMERAL for run in runs) or len(digits) > 2 or sum(run.words for run in runs) > 1
        allowed = 3 if saying else 2 if about_phone and len(digits) > 2 else 0
        if others <= allowed and bare:
            outside = "".join(piece[a.end : b.start] for a, b in pairwise(runs))
            outside += piece[: runs[0].start] + piece[runs[-1].end :]
            return Part(digits, about_phone, True, not any(map(str.isalpha, outside)))
        if others <= _MOST_OTHERS and len(digits) > 2 and len(runs) < 3 and not cues.everywhere & _OF_THINGS:
            return Part(digits, about_phone, False)
        return Part("", about_phone, True)


@dataclass(frozen=True, slots=True)
class Part:
    """Digits of a message that may be a part of a number.

    ``strict``: the message says hardly anything else; ``alone``: nothing else. Of several, that of the last two.
    """

    digits: str
    phone: bool
    strict: bool
    alone: bool = False


def is_amount(text: str) -> bool:
    """Whether the numbers of a short message are amounts, times or dates."""
    return _AMOUNT.search(text) is not None


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
