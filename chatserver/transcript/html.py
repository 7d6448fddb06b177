"""The HTML form: one page that needs nothing else, holds no script, and looks the same on paper.

All text goes through the template's automatic escaping; none is ever marked as safe but the style sheet of the server's
own. The page's security policy allows that style sheet, by its hash, pictures within the page, and nothing else.
"""

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from chatserver.transcript.case_file import CaseFile
from chatserver.transcript.presentation import days, exhibits, front_page, hashes

PIECE_CHARS: Final = 32 * 1024


class HtmlForm:
    """Writes case files as HTML.

    ``policy`` is the Content-Security-Policy to serve them with.
    """

    def __init__(self) -> None:
        folder = files("chatserver.transcript") / "templates"
        self._style = (folder / "case_file.css").read_text("utf-8")
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters["webp"] = _webp
        self._template: Template = environment.from_string((folder / "case_file.html").read_text("utf-8"))
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._contained = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
        )
        self.policy = f"sandbox; {self._contained}; frame-ancestors 'none'"

    def write(self, case: CaseFile) -> Iterator[str]:
        """The page, in pieces of some ten thousand characters; each is made when it is asked for.

        The same case file gives the same page.
        """
        front = front_page(case)
        chains = (case.main, *case.annexes)
        parts = [
            (heading, days(chain.entries, case.cover, chain.span, exhibits(case, chain)))
            for heading, chain in zip(front.sections, chains, strict=True)
        ]
        piece: list[str] = []
        length = 0
        written = self._template.generate(
            front=front,
            parts=parts,
            hashes=hashes(chains),
            policy=self._contained,
            style=Markup(self._style),  # noqa: S704  the server's own
        )
        for part in written:
            piece.append(part)
            length += len(part)
            if length >= PIECE_CHARS:
                yield "".join(piece)
                piece.clear()
                length = 0
        yield "".join(piece)


def _webp(picture: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"
