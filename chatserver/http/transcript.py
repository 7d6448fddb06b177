"""The case file of a room, as JSON, HTML or PDF."""

import asyncio
import re
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from chatserver.http.gate import caller, guarded_route
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import record_read, visible
from chatserver.http.services import Services
from chatserver.transcript.case_file import CaseFile, Cover, Reader, Span
from chatserver.transcript.gathering import CaseFiles, fingerprint
from chatserver.transcript.html import HtmlForm
from chatserver.transcript.json_form import write_json
from chatserver.transcript.pdf import PdfForm
from chatserver.transcript.pictures import with_pictures
from chatserver.transcript.press import Press
from policies.entry import Entry
from policies.errors import ErrorCode
from policies.room import dispute_of
from policies.vocabulary import RoomId

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_CHARS: Final = 100


class Format(StrEnum):
    """``json`` is complete and can be verified; ``html`` and ``pdf`` are for people."""

    JSON = "json"
    HTML = "html"
    PDF = "pdf"


MEDIA_TYPES: Final = {
    Format.JSON: "application/json",
    Format.HTML: "text/html; charset=utf-8",
    Format.PDF: "application/pdf",
}


def router(services: Services) -> APIRouter:
    """``/v1/rooms/{room}/transcript``."""
    settings = services.settings
    files = CaseFiles(services.log, services.rooms, services.orders, services.disputes)
    html = HtmlForm()
    pdf = PdfForm(
        settings.transcript_fonts,
        system_fonts=settings.transcript_system_fonts,
        timeout_s=settings.transcript_timeout_s,
        memory=settings.transcript_memory_bytes,
    )
    press = Press(settings.transcript_presses)
    routes = APIRouter(
        prefix="/v1/rooms",
        tags=["rooms"],
        route_class=guarded_route(services.auth, settings.http_body_bytes),
        responses=described(*USUAL, ErrorCode.NOT_FOUND, ErrorCode.TOO_LARGE),
    )

    @routes.get(
        "/{room}/transcript",
        summary="Take a room's case file",
        response_class=Response,
        responses={
            200: {
                "description": "The case file.",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "text/html": {"schema": {"type": "string"}},
                    "application/pdf": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            304: {"description": "Nothing has changed since the answer that had this `ETag`."},
        },
    )
    async def get_transcript(
        room: str,
        request: Request,
        form: Annotated[Format, Query(alias="format")] = Format.JSON,
        if_none_match: Annotated[str, Header(max_length=1024)] = "",
    ) -> Response:
        """For its members, staff, and keys with `disputes:read`: the whole room in order, with its hashes, as you may
        see it. A dispute's file holds the conversation in the order's room too, and for staff the staff log.

        `json` can be checked by anybody: `chatserver verify FILE`. A room that is too long for `html` or `pdf` is
        answered `too_large`; `json` has no limit.
        """
        facts, who = visible(caller(request), await services.rooms.facts(RoomId(room)))
        await record_read(
            services, who, "room.transcript", dispute=dispute_of(facts), room=facts.id, details={"format": form.value}
        )
        cover = await files.cover(facts, Reader(who.role, who.id), services.clock.now())
        tag = f'W/"{form.value}-{fingerprint(cover)}"'
        headers = {"ETag": tag, "Content-Disposition": _disposition(cover, form)}
        if tag in (each.strip() for each in if_none_match.split(",")):
            return Response(status_code=304, headers={"ETag": tag})
        if form is Format.JSON:
            return StreamingResponse(write_json(cover, files.entries), headers=headers, media_type=MEDIA_TYPES[form])
        async with press.seat():
            case = await files.collect(cover, settings.transcript_entries, settings.transcript_bytes)
            case = await with_pictures(case, services.evidence, services.objects)
            if form is Format.HTML:
                headers["Content-Security-Policy"] = html.policy
                content = await _page(html, case)
            else:
                content = await pdf.write(await _whole(case), case.pictures)
        return Response(content, headers=headers, media_type=MEDIA_TYPES[form])

    return routes


async def _page(html: HtmlForm, case: CaseFile) -> bytes:
    page = bytearray()
    for piece in html.write(case):
        page += piece.encode()
        await asyncio.sleep(0)  # each piece takes milliseconds; between two of them it is the others' turn
    return bytes(page)


async def _whole(case: CaseFile) -> bytes:
    """The JSON form of a case file that is in memory."""
    chains = {chain.span.room.id: chain for chain in (case.main, *case.annexes)}

    async def entries(span: Span) -> AsyncIterator[Entry]:
        for number, entry in enumerate(chains[span.room.id].entries):
            if number % 500 == 499:
                await asyncio.sleep(0)
            yield entry

    return b"".join([piece async for piece in write_json(case.cover, entries)])


def _disposition(cover: Cover, form: Format) -> str:
    """To be saved under a name that any file system takes; a page is shown."""
    main = cover.main
    name = _UNSAFE.sub("_", main.room.id)[:_NAME_CHARS]
    how = "inline" if form is Format.HTML else "attachment"
    return f'{how}; filename="case-file-{name}-{main.head.seq}.{form.value}"'
