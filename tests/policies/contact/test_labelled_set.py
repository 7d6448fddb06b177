"""The detector is held to its figures on the project's own labelled set."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from policies.contact.evaluate import detect

FOLDER = Path(__file__).parents[2] / "data" / "contact"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def confidence(row: dict[str, Any]) -> float:
    return max((found[3] for found in detect(row["text"], row["context"])), default=0.0)


def test_attempts_are_found() -> None:
    attempts = rows("attempts.jsonl")
    missed = [row["text"] for row in attempts if confidence(row) < 0.5]
    assert len(missed) <= 0.05 * len(attempts), missed


def test_no_kind_of_attempt_is_blind_spot() -> None:
    attempts = rows("attempts.jsonl")
    kinds = Counter(row["evasion"] for row in attempts)
    found = Counter(row["evasion"] for row in attempts if confidence(row) >= 0.5)
    assert not [kind for kind, count in kinds.items() if count >= 5 and found[kind] < 0.65 * count]


def test_what_only_looks_like_an_attempt_passes() -> None:
    negatives = rows("hard_negatives.jsonl")
    flagged = [row["text"] for row in negatives if confidence(row) >= 0.5]
    assert len(flagged) <= 0.01 * len(negatives), flagged
    assert not [row["text"] for row in negatives if confidence(row) >= 0.85]


def test_what_is_marked_is_what_gives_it_away() -> None:
    marked = right = 0
    for row in rows("attempts.jsonl"):
        for start, end, _ in row["spans"]:
            marked += 1
            found = [one for one in detect(row["text"], row["context"]) if one[3] >= 0.5]
            right += any(min(end, last) - max(start, first) >= (end - start) / 2 for first, last, _, _ in found)
    assert right >= 0.85 * marked
