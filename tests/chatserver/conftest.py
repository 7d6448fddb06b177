"""What the tests of the server's own parts share."""

import sys
import uuid
from collections.abc import AsyncIterator

import pytest

from chatserver import cli
from storage import schema
from storage.client import Database, MongoConfig, open_database
from tests.chatserver.commands import Outcome, Run
from tests.program import environment_with


@pytest.fixture
async def own_database(mongo_url: str) -> AsyncIterator[Database]:
    """A migrated database that no other test sees."""
    database = open_database(MongoConfig(mongo_url, f"own_{uuid.uuid4().hex[:12]}", timeout_s=10))
    await schema.migrate(database)
    yield database
    await database.drop()
    await database.close()


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
