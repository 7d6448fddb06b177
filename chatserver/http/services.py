"""What the HTTP API is made from; ``chatserver.app`` makes it and passes it in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chatserver.access import Authenticator
from chatserver.clock import Clock
from chatserver.display_names import DisplayNames
from chatserver.disputes.desk import Desk
from chatserver.evidence.custody import Custody
from chatserver.evidence.intake import Intake
from chatserver.metrics import Metrics
from chatserver.moderation_office import ModerationOffice
from chatserver.screening import TextScreening
from chatserver.settings import Settings
from chatserver.tracing import Tracing
from chatserver.webhooks.desk import WebhookDesk
from policies.contact import Detector
from policies.dispute.policy import Policy
from policies.entry import Entry
from storage.audit import Audit
from storage.cursors import Cursors
from storage.disputes import Disputes
from storage.evidence import EvidenceStore
from storage.holds import Holds
from storage.object_store import ObjectStore
from storage.orders import Orders
from storage.room_log import RoomLog
from storage.rooms import Rooms

Announce = Callable[[Sequence[Entry]], Awaitable[None]]
"""Told the entries that a request has made durable; tells the members of their room."""
Check = Callable[[], Awaitable[object]]
"""Looks whether something the server depends on works: returns when it does, raises when it does not."""
AdvanceClock = Callable[[timedelta], Awaitable[datetime]]
"""Moves the sandbox's clock in all processes and returns the new time."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that routes use.

    ``checks`` are what ``/readyz`` asks, by name; ``advance_clock`` is only called in sandbox mode; ``policy`` is the
    one in force, which says what may be opened now. ``real`` is the time that no sandbox moves: tokens live by it,
    since others mint them too.
    """

    settings: Settings
    version: str
    clock: Clock
    real: Clock
    auth: Authenticator
    orders: Orders
    rooms: Rooms
    log: RoomLog
    cursors: Cursors
    metrics: Metrics
    tracing: Tracing
    announce: Announce
    checks: Mapping[str, Check]
    advance_clock: AdvanceClock
    policy: Policy
    disputes: Disputes
    desk: Desk
    audit: Audit
    webhooks: WebhookDesk
    evidence: EvidenceStore
    intake: Intake
    custody: Custody
    objects: ObjectStore
    holds: Holds
    detector: Detector
    screening: TextScreening
    names: DisplayNames
    moderation: ModerationOffice
