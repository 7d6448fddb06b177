"""Redis as operators run it for availability: a master watched by Sentinels, and a Cluster."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from redis import Redis

from chatserver.embedded import Valkey
from chatserver.embedded.errors import PortTaken, StartFailed
from chatserver.embedded.ports import LOOPBACK, free_port

_SLOTS: Final = 16384


class Replica(Valkey):
    """A replica of another server."""

    def __init__(self, folder: Path, master_port: int) -> None:
        super().__init__(folder)
        self._master_port = master_port

    def _command(self) -> list[str]:
        return [*super()._command(), "--replicaof", LOOPBACK, str(self._master_port), "--repl-diskless-sync-delay", "0"]


class Sentinel(Valkey):
    """A Sentinel that by itself may declare ``mymaster`` dead, half a second after it fell silent."""

    def __init__(self, folder: Path, master_port: int) -> None:
        super().__init__(folder)
        self._master_port = master_port

    def _command(self) -> list[str]:
        binary = super()._command()[0]
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"bind {LOOPBACK}\nport {self.port}\ndir {self.folder}\n"
            f"sentinel monitor mymaster {LOOPBACK} {self._master_port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 2000\n"
        )
        return [binary, str(config), "--sentinel"]


class Watched:
    """A master, a replica and a Sentinel."""

    def __init__(self, folder: Path) -> None:
        self.master = Valkey(folder / "master")
        self._folder = folder

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.master)
            self.replica = stack.enter_context(Replica(self._folder / "replica", self.master.port))
            self.sentinel = stack.enter_context(Sentinel(self._folder / "sentinel", self.master.port))
            # Before it knows of the replica and that it is in step there is nobody to promote.
            _until(lambda: _ask(self.sentinel, "SENTINEL", "REPLICAS", "mymaster") and _in_step(self.replica))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.kill()  # nothing to keep, and one that is paused would not stop

    @property
    def url(self) -> str:
        """A Sentinel that does not answer comes first: it must not matter."""
        return f"redis+sentinel://{LOOPBACK}:{free_port()},{self.sentinel.address}/mymaster/0"


class ClusterNode(Valkey):
    """One node; ``Cluster`` makes them know each other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bus_port = 0

    def _command(self) -> list[str]:
        return [
            *super()._command(),
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", str(self.bus_port)),
            *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
            *("--repl-diskless-sync-delay", "0"),
        ]

    def start(self, timeout_s: float = 60.0) -> Self:
        """The first time on two free ports, of which somebody else may take one before they are used."""
        first = not self.bus_port
        for _ in range(5 if first else 1):
            if first:
                self.port, self.bus_port = _two_free_ports()
            try:
                return super().start(timeout_s)
            except (PortTaken, StartFailed) as error:
                problem = error
                if first:
                    (self.folder / "nodes.conf").unlink(missing_ok=True)
        raise problem

    @property
    def id(self) -> str:
        return str(_ask(self, "CLUSTER", "MYID"), "ascii")


class Cluster:
    """Three primaries, and a replica of the first."""

    def __init__(self, folder: Path) -> None:
        self.primaries = [ClusterNode(folder / str(number)) for number in range(3)]
        self.replica = ClusterNode(folder / "replica")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            nodes = [*self.primaries, self.replica]
            for node in nodes:
                stack.enter_context(node)
            for number, node in enumerate(self.primaries):
                first, last = _SLOTS * number // 3, _SLOTS * (number + 1) // 3 - 1
                _ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
                _ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for node in nodes[1:]:
                _ask(node, "CLUSTER", "MEET", LOOPBACK, self.primaries[0].port, self.primaries[0].bus_port)
            _until(lambda: all(self._agrees(node) for node in nodes))
            _until(lambda: _ask(self.replica, "CLUSTER", "REPLICATE", self.primaries[0].id) == b"OK")
            _until(lambda: _in_step(self.replica))
            _until(lambda: all(len(_ask(node, "CLUSTER", "SLOTS")[0]) == 4 for node in nodes))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for node in (*self.primaries, self.replica):
            node.kill()

    @property
    def url(self) -> str:
        return f"redis+cluster://{LOOPBACK}:{free_port()},{','.join(node.address for node in self.primaries)}"

    def owner(self, key: str) -> ClusterNode:
        """The primary that has a key's slot at first."""
        slot = int(_ask(self.primaries[0], "CLUSTER", "KEYSLOT", key))
        return self.primaries[next(n for n in range(3) if slot < _SLOTS * (n + 1) // 3)]

    def move(self, key: str, source: ClusterNode, target: ClusterNode) -> None:
        """Give the slot of a key that is not used to another primary, as a resharding does."""
        slot = int(_ask(source, "CLUSTER", "KEYSLOT", key))
        new_owner = target.id
        for node in (target, source, *self.primaries):
            _ask(node, "CLUSTER", "SETSLOT", slot, "NODE", new_owner)

    @staticmethod
    def _agrees(node: ClusterNode) -> bool:
        info = _ask(node, "CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:4" in info


def _two_free_ports() -> tuple[int, int]:
    """Held both at once, for one port freed and asked for again may come twice."""
    with socket.socket() as one, socket.socket() as two:
        one.bind((LOOPBACK, 0))
        two.bind((LOOPBACK, 0))
        return one.getsockname()[1], two.getsockname()[1]


@contextmanager
def _client(server: Valkey) -> Iterator[Redis]:
    with Redis(host=LOOPBACK, port=server.port, socket_timeout=5.0, protocol=2) as client:
        yield client


def _ask(server: Valkey, *words: str | int) -> Any:
    with _client(server) as client:
        # The answers as they are: redis-py would make something else of some.
        client.response_callbacks.clear()
        run: Any = client.execute_command
        try:
            return run(*words)
        except Exception as error:
            if "Unknown node" in str(error):  # it has not heard of it yet
                return None
            raise


def _in_step(replica: Valkey) -> bool:
    return b"master_link_status:up" in _ask(replica, "INFO", "replication")


def _until(condition: Any, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.02)
