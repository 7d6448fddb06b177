"""Taking evidence in: announced, uploaded by the client itself, looked at, sealed.

Nothing that the uploader says is believed. The bytes are read back from the store, hashed and looked at, and exactly
the object that was looked at is copied to where no signed upload reaches. Each step leaves a state behind from which
anybody can go on, so a crash loses nothing, and doing a step twice does nothing twice.
"""

import asyncio
import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

import structlog

from chatserver.clock import Clock
from chatserver.evidence.clearing import INCOMING, SEALED, SHOWN, THUMBNAILS, clear, object_key
from chatserver.evidence.examination import Examined, Rejected, Wanted
from chatserver.evidence.examiner import Examiner
from chatserver.evidence.register import Register
from chatserver.evidence.scanner import Scanner, ScannerAway
from policies.dispute.state import EvidenceRequest
from policies.errors import ChatError, Conflict, NotFound, Refused, Unavailable
from policies.evidence import Announcement, EvidenceId, EvidenceRules, MediaType, check_announcement, may_add
from policies.instant import instant
from policies.room import RoomFacts, dispute_of
from policies.vocabulary import EvidenceKind, Role, RoomId, UserId
from storage.disputes import Disputes
from storage.evidence import Counts, Evidence, EvidenceState, EvidenceStore, Seen
from storage.object_store import ObjectChanged, ObjectStore, SignedRequest, StoredObject

THUMBNAIL_TYPE: Final = "image/webp"
KEYED_ID_CHARS: Final = 32
FILES_AT_ONCE: Final = 16
"""Files that a process has on its disk at the same time; who completes more has to wait."""

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """How a client uploads: one request, or those of ``parts`` by number that have not arrived yet."""

    expires_at: datetime
    whole: SignedRequest | None = None
    parts: Mapping[int, SignedRequest] | None = None


class Intake:
    """Takes evidence in.

    Args:
        store: keeps the objects.
        known: keeps what is known of them.
        disputes: says what evidence was asked for.
        register: writes the entries.
        examiner: looks at files.
        scanner: looks for what is harmful; None: nobody does.
        rules: the limits in force.
        new_id: gives a fresh id at each call.
    """

    def __init__(
        self,
        store: ObjectStore,
        known: EvidenceStore,
        disputes: Disputes,
        register: Register,
        examiner: Examiner,
        scanner: Scanner | None,
        rules: EvidenceRules,
        clock: Clock,
        new_id: Callable[[], EvidenceId],
    ) -> None:
        self._store = store
        self._known = known
        self._disputes = disputes
        self._register = register
        self._examiner = examiner
        self._scanner = scanner
        self._rules = rules
        self._clock = clock
        self._new_id = new_id
        self._turns = asyncio.Semaphore(FILES_AT_ONCE)
        self._warned = False

    async def announce(
        self, facts: RoomFacts, uploader: UserId, name: str, role: Role, said: Announcement, key: str | None = None
    ) -> tuple[Evidence, Upload]:
        """Take an announcement, and sign the upload.

        Args:
            key: the uploader's own name for it in this room: said again, it is the same evidence.

        Raises:
            Forbidden, RoomClosed: as ``policies.evidence.may_add``.
            BadRequest, TooLarge, Refused: as ``policies.evidence.check_announcement``.
            Conflict: something else was announced under this key, or its upload is over.
            Unavailable: the database or the store does not answer.
        """
        may_add(facts, role)
        if said.captured_at is not None:
            said = replace(said, captured_at=instant(said.captured_at))
        new = self._new_id() if key is None else _keyed_id(facts.id, uploader, key)
        if key is not None and (known := await self._known.get(new)) is not None:
            return await self._announced(known, said)
        counts = await self._known.counts(facts.id, role, uploader)
        media_type = self._check(said, counts)
        now = instant(self._clock.now())
        evidence = Evidence(
            id=new,
            room=facts.id,
            dispute=dispute_of(facts),
            uploader=uploader,
            uploader_name=name,
            role=role,
            said=said,
            media_type=media_type,
            state=EvidenceState.ANNOUNCED,
            announced_at=now,
            touched_at=now,
        )
        if said.size >= self._rules.parts_from:
            upload = await self._store.begin_parts(object_key(INCOMING, evidence), media_type.value)
            evidence = evidence.now(EvidenceState.ANNOUNCED, now, upload=upload)
        if not await self._known.add(evidence):
            raise Unavailable("The same is being announced right now.", retry_after_ms=200)
        # Several may have been announced at once: each that finds too many now takes itself back.
        counts = await self._known.counts(facts.id, role, uploader)
        try:
            self._check(said, counts, own=1)
        except Refused:
            await self.abandon(evidence)
            raise
        return evidence, await self._sign(evidence)

    def _check(self, said: Announcement, counts: Counts, own: int = 0) -> MediaType:
        """Check an announcement; ``own``: as many of those that were counted are this one itself."""
        of_kind = counts.kinds.get(said.kind, 0)
        return check_announcement(
            said, self._rules, added=counts.added - own, of_kind=of_kind - own, pending=counts.pending - own
        )

    async def _announced(self, known: Evidence, said: Announcement) -> tuple[Evidence, Upload]:
        """The answer to an announcement that came before."""
        if known.said != said:
            raise Conflict("Something else was announced under this Idempotency-Key.", details={"evidence": known.id})
        if known.state is not EvidenceState.ANNOUNCED:
            details = {"evidence": known.id, "state": known.state.value}
            raise Conflict("This upload is over.", details=details)
        return known, await self._sign(known)

    async def resume(self, evidence: EvidenceId, uploader: UserId) -> tuple[Evidence, Upload]:
        """Sign the upload anew; of one in parts, those that have not arrived.

        Raises:
            NotFound: there is no such evidence of this user.
            Conflict: it is not being uploaded any more.
        """
        known = await self._own(evidence, uploader)
        if known.state is not EvidenceState.ANNOUNCED:
            raise Conflict("This upload is over.", details={"state": known.state.value})
        return known, await self._sign(known)

    async def complete(self, evidence: EvidenceId, uploader: UserId) -> Evidence:
        """Look at what was uploaded, and seal it.

        Returns:
            The evidence: sealed, or quarantined while the scanner does not answer.

        Raises:
            NotFound: there is no such evidence of this user, or its time was up.
            Refused: ``rule`` ``not_uploaded``: try again when it is; any other: it is not taken and nothing is kept.
            Unavailable: the same may be called again.
        """
        known = await self._own(evidence, uploader)
        if known.state is EvidenceState.ANNOUNCED:
            try:
                return await self.take(known)
            except (Refused, Unavailable):
                # Perhaps because the same call came twice, and the other one was faster.
                known = await self._own(evidence, uploader)
                if known.state in (EvidenceState.ANNOUNCED, EvidenceState.REFUSED):
                    raise
        if known.state is EvidenceState.SEALING:
            return await self.finish(known)
        if known.state is EvidenceState.REFUSED:
            raise Refused("This file was not taken.", details={"rule": known.rule})
        if known.state in (EvidenceState.ABANDONED, EvidenceState.DELETED):
            raise NotFound("There is no such evidence.")
        return known

    async def take(self, evidence: Evidence) -> Evidence:
        """Look at an announced or quarantined file; seal it, or let it wait in quarantine. Raises as ``complete``."""
        stored = await self._arrived(evidence)
        if stored.size != evidence.said.size:
            await self._refuse(evidence, "wrong_size", f"The file has {stored.size} bytes, not {evidence.said.size}.")
        async with self._turns:
            with tempfile.TemporaryDirectory(prefix="evidence-") as name:
                folder = Path(name)
                try:
                    await self._store.fetch(stored, folder / "file")
                except ObjectChanged:
                    await self._refuse(evidence, "changed", "The file was replaced while it was looked at.")
                examined = await self._look(evidence, folder)
                if not await self._is_clean(evidence, folder / "file"):
                    if evidence.state is EvidenceState.QUARANTINED:
                        return evidence
                    return await self._advance(evidence, evidence.now(EvidenceState.QUARANTINED, self._clock.now()))
                return await self.finish(await self._seal(evidence, stored, examined))

    async def finish(self, evidence: Evidence) -> Evidence:
        """Write the entry of evidence whose objects are sealed. Raises as ``complete``."""
        try:
            seq = await self._register.added(evidence, late=await self._is_late(evidence))
        except Unavailable:
            raise
        except ChatError as refusal:  # the room was closed meanwhile, or the agent has lost the claim
            rule = str(refusal.details.get("rule", refusal.code.value))
            await self._refuse(evidence, rule, refusal.message)
        # Before it counts as sealed: whoever goes on after a crash deletes it too.
        await self._store.delete([object_key(INCOMING, evidence)])
        return await self._advance(evidence, evidence.now(EvidenceState.SEALED, self._clock.now(), seq=seq))

    async def abandon(self, evidence: Evidence) -> Evidence:
        """Drop an upload that nobody completed, or that its uploader does not want any more.

        Raises:
            Unavailable: somebody completes it right now, or there is no answer; the same may be called again.
        """
        ended = evidence.now(EvidenceState.ABANDONED, self._clock.now(), leftover=True)
        ended = await self._advance(evidence, ended)
        await self.clear(ended)
        return ended

    async def delete(self, evidence: Evidence) -> None:
        """Delete what is kept of a piece, in any state. Its entry and its hash stay. Raises as ``abandon``."""
        ended = evidence.now(EvidenceState.DELETED, self._clock.now(), leftover=True)
        await self.clear(await self._advance(evidence, ended))

    async def clear(self, evidence: Evidence) -> None:
        """Delete the objects of a piece that has ended; again, if it was not finished. Raises ``Unavailable``."""
        await clear(self._store, self._known, evidence)

    async def _own(self, evidence: EvidenceId, uploader: UserId) -> Evidence:
        known = await self._known.get(evidence)
        if known is None or known.uploader != uploader:
            raise NotFound("There is no such evidence.")
        return known

    async def _sign(self, evidence: Evidence) -> Upload:
        key, said = object_key(INCOMING, evidence), evidence.said
        expires_s = int(self._rules.upload_expires.total_seconds())
        expires_at = instant(self._clock.now() + timedelta(seconds=expires_s))
        if evidence.upload is None:
            signed = await self._store.sign_put(
                key,
                content_type=evidence.media_type.value,
                size=said.size,
                sha256=bytes.fromhex(said.sha256),
                expires_s=expires_s,
            )
            return Upload(expires_at, whole=signed)
        upload, missing = await self._missing(evidence, evidence.upload)
        parts = {}
        for number in missing:
            size = min(self._rules.part_bytes, said.size - (number - 1) * self._rules.part_bytes)
            parts[number] = await self._store.sign_part(key, upload, number, size=size, expires_s=expires_s)
        return Upload(expires_at, parts=parts)

    async def _missing(self, evidence: Evidence, upload: str) -> tuple[str, list[int]]:
        """Of an upload in parts the store's name for it, and the numbers that have not arrived."""
        key = object_key(INCOMING, evidence)
        parts = await self._store.parts(key, upload)
        if parts is None:
            if await self._store.look(key) is not None:  # they were joined before a crash
                return upload, []
            # The store has dropped it, as its lifecycle rule does after days: from the beginning.
            logger.info("evidence_upload_begun_anew", evidence=evidence.id, room=evidence.room)
            begun = await self._store.begin_parts(key, evidence.media_type.value)
            anew = evidence.now(EvidenceState.ANNOUNCED, self._clock.now(), upload=begun)
            upload = (await self._advance(evidence, anew)).upload or begun
        arrived = {part.number for part in parts or ()}
        count = math.ceil(evidence.said.size / self._rules.part_bytes)
        return upload, [number for number in range(1, count + 1) if number not in arrived]

    async def _arrived(self, evidence: Evidence) -> StoredObject:
        """What was uploaded."""
        key = object_key(INCOMING, evidence)
        if evidence.upload is not None:
            parts = await self._store.parts(key, evidence.upload)  # None when they were joined before a crash
            if parts is not None:
                if sum(part.size for part in parts) < evidence.said.size:
                    raise _not_uploaded()
                await self._store.join_parts(key, evidence.upload, parts)
        stored = await self._store.look(key)
        if stored is None:
            raise _not_uploaded()
        return stored

    async def _look(self, evidence: Evidence, folder: Path) -> Examined:
        wanted = Wanted(
            path=folder / "file",
            folder=folder,
            media_type=evidence.media_type,
            sha256=evidence.said.sha256,
            pixels=self._rules.pixels,
        )
        found = await self._examiner.look(wanted)
        if isinstance(found, Rejected):
            await self._refuse(evidence, found.rule, found.message)
        return found

    async def _is_clean(self, evidence: Evidence, path: Path) -> bool:
        """Whether the scanner says so; False when it does not say anything."""
        if self._scanner is None:
            return True
        try:
            found = await self._scanner.scan(path)
        except ScannerAway as away:
            logger.warning("evidence_waits_for_scanner", evidence=evidence.id, reason=str(away))
            return False
        if found is not None:
            logger.warning("evidence_infected", evidence=evidence.id, room=evidence.room, found=found)
            await self._refuse(evidence, "infected", "The virus scanner does not let this file pass.")
        return True

    async def _seal(self, evidence: Evidence, stored: StoredObject, examined: Examined) -> Evidence:
        try:
            original = await self._store.seal(stored, object_key(SEALED, evidence))
        except ObjectChanged:
            await self._refuse(evidence, "changed", "The file was replaced while it was looked at.")
        if not original.versioned and not self._warned:
            # Once in a process: a signed download is of whatever stands under its key until it expires.
            self._warned = True
            logger.warning("evidence_bucket_keeps_no_versions", advice="turn versioning on for the bucket")
        shown = thumbnail = None
        if examined.shown is not None:
            shown = await self._store.put_file(object_key(SHOWN, evidence), examined.shown, evidence.media_type.value)
        if examined.thumbnail is not None:
            thumbnail = await self._store.put_file(object_key(THUMBNAILS, evidence), examined.thumbnail, THUMBNAIL_TYPE)
        seen = Seen(examined.width, examined.height, examined.captured_at, examined.codes)
        sealing = evidence.now(
            EvidenceState.SEALING, self._clock.now(), original=original, shown=shown, thumbnail=thumbnail, seen=seen
        )
        return await self._advance(evidence, sealing)

    async def _is_late(self, evidence: Evidence) -> bool:
        """Whether it was asked for, and nothing that fits came in time."""
        if evidence.dispute is None:
            return False
        current = await self._disputes.current(evidence.dispute)
        requests = current.dispute.requests if current is not None else ()
        before = [(each.said.kind, each.touched_at) for each in await self._known.of_room(evidence.room)
                  if each.role is evidence.role]  # fmt: skip
        return any(
            was_missed(request, evidence.role, evidence.said.kind, self._clock.now(), before) for request in requests
        )

    async def _refuse(self, evidence: Evidence, rule: str, message: str) -> NoReturn:
        # The state first: whoever has sealed it meanwhile needs the objects.
        ended = evidence.now(EvidenceState.REFUSED, self._clock.now(), rule=rule, leftover=True)
        await self.clear(await self._advance(evidence, ended))
        logger.info("evidence_refused", evidence=evidence.id, room=evidence.room, rule=rule)
        raise Refused(message, details={"rule": rule})

    async def _advance(self, before: Evidence, after: Evidence) -> Evidence:
        """Keep the next state. When somebody else did the same step meanwhile, theirs holds."""
        if await self._known.advance(before, after):
            return after
        known = await self._known.get(before.id)
        if known is None or known.state is not after.state:
            raise Unavailable("Somebody else is at this evidence right now.", retry_after_ms=500)
        return known


def was_missed(
    request: EvidenceRequest,
    side: Role,
    kind: EvidenceKind,
    now: datetime,
    before: list[tuple[EvidenceKind, datetime]],
) -> bool:
    """Whether evidence of a kind comes after a request for it was due, and nothing that fits it had come.

    Args:
        before: kinds and times of what the side had added.
    """
    if request.of is not side or (request.kinds and kind not in request.kinds) or now <= request.due_at:
        return False
    return not any((not request.kinds or each in request.kinds) and at <= request.due_at for each, at in before)


def _keyed_id(room: RoomId, uploader: UserId, key: str) -> EvidenceId:
    """The id of what somebody announces in a room under a key. Nobody else can have it: it is made of who they are."""
    named = json.dumps(["evidence", room, uploader, key]).encode()
    return EvidenceId(hashlib.sha256(named).hexdigest()[:KEYED_ID_CHARS])


def _not_uploaded() -> Refused:
    return Refused("The file has not been uploaded yet.", details={"rule": "not_uploaded"})
