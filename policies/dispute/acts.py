"""What counts as an act: the seller's first real one, and what shows that the parties are still talking."""

import hashlib
import unicodedata
from collections.abc import Collection
from typing import Final

from policies.vocabulary import PARTIES, EntryKind, Role, Visibility

_CLOCK_KINDS: Final = frozenset(
    {
        EntryKind.MESSAGE,
        EntryKind.EVIDENCE_ADDED,
        EntryKind.PROPOSAL_MADE,
        EntryKind.PROPOSAL_ACCEPTED,
        EntryKind.PROPOSAL_REJECTED,
        EntryKind.PROPOSAL_WITHDRAWN,
        EntryKind.FULFILLMENT_MARKED,
        EntryKind.FULFILLMENT_CONFIRMED,
    }
)
_INVISIBLE_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0")
"""Hangul fillers: letters to Unicode, nothing to the eye."""
_PICTOGRAPHS: Final = ((0x2300, 0x23FF), (0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1FAFF))
"""Where Unicode keeps emoji and pictographs, among symbols; not box drawing, bullets or trade marks."""
_BRAILLE: Final = (0x2801, 0x28FF)
"""Letters that Unicode calls symbols. U+2800 is the blank."""


def is_real_act(text: str, seen: Collection[str]) -> bool:
    """Whether a message answers a dispute: it says something, and something that was not said in it before.

    Args:
        text: the message.
        seen: fingerprints of the texts so far, the dispute's description among them.
    """
    return says_something(text) and fingerprint(text) not in seen


def says_something(text: str) -> bool:
    """Whether a text holds a letter or digit of any script, or a pictograph: not only spaces or punctuation."""
    return any(_speaks(character) for character in text)


def fingerprint(text: str) -> str:
    """Alike for texts that say the same: case, white space, punctuation and other marks make no difference."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(c for c in folded if c.isspace() or _speaks(c) or unicodedata.category(c) in ("Lm", "Mn", "Mc"))
    return hashlib.sha256(" ".join(kept.split()).encode(errors="surrogatepass")).hexdigest()[:16]


def resets_clock(kind: EntryKind, role: Role, visibility: Visibility) -> bool:
    """Whether an entry shows that the parties are still working it out, so that the time of silence starts again.

    A party's message, evidence, offer or answer does; what agents or the system write does not, nor what was withheld.
    Reading and typing are no entries at all.
    """
    return role in PARTIES and visibility is Visibility.ALL and kind in _CLOCK_KINDS


def _speaks(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] == "N":
        return True
    if category[0] == "L":
        return category != "Lm" and character not in _INVISIBLE_LETTERS
    if category != "So":
        return False
    point = ord(character)
    return any(first <= point <= last for first, last in (*_PICTOGRAPHS, _BRAILLE))
