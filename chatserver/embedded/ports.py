"""TCP ports of this machine."""

import contextlib
import errno
import socket

from chatserver.embedded.errors import PortTaken

LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """A port nobody listens on at this moment. Another program may still take it before it is used."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    with contextlib.closing(socket.socket()) as probe:
        # As servers do: connections that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def require_port(port: int, host: str = LOOPBACK) -> None:
    """Raises:
    PortTaken: somebody listens on the port already.
    """
    if not is_free(port, host):
        raise PortTaken(host, port)
