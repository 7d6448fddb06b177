"""Evidence over HTTP: announced and completed here, uploaded to and downloaded from the store itself."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from pydantic import BaseModel, Field, StrictInt

from chatserver.access import BackEnd
from chatserver.auth import Identity
from chatserver.dispute_frames import Side
from chatserver.evidence.custody import Given
from chatserver.evidence.intake import Upload
from chatserver.http.gate import caller, guarded_route, user
from chatserver.http.orders import Time, WrittenTime
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import Reader, record_read, visible
from chatserver.http.services import Services
from chatserver.protocol import AckNotice
from chatserver.rendering import notice_view
from policies.errors import ErrorCode, NotFound
from policies.evidence import FILENAME_CHARS, Announcement, EvidenceId, safe_filename
from policies.names import shown_name
from policies.vocabulary import PARTIES, STAFF, ApiScope, EvidenceKind, Role, RoomId
from storage.evidence import Evidence, EvidenceState
from storage.object_store import SignedRequest

REASON_CHARS: Final = 2_000
KEY_CHARS: Final = 255
DROPPED: Final = (EvidenceState.ANNOUNCED, EvidenceState.QUARANTINED)
"""States in which nobody but its uploader knows of a piece, so that it can go without a trace."""


class EvidenceAnnouncement(BaseModel):
    """What is to be uploaded."""

    filename: str = Field(min_length=1, max_length=FILENAME_CHARS, examples=["parcel.jpg"])
    content_type: str = Field(max_length=255, examples=["image/jpeg"])
    size: StrictInt = Field(description="In bytes.", examples=[482133])
    sha256: str = Field(max_length=64, description="Of the whole file, in lower-case hex.")
    kind: EvidenceKind
    caption: str = Field("", max_length=4000)
    captured_at: Time | None = Field(None, description="When you say it was taken.")
    origin: str = Field("", max_length=255, description="Where it comes from, in your words: `camera`, `gallery` …")


class UploadRequest(BaseModel):
    """A request to the store, to be sent as it is: these headers, a body of just that size."""

    method: str
    url: str
    headers: dict[str, str]


class UploadPart(UploadRequest):
    number: int


class UploadView(BaseModel):
    """How to upload: `url` with all of the file, or each of `parts` with `part_size` bytes of it, the last one less."""

    method: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    parts: list[UploadPart] | None = None
    part_size: int | None = None
    expires_at: WrittenTime


class Announced(BaseModel):
    """The evidence, and how to upload it. Call `complete` then."""

    evidence_id: str
    upload: UploadView


class Download(UploadRequest):
    """A request to the store for the file, as an attachment; to be used soon. `original`: as it was uploaded; otherwise
    it is a copy without what the file told of its maker (place, device, author)."""

    expires_at: WrittenTime
    original: bool
    thumbnail_url: str | None = None


class SeenView(BaseModel):
    """Staff: what the file itself tells. `captured_at` is from its metadata, `codes` what QR and bar codes hold."""

    width: int | None = None
    height: int | None = None
    captured_at: WrittenTime | None = None
    codes: list[str]


class AlikeView(BaseModel):
    """Staff: the same bytes in another place."""

    evidence_id: str
    room: str
    uploader: str


class EvidenceRead(BaseModel):
    """A piece of evidence. `state`: `sealed`, or `quarantined` until the virus scanner has said that it is clean;
    `abandoned` when its uploader has dropped it before."""

    evidence_id: str
    room: str
    state: EvidenceState
    kind: EvidenceKind
    filename: str
    content_type: str
    size: int
    sha256: str
    caption: str
    captured_at: WrittenTime | None = None
    origin: str
    uploader: str
    side: Side | None = Field(None, description="Absent when staff added it.")
    seq: int | None = Field(None, description="Of its entry in the room.")
    withdrawn_at: WrittenTime | None = None
    download: Download | None = None
    seen: SeenView | None = None
    alike: list[AlikeView] | None = None
    notice: AckNotice | None = Field(
        None, description="With `complete`: what became of a name, a caption or a code that breaks a rule."
    )


def router(services: Services) -> APIRouter:
    """``/v1/rooms/{room}/evidence`` and ``/v1/evidence``."""
    routes = APIRouter(
        prefix="/v1",
        tags=["evidence"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        responses=described(*USUAL, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
    )
    evidence_rules = services.policy.evidence

    @routes.post(
        "/rooms/{room}/evidence",
        summary="Announce evidence, and get its upload signed",
        status_code=HTTPStatus.CREATED,
        response_model_exclude_none=True,
        responses=described(ErrorCode.REFUSED, ErrorCode.ROOM_CLOSED, ErrorCode.TOO_LARGE),
    )
    async def announce(
        room: str,
        said: EvidenceAnnouncement,
        request: Request,
        identity: Annotated[Identity, Depends(user)],
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=KEY_CHARS,
                description="Yours, one for each file you mean to add. Sent again after a lost answer it is the "
                "same evidence, its upload signed anew; with other content, or when its upload is over, it is a "
                "`conflict` that names the evidence.",
            ),
        ] = None,
    ) -> Announced:
        """For the parties, and agents. The upload is bound to key, size, type and SHA-256, works once, and expires."""
        facts, reader = visible(caller(request), await services.rooms.facts(RoomId(room)))
        announcement = Announcement(
            said.filename,
            said.content_type,
            said.size,
            said.sha256,
            said.kind,
            said.caption,
            said.captured_at,
            said.origin,
        )
        evidence, upload = await services.intake.announce(
            facts, identity.user_id, shown_name(identity.name, reader.role), reader.role, announcement, idempotency_key
        )
        return Announced(evidence_id=evidence.id, upload=_upload(upload, evidence_rules.part_bytes))

    @routes.get("/evidence/{evidence_id}/upload", summary="Go on with an upload", response_model_exclude_none=True)
    async def resume(evidence_id: str, identity: Annotated[Identity, Depends(user)]) -> Announced:
        """For its uploader: signed anew; of an upload in parts, those that have not arrived."""
        evidence, upload = await services.intake.resume(EvidenceId(evidence_id), identity.user_id)
        return Announced(evidence_id=evidence.id, upload=_upload(upload, evidence_rules.part_bytes))

    @routes.post(
        "/evidence/{evidence_id}/complete",
        summary="Have an uploaded file looked at and sealed",
        response_model_exclude_none=True,
        responses={
            202: {"model": EvidenceRead, "description": "It waits for the virus scanner."},
            **described(ErrorCode.REFUSED, ErrorCode.ROOM_CLOSED),
        },
    )
    async def complete(
        evidence_id: str, response: Response, identity: Annotated[Identity, Depends(user)]
    ) -> EvidenceRead:
        """For its uploader. The server reads the object back, checks size, SHA-256 and real type, and writes
        `evidence.added`. Otherwise it is `refused`: with the rule `not_uploaded` you may try again; with `wrong_size`,
        `wrong_hash`, `wrong_type`, `active_content`, `unreadable`, `too_many_pixels`, `infected`, `changed` or one of
        the dispute's the object is deleted. Calling it again changes nothing. Contact details in its caption or name
        are masked for the other party; a picture or PDF with a code that leads elsewhere is withheld from them until
        support releases its entry.
        """
        evidence = await services.intake.complete(EvidenceId(evidence_id), identity.user_id)
        if evidence.state is EvidenceState.QUARANTINED:
            response.status_code = HTTPStatus.ACCEPTED
        view = _view(evidence, Reader(identity.user_id, evidence.role))
        if (notice := await services.custody.notice(evidence)) is not None:
            view.notice = AckNotice.model_validate(notice_view(notice))
        return view

    @routes.get("/evidence/{evidence_id}", summary="Read and download evidence", response_model_exclude_none=True)
    async def read(evidence_id: str, request: Request) -> EvidenceRead:
        """For members of its room, staff, and keys with `disputes:read`. Access is checked with every call; what staff
        read is on record. When the stored object is not the sealed one any more, that is a `conflict`.
        """
        evidence, reader = await _visible(services, request, evidence_id)
        given = await services.custody.give(evidence, reader.id, reader.role)
        details = {"evidence": evidence.id}
        await record_read(
            services, reader, "evidence.read", dispute=evidence.dispute, room=evidence.room, details=details
        )
        alike = await services.evidence.alike(evidence) if _is_staff(reader) else []
        return _view(evidence, reader, given, alike)

    @routes.delete(
        "/evidence/{evidence_id}",
        summary="Withdraw evidence, or drop an upload",
        response_model_exclude_none=True,
        responses=described(ErrorCode.REFUSED, ErrorCode.ROOM_CLOSED, ErrorCode.TOO_LARGE),
    )
    async def withdraw(
        evidence_id: str,
        request: Request,
        identity: Annotated[Identity, Depends(user)],
        reason: Annotated[str, Body(embed=True, max_length=REASON_CHARS)] = "",
    ) -> EvidenceRead:
        """For its uploader: hidden from the other party from now on. The seal stays, and staff still see it. What is
        not sealed yet is dropped: nothing is kept, no entry says so, and it counts for no limit any more.
        """
        evidence, reader = await _visible(services, request, evidence_id)
        if evidence.uploader == identity.user_id and evidence.state in DROPPED:
            return _view(await services.intake.abandon(evidence), reader)
        return _view(await services.custody.withdraw(evidence, identity.user_id, reason), reader)

    return routes


async def _visible(services: Services, request: Request, evidence_id: str) -> tuple[Evidence, Reader]:
    """The evidence, for one who may see its room. What may not be seen and what is not there are one answer."""
    reading = caller(request)
    if isinstance(reading, BackEnd):
        reading.require(ApiScope.DISPUTES_READ)
    evidence = await services.custody.find(EvidenceId(evidence_id))
    try:
        _, reader = visible(reading, await services.rooms.facts(evidence.room))
    except NotFound:
        raise NotFound("There is no such evidence.") from None
    return await services.custody.shown(evidence, reader.id, reader.role), reader


def _is_staff(reader: Reader) -> bool:
    return reader.role in STAFF or reader.role is Role.SYSTEM


def _request(signed: SignedRequest) -> Mapping[str, Any]:
    return {"method": signed.method, "url": signed.url, "headers": dict(signed.headers)}


def _upload(upload: Upload, part_size: int) -> UploadView:
    if upload.whole is not None:
        return UploadView(**_request(upload.whole), expires_at=upload.expires_at)
    parts = [UploadPart(number=number, **_request(each)) for number, each in (upload.parts or {}).items()]
    return UploadView(parts=parts, part_size=part_size, expires_at=upload.expires_at)


def _view(
    evidence: Evidence, reader: Reader, given: Given | None = None, alike: list[Evidence] | None = None
) -> EvidenceRead:
    said, staff = evidence.said, _is_staff(reader)
    return EvidenceRead(
        evidence_id=evidence.id,
        room=evidence.room,
        state=evidence.state,
        kind=said.kind,
        filename=safe_filename(said.filename, evidence.media_type),
        content_type=evidence.media_type.value,
        size=said.size,
        sha256=said.sha256,
        caption=said.caption,
        captured_at=said.captured_at,
        origin=said.origin,
        uploader=evidence.uploader,
        side=evidence.role.value if evidence.role in PARTIES else None,
        seq=evidence.seq,
        withdrawn_at=evidence.withdrawn_at,
        download=given
        and Download(
            **_request(given.file),
            expires_at=given.expires_at,
            original=given.original,
            thumbnail_url=given.thumbnail.url if given.thumbnail is not None else None,
        ),
        seen=SeenView(
            width=evidence.seen.width,
            height=evidence.seen.height,
            captured_at=evidence.seen.captured_at,
            codes=list(evidence.seen.codes),
        )
        if staff
        else None,
        alike=[AlikeView(evidence_id=each.id, room=each.room, uploader=each.uploader) for each in alike or ()]
        if staff
        else None,
    )
