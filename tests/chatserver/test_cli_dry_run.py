"""``chatserver policy dry-run`` on a real database."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chatserver.cli.failures import ExitCode
from policies.dispute.state import Dispute
from policies.instant import rfc3339
from storage.client import Database
from tests.chatserver.commands import Outcome, Run
from tests.chatserver.moving_time import HandClock
from tests.chatserver.office import HOUR_S, Office

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def office(own_database: Database) -> AsyncIterator[Office]:
    made = Office(own_database, HandClock(NOW - timedelta(days=20)))
    yield made
    await made.close()


@pytest.fixture
async def disputes(office: Office) -> list[Dispute]:
    """Three, opened a day and an hour apart, in each of which the seller did not answer."""
    opened = []
    for number in range(1, 4):
        opened.append(await office.open(number))
        office.clock.advance(25 * HOUR_S)
        await office.deadlines().run()
    return opened


@pytest.fixture
def try_policy(run: Run, own_database: Database, mongo_url: str, tmp_path: Path) -> Any:
    async def call(text: str, *options: str) -> Outcome:
        file = tmp_path / "policy.toml"
        file.write_text(text)
        variables = {"CHATSERVER_MONGO_URL": mongo_url, "CHATSERVER_MONGO_DATABASE": own_database.name}
        return await asyncio.to_thread(run, "policy", "dry-run", str(file), *options, **variables)

    return call


async def test_it_says_of_each_dispute_what_would_differ(disputes: list[Dispute], try_policy: Any) -> None:
    tried = await try_policy('version = "v2"\n[terms]\nattend_within = "12h"\n')
    assert tried.code == ExitCode.DONE
    last = disputes[-1]
    due = last.opened_at + timedelta(hours=12, milliseconds=1)
    times = f"{rfc3339(due)} instead of {rfc3339(due + timedelta(hours=12))}"
    assert tried.out[:2] == [
        f"{last.id}, opened {rfc3339(last.opened_at)} under policy 'default':",
        f"  dispute.escalated (seller_attend): earlier, {times}",
    ]
    assert tried.out[-2].endswith("3 would differ under policy 'v2'")
    assert tried.out[-1] == "  earlier: 3"


async def test_it_finds_nothing_under_the_same_terms(disputes: list[Dispute], try_policy: Any) -> None:
    tried = await try_policy('version = "same"')
    assert tried.out[0].startswith("3 disputes since ")
    assert tried.out[0].endswith(", 0 would differ under policy 'same'")
    assert len(tried.out) == 1


async def test_as_json(disputes: list[Dispute], try_policy: Any) -> None:
    tried = await try_policy('[opening]\nnot_before = "49h"\n', "--json", "--limit", "2")
    told = json.loads("\n".join(tried.out))
    assert told["disputes"] == 2
    assert told["totals"] == {"not_opened": 2}
    assert [each["dispute"] for each in told["differing"]] == [disputes[2].id, disputes[1].id]
    [difference] = told["differing"][0]["differences"]
    assert (difference["change"], difference["rule"], difference["seq"]) == ("not_opened", "too_early", 1)


@pytest.mark.parametrize(
    ("since", "count"),
    [("19d", 2), ("1h", 0), ("2020-01-01", 3), pytest.param(rfc3339(NOW), 0, id="now")],  # all processes collect alike
)
async def test_only_disputes_since_a_time(disputes: list[Dispute], try_policy: Any, since: str, count: int) -> None:
    tried = await try_policy("", "--since", since, "--json")
    assert json.loads("\n".join(tried.out))["disputes"] == count


async def test_a_record_that_cannot_be_played_is_named(
    disputes: list[Dispute], try_policy: Any, office: Office
) -> None:
    entries = office.database.collection("entries")
    await entries.update_one({"room": disputes[0].room, "seq": 1}, {"$unset": {"body.order": ""}})
    tried = await try_policy("")
    assert tried.code == ExitCode.DONE
    assert tried.out[0].startswith(f"{disputes[0].id}: cannot be played: ")
    assert "'order'" in tried.out[0]
    assert any(line.startswith("2 disputes since") for line in tried.out)


async def test_a_time_that_is_none_is_wrong_usage(try_policy: Any) -> None:
    tried = await try_policy("", "--since", "yesterday")
    assert tried.code == ExitCode.USAGE
    assert tried.err[0].startswith("chatserver: --since is a time such as")
