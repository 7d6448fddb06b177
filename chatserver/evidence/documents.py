"""Looking at PDF documents."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pypdfium2
import pypdfium2.raw

from chatserver.evidence.examination import NotTaken
from chatserver.evidence.images import THUMBNAIL_PIXELS, unreadable


@contextmanager
def opened(path: Path) -> Iterator["Document"]:
    """A PDF document without a password, programs or attachments.

    Raises:
        NotTaken: it cannot be read, or has one of these; also while it is used.
    """
    try:
        with pypdfium2.PdfDocument(path) as document:
            _require_passive(document)
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


class Document:
    """A document whose pages can be read."""

    def __init__(self, document: pypdfium2.PdfDocument) -> None:
        self._document = document

    def save_shown(self, path: Path) -> None:
        """Write its pages into a new document: without author, program, times, actions and hidden layers of data."""
        with pypdfium2.PdfDocument.new() as shown:
            shown.import_pages(self._document)
            shown.save(path)

    def save_thumbnail(self, path: Path) -> None:
        """Its first page."""
        if not len(self._document):
            raise unreadable()
        page = self._document[0]
        longest = max(*page.get_size(), 1.0)
        image = page.render(scale=THUMBNAIL_PIXELS / longest, may_draw_forms=False).to_pil()
        image.convert("RGB").save(path, "WEBP", quality=80)
