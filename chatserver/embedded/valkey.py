"""Valkey (or Redis), which keeps nothing on disk: it carries notices and presence, never the truth."""

import contextlib
import socket
from typing import ClassVar

from chatserver.embedded.binaries import find_valkey, require_runnable
from chatserver.embedded.ports import LOOPBACK
from chatserver.embedded.service import Service


class Valkey(Service):
    """A standalone Valkey server without persistence."""

    name: ClassVar[str] = "valkey"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def _command(self) -> list[str]:
        binary = find_valkey(copy_to=self.folder / "bin")
        require_runnable(binary)
        return [
            str(binary),
            *("--bind", LOOPBACK, "--port", str(self.port)),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no"),
        ]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False
