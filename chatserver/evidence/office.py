"""The parts that evidence is taken in and given out with, made of the settings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from chatserver.clock import Clock
from chatserver.disputes.desk import Desk
from chatserver.evidence.aftercare import Cabinet, EvidenceAftercare
from chatserver.evidence.custody import Custody
from chatserver.evidence.examiner import Examiner
from chatserver.evidence.intake import Intake
from chatserver.evidence.register import Register
from chatserver.evidence.scanner import Clamd
from chatserver.screening import TextScreening
from chatserver.settings import Settings
from policies.entry import Entry
from policies.evidence import EvidenceId, EvidenceRules
from storage.client import Database
from storage.disputes import Disputes
from storage.evidence import EvidenceStore
from storage.holds import Holds
from storage.object_store import ObjectStore, ObjectStoreConfig
from storage.room_log import RoomLog
from storage.rooms import Rooms

EVIDENCE_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class EvidenceOffice:
    """Everything about evidence in one process."""

    store: ObjectStore
    known: EvidenceStore
    intake: Intake
    custody: Custody
    holds: Holds
    aftercare: EvidenceAftercare


def open_store(settings: Settings) -> ObjectStore:
    """The store of the settings; it connects when it is needed."""
    access, secret = settings.s3_access_key.get_secret_value(), settings.s3_secret_key.get_secret_value()
    return ObjectStore(
        ObjectStoreConfig(
            bucket=settings.s3_bucket,
            endpoint=settings.s3_url or None,
            region=settings.s3_region,
            path_style=settings.s3_path_style,
            access_key=access or None,
            secret_key=secret or None,
            timeout_s=settings.s3_timeout_s,
        )
    )


def evidence_office(
    settings: Settings,
    database: Database,
    log: RoomLog,
    rooms: Rooms,
    disputes: Disputes,
    desk: Desk,
    *,
    clock: Clock,
    salt: Callable[[], bytes],
    announce: Callable[[Sequence[Entry]], Awaitable[None]],
    rules: EvidenceRules,
    screening: TextScreening,
    swapped: Callable[[], None],
) -> EvidenceOffice:
    """Make the parts; the arguments are those of ``Intake``, ``Custody`` and ``Register``."""
    store, known, holds = open_store(settings), EvidenceStore(database), Holds(database)
    register = Register(desk, log, rooms, screening, clock, salt, announce)
    scanner = Clamd(settings.scanner_url) if settings.scanner_url else None
    intake = Intake(
        store,
        known,
        disputes,
        register,
        Examiner(),
        scanner,
        rules,
        clock,
        lambda: EvidenceId(token_hex(EVIDENCE_ID_BYTES)),
    )
    custody = Custody(store, known, register, rules, clock, swapped)
    aftercare = EvidenceAftercare(Cabinet(store, known, disputes, rooms, holds), intake, scanner, rules, clock)
    return EvidenceOffice(store, known, intake, custody, holds, aftercare)
