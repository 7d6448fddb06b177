"""A deployment to test: one database, what its operator knows, and the server processes that run on it."""

import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Final, Self

import httpx
import jwt
from prometheus_client.parser import text_string_to_metric_families

from chatserver.protocol import PATH
from tests.eventually import eventually
from tests.program import PATIENT_POLICY, PROJECT, Program, environment_with

SECRET: Final = token_urlsafe(32)
"""One for all servers of a run, so that a token opens any of them."""
ORIGIN: Final = "https://shop.example"


def token(user: str, *, role: str | None = None, name: str | None = None, ttl_s: float = 3600, **claims: Any) -> str:
    """A user's token, as the marketplace's back end mints it."""
    now = datetime.now(UTC)
    made: dict[str, Any] = {"sub": user, "aud": "dispute-chat", "iat": now, "exp": now + timedelta(seconds=ttl_s)}
    given = {"role": role, "name": name, **claims}
    return jwt.encode(made | {claim: value for claim, value in given.items() if value is not None}, SECRET, "HS256")


def unique(prefix: str) -> str:
    """An id that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


@dataclass(frozen=True)
class Order:
    """An order that the marketplace has reported."""

    id: str
    buyer: str
    seller: str

    @property
    def room(self) -> str:
        return f"order-{self.id}"

    def report(self, **changes: Any) -> dict[str, Any]:
        """The body of ``PUT /v1/orders/{id}``."""
        return {
            "buyer": {"id": self.buyer, "name": "Bo"},
            "seller": {"id": self.seller, "name": "Sal", "trust_level": "verified"},
            "title": "A used camera",
            "category": "item",
            "amount": 12_500,
            "currency": "EUR",
            "placed_at": "2026-01-31T09:30:00Z",
            **changes,
        }


class Server:
    """A running ``chatserver serve``, or something else that serves the same."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.url = ""

    def await_start(self) -> Self:
        """Wait until it accepts connections."""
        self.url = self.program.line("listening on ")
        return self

    @property
    def websocket_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}{PATH}"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.program.process.pid

    def kill(self) -> None:
        """End it as a crash would."""
        self.program.process.kill()
        self.program.wait()

    def pause(self) -> None:
        """Freeze it, as a machine that hangs would."""
        self.program.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.program.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask for a planned stop, without waiting for it: its clients are in this process and must answer."""
        self.program.process.terminate()

    async def ended(self, within_s: float = 20.0) -> int:
        """The exit code, once it has ended."""
        await eventually(lambda: self.program.process.poll() is not None, within_s=within_s)
        return self.program.wait()

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value now, summed over the labels that are not named; 0.0 where there is none yet."""
        text = httpx.get(f"{self.url}/metrics", timeout=10.0, trust_env=False).raise_for_status().text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"dispute_chat_{name}" and labels.items() <= sample.labels.items()
        )


def _http_client() -> httpx.Client:
    # An idle connection is let go well before the server does it: nobody repeats a PUT that met its end.
    return httpx.Client(timeout=15.0, trust_env=False, limits=httpx.Limits(keepalive_expiry=2.0))


@dataclass(frozen=True)
class Site:
    """See the module. Made by ``Site.prepare``.

    Args:
        redis_prefix: processes with the same one are one deployment.
    """

    mongo_url: str
    redis_url: str
    database: str
    redis_prefix: str
    api_key: str = ""
    http: httpx.Client = field(default_factory=_http_client, compare=False)

    @classmethod
    def prepare(cls, mongo_url: str, redis_url: str) -> Self:
        """A migrated database, and a key of the marketplace's back end."""
        name = unique("system").replace("-", "_")
        bare = cls(mongo_url, redis_url, name, name)
        bare.run("migrate")
        key = bare.run("keys", "create", "tests", "--scope", "orders:write", "--scope", "disputes:read").stdout.strip()
        return replace(bare, api_key=key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def apart(self, redis_url: str | None = None) -> Self:
        """The same database for processes that share no Redis channel with the others'."""
        return replace(self, redis_prefix=unique("apart"), redis_url=redis_url or self.redis_url)

    def environment(self, **settings: object) -> dict[str, str]:
        """What a server of this deployment is started with.

        Args:
            settings: of ``chatserver.settings``, over those of the tests.
        """
        chosen: Mapping[str, object] = {
            "host": "127.0.0.1",
            "port": 0,
            "workers": 1,
            "mongo_url": self.mongo_url,
            "mongo_database": self.database,
            "redis_url": self.redis_url,
            "redis_prefix": self.redis_prefix,
            "jwt_secret": SECRET,
            "allowed_origins": ORIGIN,
            "drain_s": 5,
            "policy_file": PATIENT_POLICY,
            **settings,
        }
        return {f"CHATSERVER_{name.upper()}": str(value) for name, value in chosen.items()}

    def begin(self, **settings: object) -> Server:
        """Start a server; it is not ready before ``await_start``."""
        return Server(Program(["-m", "chatserver", "serve"], self.environment(**settings)))

    def run(self, *arguments: str, check: bool = True, **settings: object) -> "subprocess.CompletedProcess[str]":
        """A command of the operator's, with settings as ``environment`` takes them."""
        command = [sys.executable, "-m", "chatserver", *arguments]
        variables = environment_with(self.environment(**settings))
        ended = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
        assert not check or ended.returncode == 0, ended.stderr
        return ended

    def put_order(self, server: Server, order: Order, **changes: Any) -> dict[str, Any]:
        """Report an order to one of the servers."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = self.http.put(f"{server.url}/v1/orders/{order.id}", json=order.report(**changes), headers=headers)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told

    def order(self, server: Server) -> Order:
        """A new order between a buyer and a seller of its own."""
        order = Order(unique("o"), unique("buyer"), unique("seller"))
        self.put_order(server, order)
        return order

    def get(self, server: Server, path: str, user_token: str, **query: object) -> dict[str, Any]:
        """What a user reads over HTTP."""
        headers = {"Authorization": f"Bearer {user_token}"}
        params = {name: str(value) for name, value in query.items()}
        answer = self.http.get(f"{server.url}{path}", params=params, headers=headers)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told
