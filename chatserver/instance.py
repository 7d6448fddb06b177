"""What a development instance tells the other commands: ``dev.json`` in its data folder."""

import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

FILE: Final = "dev.json"
STORE_KEY: Final = "development"
"""Access and secret key for the store that an instance brings along; it takes any."""


class NoInstance(Exception):
    """No instance runs on this data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"no instance runs on {folder}; start one with: chatserver dev --data {folder}")


class Links(BaseModel):
    """A link for each person of the demo order. It carries their token behind a ``#``, which no browser sends."""

    buyer: str
    seller: str
    agent: str


class Demo(BaseModel):
    order_id: str
    links: Links


class Instance(BaseModel):
    """Addresses and credentials of a development instance."""

    base_url: str
    api_key: str
    jwt_secret: str
    mongo_url: str
    redis_url: str
    s3_url: str
    demo: Demo


def read(folder: Path) -> Instance:
    """Raises:
    NoInstance: there is no such file, or it is not one.
    """
    try:
        return Instance.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        raise NoInstance(folder) from None


def write(folder: Path, instance: Instance) -> None:
    """Put the file into the folder, for its owner only. Whoever reads it meanwhile sees all of it or nothing."""
    write_private(folder / FILE, instance.model_dump_json(indent=2) + "\n")


def forget(folder: Path) -> None:
    """Remove the file, if there is one."""
    (folder / FILE).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file at once and for its owner only."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)
