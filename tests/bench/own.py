"""This project's server as the subject: everything on, only the limits per user are raised."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from typing import Any, Final

import httpx
import jwt

from chatserver.embedded.ports import LOOPBACK
from tests.bench.load import MEMBERS
from tests.bench.subjects import PROJECT, Stored, Subject
from tests.bench.wire import DisputeChat

_JWT_SECRET: Final = token_urlsafe(32)
_TOKEN_LIFE: Final = timedelta(hours=6)
_ORDERS_AT_ONCE: Final = 8


class DisputeChatServer(Subject):
    name = "dispute chat server"
    protocol = DisputeChat

    def prepare(self) -> None:
        self._command("migrate")
        self._api_key = self._command("keys", "create", "bench", "--scope", "orders:write").stdout.strip()

    def command(self, port: int) -> Sequence[str]:
        return [sys.executable, "-m", "chatserver", "serve"]

    def environment(self, port: int) -> dict[str, str]:
        return {
            "CHATSERVER_HOST": LOOPBACK,
            "CHATSERVER_PORT": str(port),
            "CHATSERVER_WORKERS": "1",
            "CHATSERVER_MONGO_URL": self.services.mongod.url,
            "CHATSERVER_MONGO_DATABASE": self.database,
            "CHATSERVER_REDIS_URL": self.services.valkey.url,
            "CHATSERVER_JWT_SECRET": _JWT_SECRET,
            # A person types five messages a second at most; here each stands for many.
            "CHATSERVER_MESSAGES_PER_S": "1000000",
            "CHATSERVER_MESSAGE_BURST": "1000000",
            "CHATSERVER_POLICY_FILE": str(PROJECT / "tests" / "bench" / "policy.toml"),
            "CHATSERVER_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port}",
            # Its best setting for two processes: the cheaper driver, large commits, a partition for each process.
            "CHATSERVER_MONGO_DRIVER": "pymongo",
            "CHATSERVER_COMMIT_CONCURRENCY": "1",
            "CHATSERVER_FANOUT_PARTITIONS": "2",
            "CHATSERVER_LOG_LEVEL": "warning",
        }

    def answers(self, port: int) -> bool:
        try:
            return httpx.get(f"http://{LOOPBACK}:{port}/readyz", timeout=2.0).is_success
        except httpx.TransportError:
            return False

    def populate(self) -> None:
        asyncio.run(self._put_orders())

    async def _put_orders(self) -> None:
        """One order for each room: the buyer and the seller send, a support agent observes."""
        gate = asyncio.Semaphore(_ORDERS_AT_ONCE)
        headers = {"Authorization": f"Bearer {self._api_key}"}
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{self.ports[0]}", headers=headers) as client:

            async def put(room: int) -> None:
                async with gate:
                    answer = await client.put(f"/v1/orders/{_order_id(room)}", json=_order(room))
                    answer.raise_for_status()

            await asyncio.gather(*(put(room) for room in range(self.rooms)))

    def room(self, number: int) -> str:
        return f"order-{_order_id(number)}"

    def credential(self, user: str, member: int) -> str:
        claims: dict[str, Any] = {"sub": user, "aud": "dispute-chat", "exp": datetime.now(UTC) + _TOKEN_LIFE}
        if member == MEMBERS - 1:
            claims |= {"role": "agent", "name": "Support"}
        return jwt.encode(claims, _JWT_SECRET, algorithm="HS256")

    def stored(self) -> Stored:
        """Counts the messages, looks for gaps, and has ``chatserver verify`` go over every room's chain."""
        pipeline = [
            {"$group": {"_id": "$room", "entries": {"$sum": 1}, "first": {"$min": "$seq"}, "last": {"$max": "$seq"}}}
        ]
        with self.services.mongo() as mongo:
            entries = mongo[self.database]["entries"]
            messages = entries.count_documents({"kind": "message"})
            gaps = sum(room["first"] != 1 or room["last"] != room["entries"] for room in entries.aggregate(pipeline))
        verified = self._command("verify", "--all", check=False)
        chain = "" if verified.returncode == 0 else (verified.stdout + verified.stderr).strip()
        return Stored(messages, gaps, chain)

    def _command(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command of the operator's."""
        command = [sys.executable, "-m", "chatserver", *arguments]
        environment = dict(os.environ) | self.environment(0)
        return subprocess.run(command, cwd=PROJECT, env=environment, check=check, capture_output=True, text=True)


def _order_id(room: int) -> str:
    return f"bench-{room}"


def _order(room: int) -> dict[str, Any]:
    return {
        "buyer": {"id": f"user-{room}-0", "name": "Bo"},
        "seller": {"id": f"user-{room}-1", "name": "Sal", "trust_level": "verified"},
        "title": "A phone",
        "category": "item",
        "amount": 12_900,
        "currency": "EUR",
        "placed_at": "2026-01-05T10:00:00Z",
        "details": {},
    }
