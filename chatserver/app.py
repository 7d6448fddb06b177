"""The application of one process: every part made once, and passed to those that use it."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from secrets import token_hex

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import WebSocketRoute

from chatserver.access import Authenticator
from chatserver.auth import TokenRules, TokenVerifier
from chatserver.clock import ShiftedClock, SystemClock
from chatserver.database import mongo_config
from chatserver.display_names import DisplayNames
from chatserver.disputes.desk import DISPUTE_ID_CHARS, Desk
from chatserver.disputes.ledger import Ledger
from chatserver.evidence.office import evidence_office
from chatserver.http.api import create_api
from chatserver.http.services import Services
from chatserver.hub.endpoint import Endpoint
from chatserver.hub.hub import Hub, HubParts
from chatserver.hub.redis_url import close_redis, open_redis
from chatserver.metrics import Metrics
from chatserver.moderation_office import moderation_office
from chatserver.observers import CommitMetrics, DeskMetrics
from chatserver.policy_file import load_policy
from chatserver.protocol import PATH
from chatserver.salts import Salts
from chatserver.screening import TextScreening
from chatserver.settings import Settings
from chatserver.tracing import Tracing
from chatserver.webhooks.setup import webhook_desk
from policies.conduct_words import load_words
from policies.contact import Detector
from policies.entry import Entry
from policies.errors import Unavailable
from policies.screener import Screener
from policies.vocabulary import DisputeId
from storage import schema
from storage.api_keys import ApiKeys
from storage.audit import Audit
from storage.claims import Claims
from storage.client import open_database
from storage.commit import GroupCommit
from storage.cursors import Cursors
from storage.disputes import Disputes
from storage.errors import UnusableDatabase
from storage.orders import Orders
from storage.outbox import Outbox
from storage.revocations import Revocations
from storage.room_log import RoomLog
from storage.rooms import Rooms
from storage.sandbox import SandboxClock
from storage.unread import Unread


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application of one server process; its lifespan starts and stops the hub.

    It must be served by uvicorn with ``ws=chatserver.hub.socket.FrameSocket``, as ``chatserver serve`` does. While it
    runs, ``app.state.hub`` is the hub; the server drains it before it closes sockets.
    """
    parts = _Parts(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with parts.running() as hub:
            app.state.hub = hub
            yield

    endpoint = Endpoint(lambda: app.state.hub, settings.allowed_origins, lambda: token_hex(8))
    app = create_api(parts.services, lifespan)
    app.router.routes.append(WebSocketRoute(PATH, endpoint.open))
    return app


class _Parts:
    """What the routes and the hub share."""

    def __init__(self, settings: Settings) -> None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self.settings = settings
        self.clock = ShiftedClock()
        self.real = SystemClock()
        self.metrics = Metrics(CollectorRegistry(), Path(folder) if folder else None)
        self.database = open_database(mongo_config(settings))
        self.redis = open_redis(settings.redis_url.get_secret_value())
        self.commit = GroupCommit(
            self.database,
            batch=settings.commit_batch,
            concurrency=settings.commit_concurrency,
            observer=CommitMetrics(self.metrics),
        )
        self.log = RoomLog(self.database, self.commit)
        self.rooms = Rooms(self.database)
        self.cursors = Cursors(self.database)
        self.revocations = Revocations(self.database)
        self.sandbox = SandboxClock(self.database)
        self.policy = load_policy(settings.policy_file)
        self.detector = Detector(self.policy.contact)
        load_words()  # Not with the first message that somebody waits for.
        self.screener = Screener(self.detector, self.policy.conduct, self.policy.secrets)
        self.names = DisplayNames(lambda: self.screener)
        self.auth = Authenticator(
            TokenVerifier(TokenRules.of(settings), self.real),
            ApiKeys(self.database),
            self.revocations,
            self.metrics,
            names=self.names,
        )
        self.tracing = Tracing.to(settings.otlp_endpoint)
        self.salts = Salts()
        self.hub: Hub | None = None
        self.orders = Orders(self.database, self.log, self.rooms, self.salts)
        self.screening = TextScreening(lambda: self.screener, self.orders, self.clock)
        self.disputes = Disputes(self.database, self.log)
        self.claims = Claims(self.database)
        self.audit = Audit(self.database, timedelta(days=settings.audit_days) if settings.audit_days else None)
        self.desk = Desk(
            Ledger(
                self.log,
                self.rooms,
                self.orders,
                self.disputes,
                Outbox(self.database),
                self.claims,
                timedelta(seconds=settings.claim_lease_s),
            ),
            clock=self.clock,
            salt=self.salts,
            new_id=lambda: DisputeId(token_hex(DISPUTE_ID_CHARS // 2)),
            policy=lambda: self.policy,
            announce=self._announce,
            observer=DeskMetrics(self.metrics),
        )
        self.moderation = moderation_office(
            self.database,
            self.desk,
            self.log,
            self.rooms,
            self.audit,
            strikes=self.policy.strikes,
            clock=self.clock,
            salt=self.salts,
            announce=self._announce,
        )
        self.webhooks = webhook_desk(settings, self.database, self.clock)
        self.office = evidence_office(
            settings,
            self.database,
            self.log,
            self.rooms,
            self.disputes,
            self.desk,
            clock=self.clock,
            salt=self.salts,
            announce=self._announce,
            rules=self.policy.evidence,
            screening=self.screening,
            swapped=self.metrics.evidence_swapped.inc,
        )
        self.services = Services(
            settings=settings,
            version=version("dispute-chat-server"),
            clock=self.clock,
            real=self.real,
            auth=self.auth,
            orders=self.orders,
            rooms=self.rooms,
            log=self.log,
            cursors=self.cursors,
            metrics=self.metrics,
            tracing=self.tracing,
            announce=self._announce,
            checks={"mongodb": self.database.ping, "redis": self._check_redis},
            advance_clock=self._advance_clock,
            policy=self.policy,
            disputes=self.disputes,
            desk=self.desk,
            audit=self.audit,
            webhooks=self.webhooks,
            evidence=self.office.known,
            intake=self.office.intake,
            custody=self.office.custody,
            objects=self.office.store,
            holds=self.office.holds,
            detector=self.detector,
            screening=self.screening,
            names=self.names,
            moderation=self.moderation,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
        """Start everything; stop it again in the opposite order, with nothing submitted left unwritten."""
        if await schema.check(self.database):
            raise UnusableDatabase("the database is not prepared for this version: run 'chatserver migrate' first")
        if self.settings.sandbox:
            self.clock.offset = await self.sandbox.offset()
        hub = self.hub = Hub(
            HubParts(
                hub_id=token_hex(6),
                settings=self.settings,
                clock=self.clock,
                real=self.real,
                random=SystemRandom(),
                salt=self.salts,
                metrics=self.metrics,
                tracing=self.tracing,
                redis=self.redis,
                log=self.log,
                rooms=self.rooms,
                cursors=self.cursors,
                revocations=self.revocations,
                desk=self.desk,
                disputes=self.disputes,
                claims=self.claims,
                audit=self.audit,
                unread=Unread(self.database, timedelta(seconds=self.settings.unread_after_s)),
                evidence=self.office.known,
                orders=self.orders,
                screener=lambda: self.screener,
                moderation=self.moderation,
                auth=self.auth,
            )
        )
        await hub.start()
        try:
            yield hub
        finally:
            await self.desk.close()
            await self.commit.close()
            await hub.stop()
            await self.auth.close()
            await self.webhooks.close()
            await self.office.store.close()
            await close_redis(self.redis)
            await self.database.close()
            self.tracing.close()

    async def _announce(self, entries: Sequence[Entry]) -> None:
        if self.hub is not None:
            self.hub.announce(entries)

    async def _check_redis(self) -> None:
        if self.hub is None or not self.hub.bus.alive:
            raise Unavailable("Redis subscriptions are not alive")

    async def _advance_clock(self, by: timedelta) -> datetime:
        self.clock.offset = await self.sandbox.advance(by)
        if self.hub is not None:
            self.hub.tell_clock(self.clock.offset)
        return self.clock.now()
