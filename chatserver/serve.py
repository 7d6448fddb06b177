"""Run the application with uvicorn: in this process, or in several that share the port."""

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette

from chatserver import logs
from chatserver.configuration import load
from chatserver.settings import Settings
from chatserver.workers import Workers

METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""What prometheus_client looks at when it is first imported: where processes gather their metrics."""
BACKLOG: Final = 2048
KILL_AFTER_S: Final = 3.0
"""How much longer than its drain a process may take before it is killed."""
GC_THRESHOLDS: Final = (20_000, 20, 100)
"""New objects until the youngest generation is collected, and collections of each generation until the next older
one's."""
REQUESTS_S: Final = 1.0
"""What is left of the drain for HTTP requests under way, at least."""
FORCE_POLL_S: Final = 0.1
"""How soon a second Ctrl-C is noticed during a drain."""


class CannotListen(Exception):
    """The address cannot be listened on; the message says why."""


class Server(uvicorn.Server):
    """uvicorn's server with a stop that lets the hub speak to its clients first.

    Args:
        app: the application; its ``state.hub`` is drained.
        drain_s: longest planned stop, in seconds.
        on_serving: called when connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, app: Starlette, drain_s: float, on_serving: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._drain_s = drain_s
        self._on_serving = on_serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let the hub say goodbye, then close what is left, all within ``drain_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_s
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        draining = asyncio.ensure_future(self._app.state.hub.drain(max(self._drain_s - REQUESTS_S, self._drain_s / 2)))
        while not draining.done() and not self.force_exit:
            await asyncio.wait([draining], timeout=FORCE_POLL_S)
        if draining.done():
            await draining
        else:
            draining.cancel()
        # Declared as whole seconds, used as the timeout of asyncio.wait_for.
        self.config.timeout_graceful_shutdown = max(REQUESTS_S, deadline - loop.time())  # type: ignore[assignment]
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM. Unlike uvicorn's, the process then ends by itself and with code 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Only Ctrl-C counts as a second one: a terminal's Ctrl-C is followed by the supervisor's SIGTERM.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def serve(settings: Settings, announce: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM, then drain.

    Args:
        settings: ``workers`` of them says how many processes.
        announce: called once with the base URL, when all processes accept connections.

    Returns:
        The exit code: 0 after a planned stop, 1 when the server could not start.

    Raises:
        CannotListen: the port is taken, or the address is not this machine's.
    """
    with listen(settings.host, settings.port) as listener:
        url = base_url(listener)
        if settings.workers == 1:
            return _run(settings, listener, lambda: announce(url))
        with _shared_metrics() as forget:
            target = functools.partial(_work, settings, listener)
            stop_s = settings.drain_s + KILL_AFTER_S
            return Workers(target, settings.workers, stop_s, lambda: announce(url), forget).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; port 0 takes a free one.

    Raises:
        CannotListen: the port is taken, or the address is not this machine's.
    """
    try:
        ((family, _, _, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} on {host} is taken by another program; choose another, or 0 for a free one"
            ) from None
        raise CannotListen(f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}") from None


def base_url(listener: socket.socket) -> str:
    """The URL of a listening socket, as one on this machine would write it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _work(settings: Settings, listener: socket.socket, news: Connection) -> None:
    """One of several processes."""
    sys.exit(_run(settings, listener, lambda: news.send(None), _stop_with_parent))


def _stop_with_parent(server: uvicorn.Server) -> None:
    """Stop as planned when the parent is gone: nobody else would tell this process to."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(parent.sentinel)
        server.should_exit = True

    loop.add_reader(parent.sentinel, stop)


def _run(
    settings: Settings,
    listener: socket.socket,
    on_serving: Callable[[], None],
    prepare: Callable[[uvicorn.Server], None] | None = None,
) -> int:
    """One server, in this process."""
    # What they import must find the environment that _shared_metrics has prepared.
    from chatserver.app import create_app
    from chatserver.http.head import bounded_head
    from chatserver.hub.socket import FrameSocket

    logs.configure(settings.log_level, settings.log_format)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=bounded_head(settings.connect_timeout_s),
        ws=FrameSocket,
        ws_max_size=settings.frame_bytes,
        ws_per_message_deflate=settings.compression,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.forwarded_allow_ips),
        forwarded_allow_ips=settings.forwarded_allow_ips,
        backlog=BACKLOG,
    )
    server: Server

    def serving() -> None:
        if prepare is not None:
            prepare(server)
        tune_garbage_collection()
        on_serving()

    server = Server(config, app, settings.drain_s, serving)
    try:
        server.run([listener])
    except SystemExit:
        # uvicorn's way to say that the application did not start; the log says why.
        return 1
    return 0 if server.started else 1


def tune_garbage_collection() -> None:
    """Collect cycles seldom: what the program itself is made of never becomes garbage, and messages make no cycles.

    At its defaults the collector takes about a tenth of a busy server's time, and its full passes over the objects of
    ten thousand idle connections are pauses that clients notice.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@contextlib.contextmanager
def _shared_metrics() -> Iterator[Callable[[int], None]]:
    """A folder where processes gather their metrics; gives the function that forgets an ended process's gauges."""
    given = os.environ.get(METRICS_VARIABLE)
    folder = given or tempfile.mkdtemp(prefix="dispute-chat-metrics-")
    os.environ[METRICS_VARIABLE] = folder
    try:
        from prometheus_client.multiprocess import mark_process_dead

        yield lambda pid: mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
    finally:
        if given is None:
            del os.environ[METRICS_VARIABLE]
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # How ``chatserver dev`` starts it, in the sandbox mode that ``chatserver serve`` refuses.
    log = logging.getLogger("chatserver.serve")
    sys.exit(serve(load(os.environ).settings, lambda url: log.info("listening on %s", url)))
