"""The HTTP API on a real MongoDB, called in-process."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from chatserver.access import Authenticator
from chatserver.auth import TokenRules, TokenVerifier, mint
from chatserver.display_names import DisplayNames
from chatserver.disputes.desk import Desk
from chatserver.disputes.ledger import Ledger
from chatserver.evidence.office import EvidenceOffice, evidence_office
from chatserver.http.api import create_api
from chatserver.http.services import Services
from chatserver.metrics import Metrics
from chatserver.moderation_office import moderation_office
from chatserver.policy_file import load_policy
from chatserver.screening import TextScreening
from chatserver.settings import Settings
from chatserver.tracing import Tracing
from chatserver.webhooks.setup import webhook_desk
from policies.contact import Detector
from policies.dispute.commands import Close, Tick
from policies.dispute.policy import Policy
from policies.entry import Author, Draft, Entry
from policies.room import SYSTEM
from policies.screener import Screener
from policies.vocabulary import ApiScope, CommandId, DisputeId, EntryKind, Role, RoomId, UserId, Visibility
from storage import schema
from storage.api_keys import ApiKeys
from storage.audit import Audit
from storage.chain import link
from storage.claims import Claims
from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit
from storage.cursors import Cursors
from storage.disputes import Disputes
from storage.orders import Orders
from storage.outbox import Outbox
from storage.revocations import Revocations
from storage.room_log import RoomLog
from storage.rooms import Rooms
from tests.chatserver.moving_time import HandClock, Stopwatch
from tests.chatserver.tokens import SECRET


def salt() -> bytes:
    return os.urandom(16)


@dataclass
class Backstage:
    """The parts behind an API, and what the API told the hub."""

    services: Services
    clock: HandClock
    watch: Stopwatch
    keys: ApiKeys
    revocations: Revocations
    office: EvidenceOffice
    announced: list[Entry] = field(default_factory=list)
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    """Keeps the ids of one test apart from those of others in the same database."""

    @property
    def order_id(self) -> str:
        return f"o-{self.tag}"

    @property
    def room(self) -> RoomId:
        return RoomId(f"order-{self.order_id}")

    @property
    def buyer(self) -> str:
        return f"buyer-{self.tag}"

    @property
    def seller(self) -> str:
        return f"seller-{self.tag}"

    def report(self, **changed: Any) -> dict[str, Any]:
        """An acceptable order; a change to None removes a field."""
        facts = {
            "buyer": {"id": self.buyer, "name": "Ada"},
            "seller": {"id": self.seller, "name": "Shop", "trust_level": "verified"},
            "title": "A lamp",
            "category": "item",
            "amount": 4990,
            "currency": "EUR",
            "placed_at": "2026-01-30T12:00:00.125Z",
            "details": {"sku": "L-7", "count": 2, "gift": False},
        }
        return {name: value for name, value in {**facts, **changed}.items() if value is not None}

    def token(self, user: str, role: Role | None = None, **changed: Any) -> str:
        claims: dict[str, Any] = {"now": self.clock.now(), "ttl": timedelta(hours=1), "role": role, **changed}
        return mint(SECRET, user, **claims)

    async def key(self, *scopes: ApiScope) -> str:
        return (await self.keys.create("tests", scopes, os.urandom(32), self.clock.now()))[1]

    def opening(self, **changed: Any) -> dict[str, Any]:
        """What opens a dispute of the order; a change to None removes a field."""
        wanted = {
            "order_id": self.order_id,
            "reason": "defective",
            "description": "It does not light up.",
            "desired_resolution": "partial_refund",
            "amount": 1990,
        }
        return {name: value for name, value in {**wanted, **changed}.items() if value is not None}

    async def close(self, dispute: DisputeId) -> None:
        """The buyer withdraws a dispute."""
        author = Author(UserId(self.buyer), Role.BUYER, "Ada")
        await self.services.desk.run(dispute, Close(author, CommandId(uuid.uuid4().hex), "It works now."))

    async def tick(self, dispute: DisputeId) -> None:
        """What is due in a dispute is done."""
        await self.services.desk.run(dispute, Tick(SYSTEM, CommandId(uuid.uuid4().hex)))

    async def say(
        self, author: str, role: Role, text: str, *, visibility: Visibility = Visibility.ALL, command: str | None = None
    ) -> Entry:
        """Put a message into the order room."""
        draft = Draft(
            Author(UserId(author), role, author.title()),
            CommandId(command or uuid.uuid4().hex),
            EntryKind.MESSAGE,
            {"text": text},
            visibility,
        )
        log = self.services.log
        (entry,) = link(self.room, await log.head(self.room), [draft], self.clock.now(), salt)
        outcome = await log.submit([entry])
        assert outcome.failure is None
        return entry


@dataclass
class Caller:
    """Somebody who calls the API."""

    client: httpx.AsyncClient
    headers: dict[str, str]

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.client.get(path, params=params, headers=self.headers)

    async def put(self, path: str, body: Any) -> httpx.Response:
        return await self.client.put(path, json=body, headers=self.headers)

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.client.post(path, json=body, headers=self.headers)


@pytest.fixture(scope="session")
def migrated(mongo_url: str) -> Iterator[str]:
    """A database with the schema; shared by the tests, which use ids of their own."""
    config = MongoConfig(mongo_url, f"http_{uuid.uuid4().hex[:12]}")

    async def prepare() -> None:
        database = open_database(config)
        await schema.migrate(database)
        await database.close()

    async def drop() -> None:
        database = open_database(config)
        await database.drop()
        await database.close()

    asyncio.run(prepare())
    yield config.database
    asyncio.run(drop())


@pytest.fixture
async def database(mongo_url: str, migrated: str) -> AsyncIterator[Database]:
    opened = open_database(MongoConfig(mongo_url, migrated, timeout_s=10))
    yield opened
    await opened.close()


@pytest.fixture
def settings() -> Settings:
    return Settings(jwt_secret=SecretStr(SECRET), http_body_bytes=32 * 1024)


@pytest.fixture(scope="session")
def detector() -> Detector:
    return Detector(Policy().contact)


@pytest.fixture(scope="session")
def screener(detector: Detector) -> Screener:
    """By the rules that hold when nobody says otherwise."""
    policy = Policy()
    return Screener(detector, policy.conduct, policy.secrets)


@pytest.fixture
async def backstage(
    database: Database, settings: Settings, detector: Detector, screener: Screener
) -> AsyncIterator[Backstage]:
    clock, watch, metrics = HandClock(), Stopwatch(), Metrics(CollectorRegistry())
    commit = GroupCommit(database)
    log, rooms = RoomLog(database, commit), Rooms(database)
    orders, disputes, claims = Orders(database, log, rooms, salt), Disputes(database, log), Claims(database)
    names = DisplayNames(lambda: screener)
    keys, revocations = ApiKeys(database), Revocations(database)
    auth = Authenticator(TokenVerifier(TokenRules.of(settings), clock), keys, revocations, metrics, watch, names)
    announced: list[Entry] = []

    async def announce(entries: Sequence[Entry]) -> None:
        announced.extend(entries)

    async def advance(by: timedelta) -> datetime:
        clock.advance(by.total_seconds())
        return clock.now()

    ledger = Ledger(log, rooms, orders, disputes, Outbox(database), claims, timedelta(seconds=30))
    policy = load_policy(settings.policy_file)
    desk = Desk(
        ledger,
        clock=clock,
        salt=salt,
        new_id=lambda: DisputeId(uuid.uuid4().hex[:20]),
        policy=lambda: policy,
        announce=announce,
    )
    screening = TextScreening(lambda: screener, orders, clock)
    webhooks = webhook_desk(settings, database, clock)
    office = evidence_office(
        settings,
        database,
        log,
        rooms,
        disputes,
        desk,
        clock=clock,
        salt=salt,
        announce=announce,
        rules=policy.evidence,
        screening=screening,
        swapped=metrics.evidence_swapped.inc,
    )
    audit = Audit(database)
    moderation = moderation_office(
        database, desk, log, rooms, audit, strikes=policy.strikes, clock=clock, salt=salt, announce=announce
    )
    services = Services(
        settings=settings,
        version="0.0.0",
        clock=clock,
        real=clock,
        auth=auth,
        orders=orders,
        rooms=rooms,
        log=log,
        cursors=Cursors(database),
        metrics=metrics,
        tracing=Tracing(),
        announce=announce,
        checks={"mongodb": database.ping},
        advance_clock=advance,
        policy=policy,
        disputes=disputes,
        desk=desk,
        audit=audit,
        moderation=moderation,
        webhooks=webhooks,
        evidence=office.known,
        intake=office.intake,
        custody=office.custody,
        objects=office.store,
        holds=office.holds,
        detector=detector,
        screening=screening,
        names=names,
    )
    yield Backstage(services, clock, watch, keys, revocations, office, announced)
    await office.store.close()
    await webhooks.close()
    await desk.close()
    await commit.close()
    await auth.close()


@pytest.fixture
def api(backstage: Backstage) -> FastAPI:
    return create_api(backstage.services)


Calling = Callable[..., Caller]


@pytest.fixture
async def calling(api: FastAPI) -> AsyncIterator[Calling]:
    """Makes callers: ``calling(token)``, or from another address."""
    clients: list[httpx.AsyncClient] = []

    def make(credential: str | None = None, address: str = "127.0.0.1") -> Caller:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(api, client=(address, 9)), base_url="http://test")
        clients.append(client)
        return Caller(client, {"Authorization": f"Bearer {credential}"} if credential else {})

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def back_end(backstage: Backstage, calling: Calling) -> Caller:
    return calling(await backstage.key(ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_READ))


DISPUTES = "/v1/disputes"


@pytest.fixture
async def order(back_end: Caller, backstage: Backstage) -> str:
    """An order that was reported."""
    response = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())
    assert response.status_code == 201
    return backstage.order_id


@pytest.fixture
def buyer(order: str, backstage: Backstage, calling: Calling) -> Caller:
    return calling(backstage.token(backstage.buyer))


@pytest.fixture
def seller(order: str, backstage: Backstage, calling: Calling) -> Caller:
    return calling(backstage.token(backstage.seller))


def staff(backstage: Backstage, calling: Calling, role: Role = Role.AGENT) -> Caller:
    return calling(backstage.token(f"{role}-{backstage.tag}", role))


async def opened(buyer: Caller, backstage: Backstage, **changed: Any) -> dict[str, Any]:
    """Open a dispute; what is told of it."""
    response = await buyer.post(DISPUTES, backstage.opening(**changed))
    assert response.status_code == 201, response.text
    dispute: dict[str, Any] = response.json()
    return dispute


def with_settings(backstage: Backstage, **changed: Any) -> FastAPI:
    """The same API with other settings."""
    settings = backstage.services.settings.model_copy(update=changed)
    return create_api(replace(backstage.services, settings=settings))


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check a problem document (RFC 9457) and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"/docs#{code}"
    assert document["title"]
    assert document["detail"]
    assert set(document) <= {
        "type", "title", "status", "detail", "code", "details", "temporary", "retry_after_ms", "request_id",
    }  # fmt: skip
    assert None not in document.values()
    return document
