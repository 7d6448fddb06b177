"""MongoDB: a replica set of one node, which is what transactions and majority writes need."""

from typing import Any, ClassVar, Final, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from chatserver.embedded.binaries import find_mongod, require_runnable
from chatserver.embedded.folder import FolderLock
from chatserver.embedded.service import Service

REPLICA_SET: Final = "rs0"
_NOT_YET_INITIALIZED: Final = 94


class Mongod(Service):
    """A single-node replica set whose data stays in the folder. ``start`` returns once the node is primary."""

    name: ClassVar[str] = "mongod"

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}/?replicaSet={REPLICA_SET}"

    def start(self, timeout_s: float = 60.0) -> Self:
        lock = FolderLock(self.folder)
        lock.acquire()
        held = self._held
        self._held = (*held, lock.fd)
        try:
            return super().start(timeout_s)
        finally:
            # From here on the running mongod holds the lock: it was handed down.
            self._held = held
            lock.release()

    def _command(self) -> list[str]:
        binary = find_mongod(copy_to=self.folder / "bin")
        require_runnable(binary)
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        return [
            str(binary),
            *("--dbpath", str(data)),
            *("--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket"),
            *("--replSet", REPLICA_SET, "--oplogSize", "128"),
            # Several run beside each other on a developer's machine: no half of the memory for a cache, no files of
            # measurements, and no 15 s of waiting for a successor that a set of one cannot have.
            *("--wiredTigerCacheSizeGB", "0.5"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
        ]

    def _answers(self) -> bool:
        client: MongoClient[dict[str, Any]] = MongoClient(
            self.address, directConnection=True, serverSelectionTimeoutMS=500, socketTimeoutMS=10_000
        )
        with client:
            try:
                hello = client.admin.command("hello")
                if hello["isWritablePrimary"]:
                    return True
                if "setName" not in hello:
                    self._configure(client)
            except PyMongoError:
                return False
        return False

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        """Make the node a set of its own; again when its port has changed since the last run."""
        member = {"_id": 0, "host": self.address}
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as exc:
            if exc.code != _NOT_YET_INITIALIZED:
                raise
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
        else:
            config["version"] += 1
            config["members"] = [member]
            client.admin.command("replSetReconfig", config, force=True)
