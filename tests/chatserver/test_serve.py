"""``chatserver serve`` as an operator runs it: one process and several, planned stops and crashes."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from chatserver.auth import mint
from chatserver.cli.failures import ExitCode
from chatserver.protocol import PATH, SUBPROTOCOL
from chatserver.serve import CannotListen, base_url, listen
from storage import schema
from storage.client import MongoConfig, open_database
from tests.program import Program, all_gone, descendants, wait_until

SECRET = "b3f1c27d90aa4e6c85f7d2e19c40b86e5a7d"


@dataclass(frozen=True)
class Deployment:
    """Settings of a server on a database of its own."""

    variables: dict[str, str]

    def serve(self, *arguments: str, **changes: str) -> Program:
        variables = {name: value for name, value in {**self.variables, **changes}.items() if value}
        return Program(["-m", "chatserver", "serve", "--port", "0", *arguments], variables)

    async def connect(self, url: str, user: str) -> ClientConnection:
        """A connection that has said who it is."""
        token = mint(SECRET, user, now=datetime.now(UTC), ttl=timedelta(hours=1))
        websocket = await connect(
            f"{url.replace('http', 'ws')}{PATH}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origin=Origin("https://shop.example"),
        )
        await websocket.send(json.dumps({"type": "connect", "id": "1", "token": token}))
        assert json.loads(await websocket.recv())["type"] == "connected"
        return websocket


@pytest.fixture
async def deployment(mongo_url: str, redis_url: str) -> AsyncIterator[Deployment]:
    name = f"serve_{uuid.uuid4().hex[:12]}"
    database = open_database(MongoConfig(mongo_url, name))
    await schema.migrate(database)
    yield Deployment(
        {
            "CHATSERVER_MONGO_URL": mongo_url,
            "CHATSERVER_MONGO_DATABASE": name,
            "CHATSERVER_REDIS_URL": redis_url,
            "CHATSERVER_REDIS_PREFIX": name,
            "CHATSERVER_JWT_SECRET": SECRET,
            "CHATSERVER_ALLOWED_ORIGINS": "https://shop.example",
            "CHATSERVER_DRAIN_S": "5",
        }
    )
    await database.drop()
    await database.close()


async def last_words(websocket: ClientConnection) -> tuple[list[str], int | None]:
    """The types of the frames until the connection closes, and the close code."""
    types: list[str] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            types.append(json.loads(await websocket.recv())["type"])
    return types, websocket.close_code


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (1, signal.SIGINT)])
async def test_a_planned_stop_says_goodbye_and_ends_well(
    workers: int, number: signal.Signals, deployment: Deployment
) -> None:
    with deployment.serve("--workers", str(workers)) as server:
        url = await asyncio.to_thread(server.line, "listening on ")
        clients = [await deployment.connect(url, f"user-{each}") for each in range(6)]
        started = descendants(server.process.pid)
        server.process.send_signal(number)
        for words, code in await asyncio.gather(*(last_words(client) for client in clients)):
            assert words[-1] == "bye"
            assert code == 4000
        assert await asyncio.to_thread(server.wait) == 0
        await asyncio.to_thread(all_gone, started)
        with pytest.raises(ConnectionRefusedError):
            await connect(url.replace("http", "ws"))


def _started(line: str) -> int:
    """The process that a line of the log says has started, or 0."""
    found = re.search(r"Started server process \[(\d+)\]", line)
    return int(found[1]) if found else 0


async def test_one_process_that_is_killed_is_replaced(deployment: Deployment) -> None:
    with deployment.serve("--workers", "2") as server:
        url = await asyncio.to_thread(server.line, "listening on ")
        clients = [await deployment.connect(url, f"user-{each}") for each in range(4)]
        victim = next(pid for line in server.output if (pid := _started(line)))
        before = descendants(server.process.pid)
        os.kill(victim, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: bool(descendants(server.process.pid) - before))
        assert (await deployment.connect(url, "user-5")).close_code is None
        assert any(f"server process {victim} ended with code -9" in line for line in server.output)
        for client in clients:
            await client.close()
        assert await asyncio.to_thread(server.stop) == 0


async def test_no_process_outlives_a_killed_supervisor(deployment: Deployment) -> None:
    with deployment.serve("--workers", "2") as server:
        url = await asyncio.to_thread(server.line, "listening on ")
        client = await deployment.connect(url, "user-1")
        started = descendants(server.process.pid)
        server.process.kill()
        words, code = await last_words(client)
        assert (words[-1], code) == ("bye", 4000)
        await asyncio.to_thread(all_gone, started)


async def test_metrics_add_up_over_the_processes(deployment: Deployment, tmp_path: Path) -> None:
    with deployment.serve("--workers", "2", TMPDIR=str(tmp_path)) as server:
        url = await asyncio.to_thread(server.line, "listening on ")
        clients = [await deployment.connect(url, f"user-{each}") for each in range(5)]
        async with httpx.AsyncClient() as http:
            for _ in range(4):
                text = (await http.get(f"{url}/metrics", headers={"Connection": "close"})).text
                assert re.search(r"^dispute_chat_connections 5\.0$", text, re.MULTILINE)
        for client in clients:
            await client.close()
        assert await asyncio.to_thread(server.stop) == 0
    assert [name for name in os.listdir(tmp_path) if name.startswith("dispute-chat")] == []


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_that_cannot_start_says_why(workers: str, deployment: Deployment) -> None:
    with deployment.serve("--workers", workers, CHATSERVER_MONGO_DATABASE="never_migrated") as server:
        assert await asyncio.to_thread(server.wait) == ExitCode.FAILED
        assert any("chatserver migrate" in line for line in server.output), server.output
        assert not any(line.startswith("listening") for line in server.output)


async def test_an_unsafe_configuration_is_refused_with_the_whole_list(deployment: Deployment) -> None:
    with deployment.serve(CHATSERVER_JWT_SECRET="secret", CHATSERVER_ALLOWED_ORIGINS="", CHATSERVER_SANDBOX="1") as it:
        assert await asyncio.to_thread(it.wait) == ExitCode.USAGE
        names = [line.split(": ")[1] for line in it.output]
        assert names == ["this configuration is not fit for production:", "jwt_secret", "allowed_origins", "sandbox"]


async def test_a_taken_port_is_named(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with deployment.serve("--port", port) as server:
            assert await asyncio.to_thread(server.wait) == ExitCode.CANNOT_START
            assert server.output == [
                f"chatserver: port {port} on 127.0.0.1 is taken by another program; choose another, or 0 for a free one"
            ]


def test_addresses() -> None:
    with listen("::1", 0) as listener:
        assert base_url(listener).startswith("http://[::1]:")
    with listen("localhost", 0) as listener:
        assert listener.getsockname()[1] > 0
    with pytest.raises(CannotListen, match=r"cannot listen on 203\.0\.113\.1:0: "):
        listen("203.0.113.1", 0)
    with pytest.raises(CannotListen, match=r"cannot listen on nowhere\.invalid:0: "):
        listen("nowhere.invalid", 0)
