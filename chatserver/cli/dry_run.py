"""The command ``policy dry-run``."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, require_mongo, say

if TYPE_CHECKING:
    from chatserver.settings import Settings
    from policies.dispute.dry_run import Difference, DryRun
    from policies.dispute.policy import Policy
    from policies.vocabulary import DisputeId


@dataclass(frozen=True, slots=True)
class _Unplayable:
    """A dispute whose record cannot be played."""

    dispute: "DisputeId"
    why: str


def dry_run(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The changed policy file."),
    ],
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Disputes opened since: a time such as 2026-01-31, or so long ago.")
    ] = "90d",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most disputes, the latest first.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Say what past disputes would have been under a changed policy file, had everybody done what they did.

    Which could not have been opened; which deadlines would have fired earlier, later, never or in addition; who would
    have been refused, or no longer; which decisions need a second person. Nothing is written.
    """
    from chatserver.policy_file import load_policy

    settings = require_mongo(configuration(config, data).settings)
    policy = load_policy(file)
    now = datetime.now(UTC)
    asyncio.run(_print(settings, policy, _point_in_time(since, now), limit, now, as_json))


async def _print(
    settings: "Settings", policy: "Policy", since: datetime, limit: int, now: datetime, as_json: bool
) -> None:
    played: list[DryRun] = []
    unplayable: list[_Unplayable] = []
    async for each in _runs(settings, policy, since, limit, now):
        if isinstance(each, _Unplayable):
            unplayable.append(each)
        else:
            played.append(each)
    totals = Counter(difference.change.value for run in played for difference in run.differences)
    if as_json:
        say(json.dumps(_document(policy, played, unplayable, totals), indent=2))
        return
    for run in played:
        for line in _lines(run):
            say(line)
    for failed in unplayable:
        say(f"{failed.dispute}: cannot be played: {failed.why}")
    differing = sum(bool(run.differences) for run in played)
    say(f"{len(played)} disputes since {_written(since)}, {differing} would differ under policy {policy.version!r}")
    for change, count in sorted(totals.items()):
        say(f"  {change}: {count}")


async def _runs(
    settings: "Settings", policy: "Policy", since: datetime, limit: int, now: datetime
) -> "AsyncIterator[DryRun | _Unplayable]":
    from chatserver.database import connected
    from policies.dispute.dry_run import dry_run as play
    from policies.room import dispute_room
    from storage.commit import GroupCommit
    from storage.disputes import Disputes
    from storage.room_log import RoomLog
    from storage.sandbox import SandboxClock

    async with connected(settings) as database:
        log = RoomLog(database, GroupCommit(database))
        until = now + await SandboxClock(database).offset() if settings.sandbox else now
        for dispute in await Disputes(database, log).opened_since(since, limit):
            entries = [entry async for entry in log.scan(dispute_room(dispute))]
            try:
                yield play(entries, policy, until)
            except Exception as error:  # noqa: BLE001  (one broken record must not keep the others from being played)
                yield _Unplayable(dispute, f"{type(error).__name__}: {error}")


def _point_in_time(text: str, now: datetime) -> datetime:
    """``2026-01-31``, ``2026-01-31T09:30:00Z``, or a duration such as ``30d``: so long before now."""
    from pydantic import TypeAdapter, ValidationError

    from policies.part import Duration

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - TypeAdapter(Duration).validate_python(text)
        except ValidationError:
            message = "--since is a time such as 2026-01-31 or 2026-01-31T09:30:00Z, or a duration such as 30d"
            raise Failure(ExitCode.USAGE, [message]) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _lines(run: "DryRun") -> Iterator[str]:
    if not run.differences:
        return
    yield f"{run.dispute}, opened {_written(run.opened_at)} under policy {run.policy_version!r}:"
    for difference in run.differences:
        place = "" if difference.seq is None else f", entry {difference.seq}"
        yield f"  {difference.what}{place}: {_said(difference)}"
    if run.doubtful:
        yield "  (somebody acted in the moment in which a deadline passed: this may be wrong)"


def _said(difference: "Difference") -> str:
    from policies.dispute.dry_run import Change

    before, after = _written(difference.before), _written(difference.after)
    match difference.change:
        case Change.NOT_OPENED:
            return f"could not have been opened ({difference.rule})"
        case Change.EARLIER | Change.LATER:
            return f"{difference.change.value}, {after} instead of {before}"
        case Change.NEVER:
            return f"never, instead of {before}"
        case Change.ADDED:
            return f"in addition, {after}"
        case Change.REFUSED:
            return f"refused ({difference.rule})"
        case Change.ACCEPTED:
            return f"no longer refused ({difference.rule})"
        case Change.SECOND_PERSON:
            return "needs another agent's recommendation"
        case Change.ONE_PERSON:
            return "no longer needs another agent's recommendation"
        case Change.REMINDERS:
            return f"{after} instead of {before}"


def _document(
    policy: "Policy", played: "list[DryRun]", unplayable: list[_Unplayable], totals: "Counter[str]"
) -> dict[str, Any]:
    return {
        "policy": policy.version,
        "disputes": len(played),
        "totals": dict(sorted(totals.items())),
        "differing": [
            {
                "dispute": run.dispute,
                "opened_at": _written(run.opened_at),
                "policy": run.policy_version,
                "doubtful": list(run.doubtful),
                "differences": [
                    {
                        "change": difference.change.value,
                        "what": difference.what,
                        "seq": difference.seq,
                        "rule": difference.rule,
                        "before": _plain(difference.before),
                        "after": _plain(difference.after),
                    }
                    for difference in run.differences
                ],
            }
            for run in played
            if run.differences
        ],
        "unplayable": [{"dispute": each.dispute, "why": each.why} for each in unplayable],
    }


def _plain(value: datetime | int | None) -> str | int | None:
    return _written(value) if isinstance(value, datetime) else value


def _written(value: datetime | int | None) -> str:
    from policies.instant import instant, rfc3339

    return rfc3339(instant(value)) if isinstance(value, datetime) else str(value)
