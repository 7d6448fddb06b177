"""``chatserver dev``: everything on this machine, in a data folder, for trying out and for developing against.

MongoDB, Valkey, an S3 store, the server and its worker run as child processes. The data folder keeps the database, the
objects of the S3 store, the JWT secret and the API key (``CHATSERVER_S3_URL`` names another store, which is then used
instead, and has to have its bucket).
"""

import asyncio
import contextlib
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from chatserver import demo, instance
from chatserver.configuration import DEFAULT, PREFIX, environment_of, load
from chatserver.database import connected
from chatserver.embedded import (
    S3,
    Child,
    FolderLock,
    Mongod,
    Service,
    StartFailed,
    Valkey,
    free_port,
    require_port,
    stop_all,
)
from chatserver.embedded.ports import LOOPBACK
from chatserver.evidence.office import open_store
from chatserver.instance import Instance, write_private
from chatserver.policy_file import load_policy
from chatserver.settings import Settings
from policies.vocabulary import ApiScope
from storage.api_keys import SECRET_BYTES, ApiKeys
from storage.schema import migrate

READY_S: Final = 60.0
"""How long the server may take until it is ready."""
STOP_S: Final = 4.5
"""How long the server and its worker, and after them what they depend on, may take to stop: within 10 s together."""
POLL_S: Final = 0.05
SECRETS_FILE: Final = "secrets.json"
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEV_DEFAULTS: Final[Mapping[str, Any]] = {
    "allowed_origins": ["*"],
    "deadlines_every_s": 0.25,
    "drain_s": 2.0,
    "log_format": "console",
    "webhook_private_targets": True,
}
"""Instead of the settings' own defaults; the environment is stronger."""
ANY_KEY: Final = SecretStr(instance.STORE_KEY)
"""The embedded store takes any credentials."""

Say = Callable[[str], None]


class Secrets(BaseModel):
    """What stays the same from one run on a data folder to the next."""

    jwt_secret: str
    api_key: str


class Stopped(BaseException):
    """Somebody wants the instance to stop."""


def run(port: int | None, data: Path, environment: Mapping[str, str], say: Say) -> int:
    """Start everything, stay until SIGINT or SIGTERM, stop everything.

    Args:
        port: port of the server on 127.0.0.1; 0 takes a free one, None the one of the settings.
        data: the data folder; created where needed.
        environment: environment variables, of which settings hold that the instance does not choose itself.
        say: prints a line for the person at the terminal.

    Returns:
        The exit code: 0 after a planned stop, 1 when a part ended by itself.

    Raises:
        EmbeddedError: the folder or the port is in use, or a part cannot start.
        ConfigurationError: a setting in the environment, or something in the policy file, is not acceptable.
    """
    given = load(environment, options={"port": port})
    defaults = {name: value for name, value in DEV_DEFAULTS.items() if given.origins[name] == DEFAULT}
    settings = given.settings.model_copy(update={**defaults, "host": LOOPBACK, "workers": 1, "sandbox": True})
    load_policy(settings.policy_file)  # a mistake in it is said here, not in the log of the server
    lock = FolderLock(data)
    lock.acquire()
    services: list[Service] = []
    programs: list[Child] = []
    handlers = {number: signal.signal(number, _stop) for number in STOP_SIGNALS}
    try:
        instance.forget(data)
        settings = settings.model_copy(update={"port": _port(settings.port), "data_dir": data.absolute()})
        settings = _start_services(settings, lock.fd, services, say)
        return _run_programs(settings, environment, lock.fd, services, programs, say)
    except Stopped:
        say("stopping")
        return 0
    finally:
        # A second Ctrl-C must not leave half of it running: stopping takes a few seconds at most.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        stop_all(programs, STOP_S)
        stop_all(services, STOP_S)
        lock.release()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _port(wanted: int) -> int:
    if wanted == 0:
        return free_port()
    require_port(wanted)
    return wanted


def _start_services(settings: Settings, lock: int, services: list[Service], say: Say) -> Settings:
    """Start what the server depends on, and say in the settings where it is."""
    folder = settings.data_dir
    assert folder is not None
    say("starting MongoDB, Valkey and the S3 store")
    mongod = Mongod(folder / "mongod", held=[lock])
    valkey = Valkey(folder / "valkey", held=[lock])
    services += [mongod, valkey]
    if not settings.s3_url:
        services.append(S3(folder / "s3", held=[lock]))
    for service in services:
        service.start()
    embedded = not settings.s3_url
    settings = settings.model_copy(
        update={
            "mongo_url": SecretStr(mongod.url),
            "redis_url": SecretStr(valkey.url),
            "s3_url": settings.s3_url or services[-1].url,
            **({} if settings.s3_url else {"s3_path_style": True, "s3_access_key": ANY_KEY, "s3_secret_key": ANY_KEY}),
        }
    )
    if embedded:
        asyncio.run(_make_bucket(settings))
    return settings


async def _make_bucket(settings: Settings) -> None:
    store = open_store(settings)
    try:
        await store.ensure_bucket()
    finally:
        await store.close()


def _run_programs(
    settings: Settings,
    environment: Mapping[str, str],
    lock: int,
    services: Sequence[Service],
    programs: list[Child],
    say: Say,
) -> int:
    folder = settings.data_dir
    assert folder is not None
    kept = asyncio.run(_prepare(settings, folder / SECRETS_FILE))
    settings = settings.model_copy(update={"jwt_secret": SecretStr(kept.jwt_secret)})
    variables = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    variables |= environment_of(settings)
    say("starting the server and its worker")
    for name in ("serve", "worker"):
        command = [sys.executable, "-m", f"chatserver.{name}"]
        programs.append(Child(command, log=folder / f"{name}.log", env=variables, held=[lock]))
    base_url = f"http://{settings.host}:{settings.port}"
    watched = {"the server": programs[0], "its worker": programs[1]}
    watched |= {service.name: service.child for service in services}
    with httpx.Client(base_url=base_url, trust_env=False, timeout=5.0) as client:
        _await_ready(client, programs[0])
        made = demo.prepare(client, kept.api_key)
    running = Instance(
        base_url=base_url,
        api_key=kept.api_key,
        jwt_secret=kept.jwt_secret,
        mongo_url=settings.mongo_url.get_secret_value(),
        redis_url=settings.redis_url.get_secret_value(),
        s3_url=settings.s3_url,
        demo=made,
    )
    instance.write(folder, running)
    say(f"ready {base_url}")
    say(f"addresses, the API key and links for the demo order's people are in {folder / instance.FILE}")
    say(f"to talk in its room, in two other terminals: chatserver chat --data {folder} --as buyer (or seller, agent)")
    return _watch(watched, say)


async def _prepare(settings: Settings, secrets_file: Path) -> Secrets:
    """Migrate the database, and see to it that the folder's API key opens it."""
    async with connected(settings) as database:
        await migrate(database)
        keys = ApiKeys(database)
        kept = _read_secrets(secrets_file)
        if kept is None or await keys.check(kept.api_key) is None:
            secret = secrets.token_bytes(SECRET_BYTES)
            _, api_key = await keys.create("development instance", ApiScope, secret, datetime.now(UTC))
            kept = Secrets(jwt_secret=kept.jwt_secret if kept else secrets.token_hex(32), api_key=api_key)
            write_private(secrets_file, kept.model_dump_json())
        return kept


def _read_secrets(file: Path) -> Secrets | None:
    try:
        return Secrets.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _await_ready(client: httpx.Client, server: Child) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").is_success:
                return
        if server.exit_code is not None:
            raise StartFailed("the server", f"ended with code {server.exit_code}", server.log, server.output())
        if time.monotonic() >= deadline:
            raise StartFailed("the server", "did not get ready in time", server.log, server.output())
        time.sleep(POLL_S)


def _watch(parts: Mapping[str, Child], say: Say) -> int:
    while True:
        for name, part in parts.items():
            if part.exit_code is not None:
                say(f"{name} ended by itself with code {part.exit_code}; see {part.log}")
                return 1
        time.sleep(POLL_S)
