"""Adding evidence: announced to the server, uploaded to its store, completed.

An upload that breaks off goes on where it stopped. The store's requests are signed for some minutes; when they have
run out, the server signs new ones.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from chatserver.client.frames import Notice, noticed
from chatserver.client.web import Web
from policies.errors import BadRequest, ChatError, Refused, Unavailable
from policies.evidence import EXTENSIONS, MediaType
from policies.instant import rfc3339
from policies.vocabulary import EvidenceKind

CHUNK_BYTES: Final = 256 * 1024
UPLOAD_TIMEOUT_S: Final = 60.0
"""How long nothing may move."""
FRESH_TRIES: Final = 3
"""Tries in a row that the store may refuse although they were signed anew; then it is not for their age."""
COMPLETED_IN_S: Final = 180.0
"""How long the server may look at a file."""

Progress = Callable[[int, int], None]
"""Called with the bytes that were sent, and those there are. They go back when something has to be sent again."""


@dataclass(frozen=True, slots=True)
class Attached:
    """Evidence that was added. ``state`` is ``sealed``, or ``quarantined`` while the server's virus scanner has not
    looked at it; ``seq`` of its entry, None until it is sealed. ``notice``: its name, caption or a code in it breaks
    a rule of the platform, and what became of that."""

    id: str
    state: str
    seq: int | None
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is to be added. ``content_type`` follows from the filename unless it is said."""

    content: Path | bytes
    filename: str
    kind: EvidenceKind
    caption: str = ""
    content_type: str | None = None
    captured_at: datetime | None = None
    origin: str = ""

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def announcement(self) -> dict[str, Any]:
        """What the server is told of it. Reads all of a file, and so takes a while."""
        if isinstance(self.content, bytes):
            sha256 = hashlib.sha256(self.content).hexdigest()
        else:
            with self.content.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        said = {
            "filename": self.filename,
            "content_type": self.content_type or media_type_of(self.filename),
            "size": self.size,
            "sha256": sha256,
            "kind": self.kind.value,
            "caption": self.caption,
            "origin": self.origin,
        }
        return said if self.captured_at is None else said | {"captured_at": rfc3339(self.captured_at)}

    def read(self, start: int, size: int) -> bytes:
        """A piece of it."""
        if isinstance(self.content, bytes):
            return self.content[start : start + size]
        with self.content.open("rb") as file:
            file.seek(start)
            return file.read(size)


def media_type_of(filename: str) -> str:
    """The type of a file by its name.

    Raises:
        BadRequest: files of this kind are not taken.
    """
    extension = filename.rpartition(".")[2].lower()
    for media_type, extensions in EXTENSIONS.items():
        if extension in extensions:
            return media_type.value
    raise BadRequest(f"Files of this kind are not taken; these are: {', '.join(MediaType)}.")


async def attach(web: Web, room: str, attachment: Attachment, progress: Progress | None = None) -> Attached:
    """Add evidence to a room. Goes on after lost connections and temporary errors, without a time limit.

    Raises:
        OSError: the file cannot be read.
        BadRequest, TooLarge, Refused: the server does not take it; ``details["rule"]`` says why.
        ChatError: another final error, of the server or its store.
    """
    said = await asyncio.to_thread(attachment.announcement)
    path = f"/v1/rooms/{quote(room, safe='')}/evidence"
    async with web.connected() as client, web.connected(UPLOAD_TIMEOUT_S) as store:
        announced = (await web.ask(client, "POST", path, said, {"Idempotency-Key": uuid4().hex})).json()
        evidence = str(announced["evidence_id"])
        sending = _Sending(web, store, attachment, said["size"], progress)
        await _upload(web, client, sending, evidence, announced["upload"])
    async with web.connected(COMPLETED_IN_S) as client:
        while True:
            try:
                told = (await web.ask(client, "POST", f"/v1/evidence/{evidence}/complete")).json()
            except Refused as refusal:
                if refusal.details.get("rule") != "not_uploaded":
                    raise
                # The store had answered, and yet has not got it: from the beginning, as far as anything is missing.
                async with web.connected(UPLOAD_TIMEOUT_S) as store:
                    sending = _Sending(web, store, attachment, said["size"], progress)
                    await _upload(web, client, sending, evidence, await _signed_anew(web, client, evidence))
                continue
            return Attached(evidence, str(told["state"]), told.get("seq"), noticed(told))


async def _upload(web: Web, client: Any, sending: "_Sending", evidence: str, upload: Mapping[str, Any]) -> None:
    tries = refused = 0
    while True:
        try:
            await sending.send(upload)
        except _Expired:
            refused += 1
            if refused > FRESH_TRIES:
                raise ChatError("The store refuses the upload.") from None
        except Unavailable as error:
            refused = 0
            await web.pause(tries, error)
            tries += 1
        else:
            return
        upload = await _signed_anew(web, client, evidence)


async def _signed_anew(web: Web, client: Any, evidence: str) -> Mapping[str, Any]:
    signed: Mapping[str, Any] = (await web.ask(client, "GET", f"/v1/evidence/{evidence}/upload")).json()["upload"]
    return signed


class _Expired(Exception):
    """The store does not take a signed request (any more)."""


class _Sending:
    """Sends the bytes to the store."""

    def __init__(self, web: Web, store: Any, attachment: Attachment, size: int, progress: Progress | None) -> None:
        self._web = web
        self._store = store
        self._attachment = attachment
        self._size = size
        self._progress = progress

    async def send(self, upload: Mapping[str, Any]) -> None:
        """Send all, or the parts that are missing."""
        if "parts" not in upload:
            await self._send(upload, 0, self._size)
            return
        part_size = int(upload["part_size"])
        for part in upload["parts"]:
            start = (int(part["number"]) - 1) * part_size
            await self._send(part, start, min(part_size, self._size - start))

    async def _send(self, request: Mapping[str, Any], start: int, size: int) -> None:
        import httpx

        try:
            answer = await self._store.request(
                request["method"], request["url"], headers=request["headers"], content=self._chunks(start, size)
            )
        except httpx.TransportError as error:
            raise Unavailable("The store cannot be reached.") from error
        if answer.is_success or answer.status_code == 412:  # it has it already: an answer was lost
            self._report(start + size)
        elif answer.status_code in (403, 404):
            raise _Expired
        elif answer.is_server_error or answer.status_code in (408, 409, 429):
            raise Unavailable(f"The store answered with HTTP status {answer.status_code}.")
        else:
            raise ChatError(f"The store refuses the upload: {answer.status_code} {_code(answer)}.")

    async def _chunks(self, start: int, size: int) -> AsyncIterator[bytes]:
        end = start + size
        while start < end:
            chunk = await asyncio.to_thread(self._attachment.read, start, min(CHUNK_BYTES, end - start))
            if not chunk:
                raise BadRequest("The file has become shorter while it was sent.")
            yield chunk
            start += len(chunk)
            self._report(start)

    def _report(self, sent: int) -> None:
        if self._progress is not None:
            self._progress(sent, self._size)


def _code(answer: Any) -> str:
    """The store's own word for an error, such as ``BadDigest``."""
    _, found, rest = answer.text.partition("<Code>")
    return rest.partition("</Code>")[0][:64] if found else ""


def attachment_of(
    content: Path | str | bytes,
    *,
    kind: str,
    caption: str = "",
    filename: str | None = None,
    content_type: str | None = None,
    captured_at: datetime | None = None,
    origin: str = "",
) -> Attachment:
    """What ``Room.attach`` was given.

    Raises:
        BadRequest: bytes without a filename, or a kind that there is not.
    """
    if kind not in list(EvidenceKind):
        raise BadRequest(f"Evidence is of one of these kinds: {', '.join(EvidenceKind)}.")
    if not isinstance(content, bytes):
        content = Path(content)
        filename = filename or content.name
    if filename is None:
        raise BadRequest("Bytes need a filename.")
    return Attachment(content, filename, EvidenceKind(kind), caption, content_type, captured_at, origin)
