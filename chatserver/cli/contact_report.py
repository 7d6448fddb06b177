"""Figures of contact detection on labelled messages, as a table and as a page with the misses."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from chatserver.cli.failures import ExitCode, Failure
from policies.contact import Action, Detector, Verdict


@dataclass(slots=True)
class Figures:
    """What was measured on one file. ``wrong`` are the misses and false alarms; times in microseconds."""

    name: str
    positives: int = 0
    negatives: int = 0
    found: int = 0
    alarms: int = 0
    withheld: int = 0
    """Of the negatives."""
    marked: int = 0
    marked_found: int = 0
    spans: int = 0
    spans_right: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    wrong: list[tuple[dict[str, Any], Verdict]] = field(default_factory=list)

    @property
    def span_f1(self) -> float | None:
        if not self.marked or not self.spans:
            return None
        recall, precision = self.marked_found / self.marked, self.spans_right / self.spans
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def measure(file: Path, detector: Detector) -> Figures:
    """Judge every line of a labelled file.

    Raises:
        Failure: a line that is not labelled.
    """
    figures = Figures(file.stem)
    for row in labelled(file):
        start = time.perf_counter()
        verdict = detector.check(row["text"], row.get("context", ()))
        figures.times.append((time.perf_counter() - start) * 1e6)
        _count(figures, row, verdict, label=bool(row["label"]))
    return figures


def labelled(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a labelled file.

    Raises:
        Failure: a line that is not labelled.
    """
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["text"], row["label"]
            except (ValueError, KeyError, TypeError):
                raise Failure(ExitCode.FAILED, [f"{file}: line {number} is not labelled"]) from None
            yield row


def _count(figures: Figures, row: dict[str, Any], verdict: Verdict, *, label: bool) -> None:
    flagged = verdict.action is not Action.ALLOW
    kind = _kind(row)
    figures.kinds[kind] += 1
    figures.flagged[kind] += flagged
    if label:
        figures.positives += 1
        figures.found += flagged
        _count_spans(figures, [(span[0], span[1]) for span in row.get("spans", ())], verdict)
    else:
        figures.negatives += 1
        figures.alarms += flagged
        figures.withheld += verdict.action is Action.WITHHOLD
    if flagged is not label:
        figures.wrong.append((row, verdict))


def _count_spans(figures: Figures, marked: Sequence[tuple[int, int]], verdict: Verdict) -> None:
    """A marked span is found when a finding covers half of it; a finding is right when half of it is marked."""
    if not marked:
        return
    found = [(one.start, one.end) for one in verdict.findings if one.end and one.confidence >= 0.5]
    figures.marked += len(marked)
    figures.marked_found += sum(any(_shared(one, span) * 2 >= span[1] - span[0] for one in found) for span in marked)
    figures.spans += len(found)
    figures.spans_right += sum(sum(_shared(one, span) for span in marked) * 2 >= one[1] - one[0] for one in found)


def _shared(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


_HEADS: Final = (
    ("attempts", 9), ("recall", 8), ("others", 8), ("flagged", 9), ("/1000", 8), ("withheld", 9), ("span F1", 9),
    ("us mean", 9), ("p99", 8),
)  # fmt: skip
"""The columns, and how wide each is."""


def table(figures: Sequence[Figures]) -> Iterator[str]:
    """The figures, a line for each file."""
    yield f"{'set':<24}" + "".join(f"{head:>{width}}" for head, width in _HEADS)
    for each in figures:
        cells = zip(_cells(each), _HEADS, strict=True)
        yield f"{each.name:<24}" + "".join(f"{cell:>{width}}" for cell, (_, width) in cells)


def _cells(each: Figures) -> tuple[str, ...]:
    times = sorted(each.times)
    return (
        str(each.positives),
        f"{each.found / each.positives:.3f}" if each.positives else "-",
        str(each.negatives),
        str(each.alarms),
        f"{1000 * each.alarms / each.negatives:.2f}" if each.negatives else "-",
        str(each.withheld),
        "-" if each.span_f1 is None else f"{each.span_f1:.3f}",
        f"{sum(times) / len(times):.0f}" if times else "-",
        f"{times[int(len(times) * 0.99)]:.0f}" if times else "-",
    )


def page(figures: Sequence[Figures]) -> str:
    """A page of its own, with every miss and false alarm, and the figures by kind."""
    heads = "".join(f"<th>{head}</th>" for head in ("set", *(head for head, _ in _HEADS)))
    parts = [_HEAD, f'<table class="figures"><tr>{heads}</tr>']
    for number, each in enumerate(figures):
        cells = "".join(f"<td>{cell}</td>" for cell in _cells(each))
        parts.append(f'<tr><th><a href="#set{number}">{escape(each.name)}</a></th>{cells}</tr>')
    parts.append("</table>")
    for number, each in enumerate(figures):
        missed = sum(bool(row["label"]) for row, _ in each.wrong)
        parts.append(f'<h2 id="set{number}">{escape(each.name)}</h2>')
        parts.append(f"<p>{missed} missed of {each.positives}, {len(each.wrong) - missed} false alarms of ")
        parts.append(f"{each.negatives}.</p>")
        parts += _wrong(each)
        parts += _kinds(each)
    return "\n".join([*parts, "</body></html>", ""])


def _wrong(figures: Figures) -> Iterator[str]:
    """What was missed and what was flagged in vain, texts with the labelled places marked and the found ones lined."""
    if not figures.wrong:
        return
    yield '<table class="wrong"><tr><th></th><th>kind</th><th>said before</th><th>text</th><th>found</th></tr>'
    for row, verdict in sorted(figures.wrong, key=lambda wrong: (not wrong[0]["label"], _kind(wrong[0]))):
        found = "<br>".join(f"{one.category} {one.confidence:.2f} <code>{one.rule}</code>" for one in verdict.findings)
        before = "<br>".join(map(escape, map(str, row.get("context", ()))))
        what = "missed" if row["label"] else "false alarm"
        yield (
            f'<tr class="{what.split()[0]}"><th>{what}</th><td>{escape(_kind(row))}</td><td dir="auto">{before}</td>'
            f'<td dir="auto">{_marked(row, verdict)}</td><td>{found}</td></tr>'
        )
    yield "</table>"


def _marked(row: dict[str, Any], verdict: Verdict) -> str:
    text = row["text"]
    labelled = [(span[0], span[1]) for span in row.get("spans", ())]
    found = [(one.start, one.end) for one in verdict.findings]
    edges = sorted({0, len(text), *(edge for span in (*labelled, *found) for edge in span)})
    parts: list[str] = []
    for start, end in pairwise(edges):
        part = escape(text[start:end])
        if any(first <= start and end <= last for first, last in found):
            part = f"<u>{part}</u>"
        if any(first <= start and end <= last for first, last in labelled):
            part = f"<mark>{part}</mark>"
        parts.append(part)
    return "".join(parts)


def _kinds(figures: Figures) -> Iterator[str]:
    if not figures.kinds:
        return
    yield "<details><summary>By kind</summary><table><tr><th>kind</th><th>flagged</th><th>of</th></tr>"
    for kind, count in sorted(figures.kinds.items()):
        yield f"<tr><td>{escape(kind)}</td><td>{figures.flagged[kind]}</td><td>{count}</td></tr>"
    yield "</table></details>"


def _kind(row: dict[str, Any]) -> str:
    return str(row.get("evasion") or row.get("hard") or row.get("source") or "-")


_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Contact detection: evaluation</title>
<meta name="viewport" content="width=device-width">
<style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}
td,th{border:1px solid #8885;padding:.25rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.figures td{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.wrong{width:100%}
.wrong th{white-space:nowrap}
.wrong td[dir]{white-space:pre-wrap}
.missed th{color:#c0392b}
.false th{color:#b9770e}
mark{background:#f9e79f;color:#111}
u{text-decoration:underline 2px #2e86c1;text-underline-offset:3px}
</style></head><body>
<h1>Contact detection: evaluation</h1>
<p>In texts, what is labelled is <mark>marked</mark> and what was found is <u>underlined</u>. Times are in microseconds
for a message.</p>"""
