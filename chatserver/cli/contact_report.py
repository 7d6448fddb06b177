"""Figures of contact detection on labelled messages, as a table and as a page with the misses."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

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
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                text, label = row["text"], bool(row["label"])
            except (ValueError, KeyError, TypeError):
                raise Failure(ExitCode.FAILED, [f"{file}: line {number} is not labelled"]) from None
            start = time.perf_counter()
            verdict = detector.check(text, row.get("context", ()))
            figures.times.append((time.perf_counter() - start) * 1e6)
            _count(figures, row, verdict, label=label)
    return figures


def _count(figures: Figures, row: dict[str, Any], verdict: Verdict, *, label: bool) -> None:
    flagged = verdict.action is not Action.ALLOW
    kind = str(row.get("evasion") or row.get("hard") or row.get("source") or "-")
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


def table(figures: Sequence[Figures]) -> Iterator[str]:
    """The figures, a line for each file."""
    heads = ("attempts", 9), ("recall", 8), ("others", 8), ("flagged", 9), ("/1000", 8), ("withheld", 9), ("span F1", 9)
    yield f"{'set':<24}" + "".join(f"{head:>{width}}" for head, width in (*heads, ("us mean", 9), ("p99", 8)))
    for each in figures:
        times = sorted(each.times)
        recall = f"{each.found / each.positives:.3f}" if each.positives else "-"
        per_mille = f"{1000 * each.alarms / each.negatives:.2f}" if each.negatives else "-"
        f1 = "-" if each.span_f1 is None else f"{each.span_f1:.3f}"
        mean = sum(times) / len(times) if times else 0.0
        p99 = times[int(len(times) * 0.99)] if times else 0.0
        yield (
            f"{each.name:<24}{each.positives:>9}{recall:>8}{each.negatives:>8}{each.alarms:>9}{per_mille:>8}"
            f"{each.withheld:>9}{f1:>9}{mean:>9.0f}{p99:>8.0f}"
        )


def page(figures: Sequence[Figures]) -> str:
    """A page of its own, with the figures by kind and every miss and false alarm."""
    parts = [_HEAD, "<pre>", escape("\n".join(table(figures))), "</pre>"]
    for each in figures:
        parts.append(f"<h2>{escape(each.name)}</h2><table><tr><th>kind</th><th>flagged</th><th>of</th></tr>")
        for kind, count in sorted(each.kinds.items()):
            parts.append(f"<tr><td>{escape(kind)}</td><td>{each.flagged[kind]}</td><td>{count}</td></tr>")
        parts.append("</table><table><tr><th>wrong</th><th>kind</th><th>text</th><th>before</th><th>found</th></tr>")
        for row, verdict in each.wrong:
            kind = str(row.get("evasion") or row.get("hard") or row.get("source") or "-")
            found = "; ".join(f"{one.category} {one.rule} {one.confidence:.2f}" for one in verdict.findings)
            cells = (
                "missed" if row["label"] else "false alarm",
                kind,
                row["text"],
                " / ".join(row.get("context", ())),
                found,
            )
            parts.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
        parts.append("</table>")
    return "\n".join([*parts, "</body></html>", ""])


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Contact detection: evaluation</title>
<style>body{font:15px/1.4 system-ui,sans-serif;margin:2rem;max-width:80rem}table{border-collapse:collapse;margin:1rem 0}
td,th{border:1px solid #ccc;padding:.25rem .5rem;text-align:left;vertical-align:top}</style></head><body>
<h1>Contact detection: evaluation</h1>"""
