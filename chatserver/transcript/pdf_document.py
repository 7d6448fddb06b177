"""The PDF form: a case file, set by Typst.

A text is only ever data to the typesetter, so none of it can be taken for markup. The same case file, with the same
fonts, gives the same bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import orjson
import typst

from chatserver.transcript.case_file import CaseFile
from chatserver.transcript.presentation import HASH_SHOWN, Item, days, exhibits, front_page, hashes
from chatserver.transcript.text import breakable, is_right_to_left
from chatserver.transcript.wording import Fact

_BLOCK_LINES: Final = 20
_HASH_CHARS: Final = 64
_TAB: Final = "    "
BODY_FONT: Final = "Libertinus Serif"
"""Comes with Typst: Latin, Greek, Cyrillic and Hebrew. What it cannot draw is looked for in all other fonts."""


def render_pdf(case: CaseFile, fonts: Sequence[str] = (), *, system_fonts: bool = True) -> bytes:
    """The case file as PDF 1.7, tagged for assistive technology.

    Args:
        fonts: folders with further fonts, for scripts that Typst's own fonts do not have.
        system_fonts: whether to use those installed on this machine too.

    Raises:
        typst.TypstError: it could not be set, which no text should be able to bring about.
    """
    source = (files("chatserver.transcript") / "templates" / "case_file.typ").read_bytes()
    pdf = typst.compile(
        source,
        font_paths=typst.Fonts(include_system_fonts=system_fonts, font_paths=list(fonts)),
        sys_inputs={"case": orjson.dumps(_data(case)).decode()},
        format="pdf",
        timestamp=case.cover.generated_at.replace(microsecond=0),
    )
    assert isinstance(pdf, bytes)
    return pdf


def _data(case: CaseFile) -> dict[str, Any]:
    """What the template prints."""
    front = front_page(case)
    chains = (case.main, *case.annexes)
    at: datetime = case.cover.generated_at.astimezone(UTC)
    made = {fact.label: fact.value for fact in front.made}
    return {
        "title": breakable(front.title),
        "subtitle": breakable(front.subtitle),
        "as_seen_by": breakable(made["As seen by"]),
        "generated_at": made["Generated"],
        "generated": {name: getattr(at, name) for name in ("year", "month", "day", "hour", "minute", "second")},
        "head": case.cover.main.head.hash.hex()[:HASH_SHOWN],
        "fonts": [BODY_FONT],
        "made": _facts(front.made),
        "groups": [
            {"title": group.title, "text": _paragraphs(group.text), "facts": _facts(group.facts)}
            for group in front.groups
        ],
        "parts": [
            {
                "title": heading.title,
                "span": breakable(f"Room {heading.room}. {heading.span}"),
                "head": heading.head,
                "days": [
                    {"name": day.name, "items": [_item(item) for item in day.items]}
                    for day in days(chain.entries, case.cover, chain.span, exhibits(case, chain))
                ],
            }
            for heading, chain in zip(front.sections, chains, strict=True)
        ],
        "hashes": [
            {"title": title, "blocks": list(_blocks([f"{seq:>6}  {digest}" for seq, digest in rows]))}
            for title, rows in hashes(chains)
        ],
    }


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    """A few lines each: the typesetter's time for a paragraph grows faster than its length."""
    for begin in range(0, len(lines), _BLOCK_LINES):
        yield "\n".join(lines[begin : begin + _BLOCK_LINES])


def _item(item: Item) -> dict[str, Any]:
    return {
        "seq": item.seq,
        "time": item.time,
        "author": breakable(item.author),
        "role": item.role,
        "side": item.side,
        "tone": item.tone,
        "title": breakable(item.title),
        "text": _paragraphs(item.text),
        "facts": _facts(item.facts),
        "mark": item.mark,
        "picture": list(item.picture) or None,
        "short_hash": item.short_hash,
    }


def _facts(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    return [{"label": breakable(fact.label), "value": _value(fact), "code": fact.code} for fact in facts]


def _value(fact: Fact) -> list[dict[str, Any]]:
    """A hash fits on a line, and must have nothing in it when it is copied."""
    if fact.code and len(fact.value) <= _HASH_CHARS:
        return [{"rtl": False, "text": fact.value}]
    return _paragraphs(fact.value)


def _paragraphs(text: str) -> list[dict[str, Any]]:
    """Lines of the same direction together: the typesetter takes one direction for a paragraph. It knows no tabs."""
    paragraphs: list[dict[str, Any]] = []
    for line in breakable(text.replace("\t", _TAB)).split("\n") if text else ():
        right_to_left = is_right_to_left(line)
        if paragraphs and (paragraphs[-1]["rtl"] is right_to_left or not line.strip()):
            paragraphs[-1]["text"] += "\n" + line
        else:
            paragraphs.append({"rtl": right_to_left, "text": line})
    return paragraphs
