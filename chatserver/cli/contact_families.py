"""What is found of a kind of attempt that nobody had seen before the words were written: leave one kind out.

Nothing is trained, so what a labelled set can leak into the rules are words. Of each kind of attempt, the words that
its messages alone speak for are taken out of the lexicons, and it is measured again: what is still found is found by
structure, or by words that other kinds need as well.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chatserver.cli.contact_report import labelled
from policies.contact import Action, Detector, Lexicons, load_lexicons
from policies.contact.lexicon import Automaton
from policies.contact.normal import normalise


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A kind of attempt: how many there are, how many are found, and how many without the words that only it has."""

    kind: str
    attempts: int
    found: int
    words: int
    found_without: int


def leave_out(files: Sequence[Path], detector: Detector) -> Iterator[LeftOut]:
    """Measure every kind of attempt with and without its own words.

    Args:
        files: labelled messages, whose kind of attempt is ``evasion``; those without one count as a kind of their own,
            by ``source``.
        detector: with all its words.

    Raises:
        Failure: a line that is not labelled.
    """
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for file in files:
        for row in labelled(file):
            if row["label"]:
                rows[str(row.get("evasion") or row.get("source") or file.stem)].append(row)
    rules = detector.rules
    lexicons = load_lexicons().extended(rules.lexicon)
    own = _own_words(rows, lexicons)
    for kind, attempts in sorted(rows.items()):
        found = _found(attempts, detector)
        without = found
        if own[kind]:
            words = {word: cues for word, cues in lexicons.words.items() if word not in own[kind]}
            digits = {word: value for word, value in lexicons.digits.items() if word not in own[kind]}
            blank = rules.model_copy(update={"lexicon": {}})
            without = _found(attempts, Detector(blank, Lexicons(words, digits)))
        yield LeftOut(kind, len(attempts), found, len(own[kind]), without)


def _own_words(rows: Mapping[str, Sequence[Mapping[str, Any]]], lexicons: Lexicons) -> Mapping[str, set[str]]:
    """By kind, the entries that stand in its messages and in those of no other kind."""
    entries = [*lexicons.words, *lexicons.digits]
    search = Automaton({entry: number for number, entry in enumerate(entries)})
    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, attempts in rows.items():
        for row in attempts:
            for text in (row["text"], *row.get("context", ())):
                for _, _, number in search.find(normalise(text).text.replace("\n", " ")):
                    kinds[entries[number]].add(kind)
    own: dict[str, set[str]] = defaultdict(set)
    for entry, seen in kinds.items():
        if len(seen) == 1:
            own[next(iter(seen))].add(entry)
    return own


def _found(attempts: Sequence[Mapping[str, Any]], detector: Detector) -> int:
    return sum(detector.check(row["text"], row.get("context", ())).action is not Action.ALLOW for row in attempts)


_HEADS: Final = (("attempts", 9), ("recall", 8), ("own words", 11), ("without", 9))


def families(figures: Sequence[LeftOut]) -> Iterator[str]:
    """The figures, a line for each kind and one for all."""
    attempts, found, without = (
        sum(numbers) for numbers in zip(*((one.attempts, one.found, one.found_without) for one in figures), strict=True)
    )
    yield f"{'kind':<24}" + "".join(f"{head:>{width}}" for head, width in _HEADS)
    for one in (*figures, LeftOut("all", attempts, found, sum(one.words for one in figures), without)):
        shares = (f"{number / one.attempts:.3f}" for number in (one.found, one.found_without))
        cells = (str(one.attempts), next(shares), str(one.words), next(shares))
        yield f"{one.kind:<24}" + "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _HEADS, strict=True))
