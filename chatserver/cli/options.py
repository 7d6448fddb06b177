"""Options that several commands share, and how they find the instance they work on."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chatserver.cli.failures import ExitCode, Failure

if TYPE_CHECKING:
    from chatserver.configuration import Configuration
    from chatserver.instance import Instance
    from chatserver.settings import Settings

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d{1,9})([smhd]?)")

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings [env: CHATSERVER_CONFIG]."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder of a running development instance to work on."),
]


def configuration(config: Path | None, data: Path | None = None, **options: Any) -> "Configuration":
    """The effective settings of a command.

    Args:
        config: the TOML file, if one was named.
        data: take the addresses and secrets of the development instance that runs on this folder.
        options: settings given on the command line; None means "not given".
    """
    from chatserver.configuration import load
    from chatserver.instance import STORE_KEY

    given: Mapping[str, Any] = {name: value for name, value in options.items() if value is not None}
    if data is None:
        return load(os.environ, config, given)
    instance = running_instance(data)
    of_instance = {
        "mongo_url": instance.mongo_url,
        "redis_url": instance.redis_url,
        "jwt_secret": instance.jwt_secret,
        "sandbox": True,
        "webhook_private_targets": True,
        "data_dir": data,
    }
    origin = f"option or {data}/dev.json"
    if not load(os.environ, config, {**of_instance, **given}, options_origin=origin).settings.s3_url:
        # As the instance saw it too: then it has brought a store along. How to get into another one is said beside it.
        keys = {"s3_access_key": STORE_KEY, "s3_secret_key": STORE_KEY}
        of_instance |= {"s3_url": instance.s3_url, "s3_path_style": True, **keys}
    return load(os.environ, config, {**of_instance, **given}, options_origin=origin)


def running_instance(data: Path) -> "Instance":
    """Raises:
    NoInstance: none runs on the folder.
    """
    from chatserver import instance
    from chatserver.embedded import FolderLock

    found = instance.read(data)
    if not FolderLock(data).is_held:
        raise instance.NoInstance(data)
    return found


def require_mongo(settings: "Settings") -> "Settings":
    """The settings themselves, when they name a database."""
    if not settings.mongo_url.get_secret_value():
        missing = "mongo_url is not set: use CHATSERVER_MONGO_URL, a file (--config) or a running instance (--data)"
        raise Failure(ExitCode.USAGE, [missing])
    return settings


def duration(option: str, text: str) -> timedelta:
    """A duration as it is written on the command line; more than nothing."""
    found = _DURATION.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise Failure(ExitCode.USAGE, [f"{option}: {text!r} is no duration; one looks like 90s, 15m, 12h or 30d"])
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def say(line: str) -> None:
    """Print a line at once, also when the output is a pipe."""
    print(line, flush=True)  # noqa: T201
