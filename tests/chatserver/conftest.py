"""What the tests of the server's own parts share."""

import sys
from collections.abc import AsyncIterator

import pytest

from chatserver import cli
from storage.client import Database, MongoConfig
from tests.chatserver.commands import Outcome, Run
from tests.databases import emptied
from tests.program import environment_with


@pytest.fixture
async def own_database(mongo_url: str, migrated: str) -> AsyncIterator[Database]:
    """A migrated database without data, that no other test sees meanwhile."""
    async with emptied(MongoConfig(mongo_url, migrated, timeout_s=10)) as database:
        yield database


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, in an environment without settings but the given ones."""

    def call(*arguments: str, **variables: str) -> Outcome:
        with monkeypatch.context() as patch:
            for name in environment_with({}).keys() ^ set(environment_with(variables)):
                patch.setenv(name, variables[name])
            patch.setattr(sys, "argv", ["chatserver", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main()
            printed = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    return call
