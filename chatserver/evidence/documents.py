"""Looking at PDF documents."""

import io
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

import pypdfium2
import pypdfium2.raw
from PIL import Image

from chatserver.evidence.examination import NotTaken
from chatserver.evidence.images import THUMBNAIL_PIXELS, codes_on, unreadable

DICTIONARY_BYTES: Final = 1024
"""Longest dictionary in front of a stream of objects."""
OBJECTS_BYTES: Final = 32 * 1024 * 1024
"""So much of one is looked through."""
CODES_PAGES: Final = 20
"""Pages that are searched for codes,"""
CODES_S: Final = 15.0
"""as long as they have not taken more of the processor than this,"""
CODES_PIXELS: Final = 1_600
"""drawn with so many pixels on their longest side."""
_ACTION: Final = re.compile(rb"/S(?:\s|%[^\r\n]*[\r\n])*/(?:JavaScript|Launch)(?![A-Za-z0-9])")
_ESCAPED: Final = re.compile(rb"#([0-9A-Fa-f]{2})")
_STREAM: Final = re.compile(rb"stream\r?\n")
_FLATTEN_FAILED: Final = pypdfium2.raw.FLATTEN_FAIL


@contextmanager
def opened(path: Path) -> Iterator["Document"]:
    """A PDF document without a password, programs or attachments.

    Raises:
        NotTaken: it cannot be read, or has one of these; also while it is used.
    """
    try:
        with pypdfium2.PdfDocument(path) as document:
            _require_passive(document)
            _require_no_actions(path)
            yield Document(document)
    except pypdfium2.PdfiumError as error:
        raise unreadable() from error


def _require_passive(document: pypdfium2.PdfDocument) -> None:
    raw = document.raw
    if pypdfium2.raw.FPDFDoc_GetJavaScriptActionCount(raw) > 0:
        raise NotTaken("active_content", "The document holds programs.")
    if pypdfium2.raw.FPDFDoc_GetAttachmentCount(raw) > 0:
        raise NotTaken("active_content", "The document holds other files.")
    if pypdfium2.raw.FPDF_GetSecurityHandlerRevision(raw) >= 0:
        raise NotTaken("unreadable", "The document is protected by a password.")


def _require_no_actions(path: Path) -> None:
    """Programs may hang on anything: on opening, pages, links, fields. PDFium does not name them all, but each says
    what it is in the file or in a stream of objects (ISO 32000-2, 7.5.7 and 12.6.2)."""
    content = path.read_bytes()
    for objects in (content, *_object_streams(content)):
        if _ACTION.search(_ESCAPED.sub(lambda escaped: bytes.fromhex(escaped[1].decode()), objects)):
            raise NotTaken("active_content", "The document holds programs.")


def _object_streams(content: bytes) -> Iterator[bytes]:
    for stream in _STREAM.finditer(content):
        about = content[max(0, stream.start() - DICTIONARY_BYTES) : stream.start()].rpartition(b"obj")[2]
        if b"ObjStm" in about:
            with suppress(zlib.error):  # not compressed: then it was looked through as it is
                yield zlib.decompressobj().decompress(content[stream.end() :], OBJECTS_BYTES)


class Document:
    """A document whose pages can be read."""

    def __init__(self, document: pypdfium2.PdfDocument) -> None:
        self._document = document

    def save_shown(self, path: Path) -> None:
        """Write what its pages look like into a new document, and nothing else: no author, times, actions or links.
        What stamps and fields show is drawn first. To be done last: it changes the document."""
        content = io.BytesIO()  # PDFium would not say why it cannot write a file
        with pypdfium2.PdfDocument.new() as shown:
            for number, page in enumerate(self._document):
                if pypdfium2.raw.FPDFPage_Flatten(page.raw, pypdfium2.raw.FLAT_NORMALDISPLAY) == _FLATTEN_FAILED:
                    raise unreadable()
                size = page.get_size()
                page.close()
                drawn = self._document.page_as_xobject(number, shown)
                sheet = shown.new_page(*size)
                sheet.insert_obj(drawn.as_pageobject())
                sheet.gen_content()
                drawn.close()
                sheet.close()
            shown.save(content)
        path.write_bytes(content.getbuffer())

    def codes(self) -> tuple[str, ...]:
        """The payloads of the QR and bar codes on its pages."""
        return codes_on(self._pages())

    def _pages(self) -> Iterator[Image.Image]:
        begun = time.process_time()
        for page in islice(self._document, CODES_PAGES):
            yield page.render(scale=CODES_PIXELS / max(*page.get_size(), 1.0), may_draw_forms=False).to_pil()
            page.close()
            if time.process_time() > begun + CODES_S:
                return

    def save_thumbnail(self, path: Path) -> None:
        """Its first page."""
        if not len(self._document):
            raise unreadable()
        page = self._document[0]
        longest = max(*page.get_size(), 1.0)
        image = page.render(scale=THUMBNAIL_PIXELS / longest, may_draw_forms=False).to_pil()
        image.convert("RGB").save(path, "WEBP", quality=80)
