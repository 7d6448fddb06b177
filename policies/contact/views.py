"""Other ways to read a text, each mapped back to where its characters come from."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from policies.contact.normal import Normal

Span = tuple[int, int]


class View:
    """A reading of a text. ``text`` is what is read; ``span`` leads back to code points of the original."""

    def __init__(
        self, normal: Normal, text: str, places: Sequence[int] | None = None, changed: Sequence[Span] = ()
    ) -> None:
        self.normal = normal
        self.text = text
        self._places = places
        """For each character, its offset in the normal form; None when it is the normal form."""
        self.changed: Final = changed
        """The parts that read otherwise than the normal form does, in order."""
        self.is_excerpt = False

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The part of the normal form that a part of the reading comes from."""
        if self._places is None:
            return start, end
        if start >= end:
            return 0, 0
        first, last = self._places[start], self._places[end - 1]
        return min(first, last), max(first, last) + 1

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the original."""
        return self.normal.span(*self.place(start, end))

    def derived(self, text: str, places: Sequence[int], changed: Sequence[Span] = ()) -> "View":
        """A reading of this reading.

        Args:
            places: for each character, its offset here.
            changed: the parts that are read otherwise than the normal form is.
        """
        own = self._places
        return View(self.normal, text, [own[place] for place in places] if own is not None else places, changed)

    def excerpt(self, parts: Iterable[Span]) -> "View":
        """Some parts alone, in order, with an empty line between them."""
        text: list[str] = []
        places: list[int] = []
        for start, end in parts:
            text += (self.text[start:end], "\n\n")
            places += (*range(start, end), end - 1, end - 1)
        view = self.derived("".join(text), places)
        view.is_excerpt = True
        return view


_SPACED: Final = re.compile(r"(?<![^\W_])[^\W_](?:[\W_]{1,3}[^\W_](?![^\W_])){2,}")
_SMALLEST_WORDS: Final = frozenset("aeiouywzvksавикосуяйюжбє")
"""Words of one letter that a name may follow."""
_SHORTEST_NAME: Final = 4
_SEPARATORS: Final = re.compile(r"[\W_]+")


def spaced_out(text: str) -> bool:
    """Whether letters stand apart somewhere: ``w h a t s``."""
    return _SPACED.search(text) is not None


def closed_up(view: View, is_name: Callable[[str], bool]) -> View:
    """Letters that stand apart are put together. Signs that addresses are made of stay, where spaces separate.

    ``is_name``: whether letters are a name, so that one before them is a word of its own: ``o s k y p e``.
    """
    text: list[str] = []
    places: list[int] = []
    changed: list[Span] = []
    done = 0
    for match in _SPACED.finditer(view.text):
        _copy(view.text, done, match.start(), text, places)
        first = len(places)
        chunk = match.group()
        gaps = _SEPARATORS.findall(chunk)
        spaces = sum(gap == " " for gap in gaps) * 2 >= len(gaps)
        start = match.start()
        # An address goes on with a sign after its last single letter: the space before that sign is no gap either.
        for place, char in enumerate(chunk, start):
            if char.isalnum() or (char in "@.:/#_-$" if spaces else char in "@/#"):
                text.append(char)
                places.append(place)
            elif not spaces or char == " ":
                continue
        if chunk[0] in _SMALLEST_WORDS and len(places) - first > _SHORTEST_NAME:
            letters = "".join(text[first - len(places) :])
            if is_name(letters[1:]) and not is_name(letters):
                text.insert(first - len(places) + 1, " ")
                places.insert(first + 1, match.start() + 1)
        changed.append((first, len(places)))
        done = match.end()
    _copy(view.text, done, len(view.text), text, places)
    return view.derived("".join(text), places, changed)


def replaced(view: View, parts: Iterable[tuple[int, int, str]]) -> View:
    """With some parts read as something else. ``parts``: start, end, what it is read as; in order, not overlapping."""
    text: list[str] = []
    places: list[int] = []
    changed: list[Span] = []
    done = 0
    for start, end, other in parts:
        _copy(view.text, done, start, text, places)
        changed.append((len(places), len(places) + len(other)))
        # Spread over the part, so that whatever is found in it leads back to all of it.
        last = max(1, len(other) - 1)
        text.append(other)
        places.extend(start + (end - 1 - start) * number // last for number in range(len(other)))
        done = end
    _copy(view.text, done, len(view.text), text, places)
    changed += [(bisect_left(places, start), bisect_left(places, end)) for start, end in view.changed]
    return view.derived("".join(text), places, sorted(changed))


def rewritten(text: str, parts: Iterable[tuple[int, int, str]]) -> str:
    """What ``replaced`` would read, without the way back."""
    pieces: list[str] = []
    done = 0
    for start, end, other in parts:
        pieces += (text[done:start], other)
        done = end
    return "".join((*pieces, text[done:]))


def backwards(view: View) -> View:
    """Read from the end."""
    size = len(view.text)
    return view.derived(view.text[::-1], range(size - 1, -1, -1), [(0, size)])


def _copy(source: str, start: int, end: int, text: list[str], places: list[int]) -> None:
    text.append(source[start:end])
    places.extend(range(start, end))
