"""The servers under test: what they have in common, and the peers that this project is compared with."""

import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from pymongo import MongoClient

from chatserver.embedded import Child, Mongod, StartFailed, Valkey, free_port, stop_all
from chatserver.embedded.ports import LOOPBACK
from tests.bench.load import MEMBERS
from tests.bench.wire import Connection, PlainJson, Seat, SocketIo

PROJECT: Final = Path(__file__).parents[2]
PEERS: Final = Path(__file__).parent / "peers"
PROCESSES: Final = 2
_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 20.0


class Missing(Exception):
    """A program that a subject needs is not installed. ``str()`` of it is meant for the person at the terminal."""


@dataclass(frozen=True)
class Services:
    """What all subjects share, and where they may keep files."""

    mongod: Mongod
    valkey: Valkey
    folder: Path

    def mongo(self) -> "MongoClient[dict[str, Any]]":
        return MongoClient(self.mongod.url)


@dataclass(frozen=True)
class Stored:
    """What is in the database after a run."""

    messages: int
    rooms_with_gaps: int | None = None
    """Rooms whose numbers are not 1..n; None where messages have no numbers."""
    chain: str | None = None
    """Empty when every room's hash chain is whole, else what is wrong; None where there is no chain."""


class Subject(ABC):
    """A server under test in its processes, from ``with`` to its end; each time with an empty database.

    Args:
        services: the running MongoDB and Valkey.
        rooms: how many rooms of three members it has to serve.
    """

    name: ClassVar[str]
    protocol: ClassVar[type[Connection]]

    def __init__(self, services: Services, rooms: int) -> None:
        self.services = services
        self.rooms = rooms
        self.database = f"bench_{type(self).__name__.lower()}"
        self.ports: list[int] = []
        self._processes: list[Child] = []

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def __enter__(self) -> Self:
        self._drop_database()
        try:
            self.prepare()
            for _ in range(PROCESSES):
                port = free_port()
                log = self.services.folder / f"{self.database}.log"
                process = Child(self.command(port), log=log, env=dict(os.environ) | self.environment(port))
                self._processes.append(process)
                self._wait(process, port, log)
                self.ports.append(port)
            self.populate()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        stop_all(self._processes, _STOP_TIMEOUT_S)
        self._processes.clear()
        self._drop_database()

    def _drop_database(self) -> None:
        with self.services.mongo() as mongo:
            mongo.drop_database(self.database)

    def _wait(self, process: Child, port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.answers(port):
            if process.exit_code is not None:
                reason = f"ended with code {process.exit_code}"
                raise StartFailed(self.name, reason, log, process.output())
            if time.monotonic() >= deadline:
                raise StartFailed(self.name, "did not answer in time", log, process.output())
            time.sleep(0.05)

    def seats(self) -> list[Seat]:
        """Everyone's place: the two senders of a room on different processes, observers on both in turn."""
        return [self._seat(room, member) for room in range(self.rooms) for member in range(MEMBERS)]

    def _seat(self, room: int, member: int) -> Seat:
        port = self.ports[(member if member < 2 else room) % PROCESSES]
        user = f"user-{room}-{member}"
        return Seat(f"ws://{LOOPBACK}:{port}", self.room(room), member, user, self.credential(user, member))

    # What a server is

    @abstractmethod
    def prepare(self) -> None:
        """What has to be there before the processes start: packages, indexes."""

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """Absolute path of the program and its arguments, for one process."""

    def environment(self, port: int) -> dict[str, str]:
        """Variables of a process beside those of this one."""
        return {}

    def answers(self, port: int) -> bool:
        """Whether a process is ready."""
        try:
            socket.create_connection((LOOPBACK, port), timeout=1.0).close()
        except OSError:
            return False
        return True

    @abstractmethod
    def populate(self) -> None:
        """Make the rooms."""

    def room(self, number: int) -> str:
        return f"room-{number}"

    def credential(self, user: str, member: int) -> str:
        return ""

    @abstractmethod
    def stored(self) -> Stored:
        """Count and check what is in the database."""


class Peer(Subject):
    """A server that keeps one document per message, with the index that reading a room's history needs."""

    def prepare(self) -> None:
        with self.services.mongo() as mongo:
            mongo[self.database]["messages"].create_index([("room_id", 1), ("_id", 1)])

    def populate(self) -> None:
        pass  # a room comes into being when somebody joins it

    def stored(self) -> Stored:
        with self.services.mongo() as mongo:
            return Stored(mongo[self.database]["messages"].count_documents({}))


class SocketIoRedis(Peer):
    """Node needs packages: they are installed into the bench's own folder, once."""

    name = "Socket.IO + Redis adapter"
    protocol = SocketIo

    def prepare(self) -> None:
        super().prepare()
        _program("node")
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        wanted = (PEERS / "package.json").read_bytes()
        shutil.copy(PEERS / "socketio.cjs", folder)
        installed = folder / "package.json"
        if installed.is_file() and installed.read_bytes() == wanted and (folder / "node_modules").is_dir():
            return
        installed.write_bytes(wanted)
        install = [_program("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            subprocess.run(install, cwd=folder, check=True)
        except BaseException:
            installed.unlink()
            raise

    @property
    def _folder(self) -> Path:
        return self.services.folder / "node"

    def command(self, port: int) -> Sequence[str]:
        script = str(self._folder / "socketio.cjs")
        redis_url = self.services.valkey.url.removesuffix("/0")
        return [_program("node"), script, str(port), self.services.mongod.url, self.database, redis_url]

    def environment(self, port: int) -> dict[str, str]:
        return {"NODE_ENV": "production"}


class StarletteHub(Peer):
    name = "plain Starlette hub"
    protocol = PlainJson

    def command(self, port: int) -> Sequence[str]:
        application = "tests.bench.peers.starlette_hub:app"
        options = ["--host", LOOPBACK, "--port", str(port), "--app-dir", str(PROJECT), "--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", application, *options, "--no-access-log"]

    def environment(self, port: int) -> dict[str, str]:
        return {
            "PEER_MONGO": self.services.mongod.url,
            "PEER_DATABASE": self.database,
            "PEER_REDIS": self.services.valkey.url,
        }


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is not on PATH: the comparison with Socket.IO needs Node.js 20 or newer with npm")
    return path
