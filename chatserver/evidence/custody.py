"""Giving sealed evidence out, and taking it back."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import structlog

from chatserver.clock import Clock
from chatserver.evidence.intake import THUMBNAIL_TYPE
from chatserver.evidence.register import Register
from chatserver.rendering import notice_of
from policies.errors import Conflict, Forbidden, NotFound
from policies.evidence import EvidenceId, EvidenceRules, safe_filename
from policies.instant import instant
from policies.vocabulary import STAFF, Role, UserId
from storage.evidence import Evidence, EvidenceState, EvidenceStore
from storage.object_store import ObjectStore, SignedRequest, StoredObject

_FULL_VIEW: Final = STAFF | {Role.SYSTEM}
"""Who sees originals, and what was withdrawn: staff, and the marketplace's back end (which reads as ``system``)."""

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Given:
    """What a reader may download until a time. ``original``: as it was uploaded, not a copy without metadata."""

    expires_at: datetime
    file: SignedRequest
    thumbnail: SignedRequest | None
    original: bool


class Custody:
    """Gives evidence out, and lets its uploader take it back.

    Args:
        store: keeps the objects.
        known: keeps what is known of them.
        register: writes the entries.
        rules: the limits in force.
        swapped: is told of evidence whose object is not the sealed one any more.
    """

    def __init__(
        self,
        store: ObjectStore,
        known: EvidenceStore,
        register: Register,
        rules: EvidenceRules,
        clock: Clock,
        swapped: Callable[[], None],
    ) -> None:
        self._store = store
        self._known = known
        self._register = register
        self._rules = rules
        self._clock = clock
        self._swapped = swapped

    async def find(self, evidence: EvidenceId) -> Evidence:
        """A piece of evidence, whoever may see it.

        Raises:
            NotFound: there is none.
        """
        known = await self._known.get(evidence)
        if known is None:
            raise NotFound("There is no such evidence.")
        return known

    async def shown(self, evidence: Evidence, reader: UserId | None, role: Role) -> Evidence:
        """A piece of evidence as a reader of its room may see it: with the texts that its entry shows them.

        Raises:
            NotFound: its entry is withheld from them.
        """
        if reader == evidence.uploader or role in _FULL_VIEW:
            return evidence
        entry = await self._register.entry(evidence)
        if entry is None or entry.erased:
            return evidence
        if entry.hidden:
            raise NotFound("There is no such evidence.")
        body = entry.written if entry.released else entry.body
        filename, caption, origin = (str(body.get(name, "")) for name in ("filename", "caption", "origin"))
        return replace(evidence, said=replace(evidence.said, filename=filename, caption=caption, origin=origin))

    async def notice(self, evidence: Evidence) -> tuple[str, str] | None:
        """What became of what was said of a piece, for its uploader; None where nothing did."""
        entry = await self._register.entry(evidence)
        return None if entry is None else notice_of(entry.flag)

    async def give(self, evidence: Evidence, reader: UserId | None, role: Role) -> Given:
        """Sign downloads for a reader who may see the room.

        Raises:
            NotFound: the reader may not see it: it was withdrawn, or is not sealed.
            Conflict: ``details["state"]``: what there is to download is not what was sealed, or is gone.
        """
        own = reader == evidence.uploader
        if evidence.state is EvidenceState.DELETED:
            raise Conflict("The time for which this evidence is kept is over.", details={"state": "deleted"})
        hidden = evidence.state is not EvidenceState.SEALED or evidence.withdrawn_at is not None
        if not own and role not in _FULL_VIEW and (hidden or await self._register.is_withdrawn(evidence)):
            raise NotFound("There is no such evidence.")
        if evidence.original is None:
            raise Conflict("This evidence is not sealed yet.", details={"state": evidence.state.value})
        original = own or role in _FULL_VIEW or evidence.shown is None
        given = evidence.original if original or evidence.shown is None else evidence.shown
        # What the other party is shown was made by the server, and may be swapped just as well.
        await self._require_unchanged(evidence, evidence.original, given, evidence.thumbnail)
        expires_s = int(self._rules.download_expires.total_seconds())
        file = await self._store.sign_get(
            given.key,
            content_type=evidence.media_type.value,
            disposition=attachment(safe_filename(evidence.said.filename, evidence.media_type)),
            expires_s=expires_s,
            version=given.version,
        )
        thumbnail = None
        if evidence.thumbnail is not None:
            thumbnail = await self._store.sign_get(
                evidence.thumbnail.key,
                content_type=THUMBNAIL_TYPE,
                disposition="inline",
                expires_s=expires_s,
                version=evidence.thumbnail.version,
            )
        expires_at = instant(self._clock.now() + timedelta(seconds=expires_s))
        return Given(expires_at, file, thumbnail, original)

    async def withdraw(self, evidence: Evidence, uploader: UserId, reason: str) -> Evidence:
        """Hide evidence from the other party. Doing it again changes nothing.

        Raises:
            Forbidden: it is somebody else's.
            Conflict: it is not sealed.
            ChatError: what the rules of the dispute or the room say.
        """
        if evidence.uploader != uploader:
            raise Forbidden("Only who added evidence may withdraw it.")
        if evidence.state is not EvidenceState.SEALED:
            raise Conflict("This evidence is not sealed.", details={"state": evidence.state.value})
        if evidence.withdrawn_at is not None:
            return evidence
        await self._register.withdrawn(evidence, reason)
        now = self._clock.now()
        withdrawn = evidence.now(EvidenceState.SEALED, now, withdrawn_at=instant(now))
        if await self._known.advance(evidence, withdrawn):
            return withdrawn
        return await self.find(evidence.id)

    async def _require_unchanged(self, evidence: Evidence, *kept: StoredObject | None) -> None:
        """Check that what is there now is what was sealed."""
        objects = {each.key: each for each in kept if each is not None}
        found = await asyncio.gather(*map(self._store.look, objects))
        what = state_of(zip(objects.values(), found, strict=True))
        if what is None:
            return
        self._swapped()
        logger.error("evidence_swapped", evidence=evidence.id, room=evidence.room, what=what)
        message = "This evidence cannot be shown: what is stored is not what was sealed."
        raise Conflict(message, details={"state": what})


def state_of(looked: Iterable[tuple[StoredObject, StoredObject | None]]) -> str | None:
    """What has happened to objects that were kept and then looked for: ``gone``, ``changed``, or None."""
    for kept, found in looked:
        if found is None:
            return "gone"
        if not kept.is_still(found):
            return "changed"
    return None


def attachment(filename: str) -> str:
    """A ``Content-Disposition`` that saves under a name of any script (RFC 6266, RFC 8187)."""
    plain = filename.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
