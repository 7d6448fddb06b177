"""The real servers that tests run against, one of each per run.

To keep them running between runs, start them yourself and say where they are: ``CHATSERVER_TEST_MONGO_URL``,
``CHATSERVER_TEST_REDIS_URL``, ``CHATSERVER_TEST_S3_URL``. Every test takes a database and a key prefix of its own, so
what earlier runs left there does no harm. A test that kills or pauses a server starts one for itself.
"""

import os
from collections.abc import Iterator

import pytest

from chatserver.embedded import S3, Mongod, Service, Valkey

__all__ = ["mongo_url", "redis_url", "s3_url"]


def _url(kind: type[Service], variable: str, folders: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get(variable):
        yield given
        return
    with kind(folders.mktemp(kind.name)) as service:
        yield service.url


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A single-node replica set."""
    yield from _url(Mongod, "CHATSERVER_TEST_MONGO_URL", tmp_path_factory)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _url(Valkey, "CHATSERVER_TEST_REDIS_URL", tmp_path_factory)


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _url(S3, "CHATSERVER_TEST_S3_URL", tmp_path_factory)
