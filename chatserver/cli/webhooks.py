"""The commands ``webhooks``: set up where the marketplace is told what happened, and look after what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, duration, require_mongo, say
from policies.vocabulary import WebhookType

if TYPE_CHECKING:
    from chatserver.settings import Settings
    from chatserver.webhooks.desk import Standing, WebhookDesk
    from storage.deliveries import Attempt, Delivery, DeliveryPage, DeliveryState

T = TypeVar("T")
_PAGE: Final = 100

webhooks = typer.Typer(
    help="Set up webhooks, and look after what they were sent.", no_args_is_help=True, rich_markup_mode=None
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as the list shows it.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most lines.")]


@webhooks.command("list")
def list_webhooks(config: Config = None, data: Data = None) -> None:
    """Print id, state, pending and parked events, types and URL of every webhook, oldest first."""
    for standing in _run(_settings(config, data), lambda desk: desk.all()):
        say(_line(standing))


@webhooks.command("add")
def add_webhook(
    url: Annotated[str, typer.Argument(help="Where to send: https, at a public address unless configured otherwise.")],
    only: Annotated[
        list[WebhookType] | None, typer.Option("--type", help="What to send; repeat for several [all].")
    ] = None,
    description: Annotated[str, typer.Option(help="For yourself.")] = "",
    config: Config = None,
    data: Data = None,
) -> None:
    """Add a webhook and print its id and its secret, which verifies what is sent. The secret is not shown again."""
    standing, secret = _run(_settings(config, data), lambda desk: desk.add(url, only or (), description))
    say(f"{standing.endpoint.id}  {secret}")


@webhooks.command("remove")
def remove_webhook(webhook: Id, config: Config = None, data: Data = None) -> None:
    """Remove a webhook with all that waits for it."""
    _run(_settings(config, data), lambda desk: desk.remove(webhook))
    say(f"webhook {webhook} is removed")


@webhooks.command("enable")
def enable_webhook(webhook: Id, config: Config = None, data: Data = None) -> None:
    """Send again, and first what has been waiting."""
    _run(_settings(config, data), lambda desk: desk.change(webhook, enabled=True))
    say(f"webhook {webhook} is enabled")


@webhooks.command("disable")
def disable_webhook(webhook: Id, config: Config = None, data: Data = None) -> None:
    """Send nothing until it is enabled again; its events wait."""
    _run(_settings(config, data), lambda desk: desk.change(webhook, enabled=False))
    say(f"webhook {webhook} is disabled")


@webhooks.command("rotate")
def rotate_secret(
    webhook: Id,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long the old secret signs, too: 12h, 7d, 0 if it leaked [1d]."),
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Replace the secret and print the new one. Both sign until the overlap ends."""
    lasting = None if overlap is None else timedelta() if overlap == "0" else duration("--overlap", overlap)
    _, secret = _run(_settings(config, data), lambda desk: desk.rotate(webhook, lasting))
    say(secret)


@webhooks.command("test")
def try_webhook(webhook: Id, config: Config = None, data: Data = None) -> None:
    """Send a signed event of type webhook.test now, and say how the endpoint took it; exit code 1 when it did not."""
    answer = _run(_settings(config, data), lambda desk: desk.test(webhook))
    what = answer.error or f"status {answer.status}"
    if not answer.accepted:
        raise Failure(ExitCode.FAILED, [f"not delivered: {what}, after {answer.took_ms} ms"])
    say(f"delivered: {what}, after {answer.took_ms} ms")


@webhooks.command("log")
def show_log(
    webhook: Id,
    event: Annotated[str | None, typer.Argument(help="One event's id: all that is known of it.")] = None,
    limit: Limit = 50,
    config: Config = None,
    data: Data = None,
) -> None:
    """Print what was sent and what became of it, what happened last first."""
    settings = _settings(config, data)
    if event is not None:
        for line in _details(_run(settings, lambda desk: desk.delivery(webhook, event))):
            say(line)
        return
    from storage.deliveries import DeliveryState

    _say_deliveries(settings, webhook, list(DeliveryState), limit)


@webhooks.command("parked")
def show_parked(webhook: Id, limit: Limit = 50, config: Config = None, data: Data = None) -> None:
    """Print the events that were given up, what happened last first."""
    from storage.deliveries import DeliveryState

    _say_deliveries(_settings(config, data), webhook, [DeliveryState.PARKED], limit)


@webhooks.command("replay")
def replay(
    webhook: Id,
    event: Annotated[str | None, typer.Argument(help="One event's id.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="All that happened since then, such as 2026-01-31T09:30:00Z.")
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="All that was given up.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Send again: one event, or those since a time, or those that are parked. Their ids stay the same."""
    begun = None if since is None else _time(since)
    count = _run(_settings(config, data), lambda desk: desk.replay(webhook, event=event, since=begun, parked=parked))
    say(f"{count} {'event' if count == 1 else 'events'} will be sent again")


def _time(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            raise ValueError("no offset")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Failure(ExitCode.USAGE, [f"--since: {text!r} is no time; one looks like 2026-01-31T09:30:00Z"]) from None


def _settings(config: Config, data: Data) -> "Settings":
    return require_mongo(configuration(config, data).settings)


def _run(settings: "Settings", ask: "Callable[[WebhookDesk], Awaitable[T]]") -> T:
    async def run() -> T:
        async with _desk(settings) as desk:
            return await ask(desk)

    return asyncio.run(run())


@asynccontextmanager
async def _desk(settings: "Settings") -> "AsyncIterator[WebhookDesk]":
    from chatserver.clock import ShiftedClock
    from chatserver.database import connected
    from chatserver.webhooks.setup import webhook_desk
    from storage.sandbox import SandboxClock

    async with connected(settings) as database:
        clock = ShiftedClock()
        if settings.sandbox:
            clock.offset = await SandboxClock(database).offset()
        desk = webhook_desk(settings, database, clock)
        try:
            yield desk
        finally:
            await desk.close()


def _say_deliveries(settings: "Settings", webhook: str, states: "list[DeliveryState]", limit: int) -> None:
    async def pages(desk: "WebhookDesk") -> "list[Delivery]":
        found: list[Delivery] = []
        cursor = None
        while len(found) < limit:
            page: DeliveryPage = await desk.log(webhook, states, min(_PAGE, limit - len(found)), cursor)
            found += page.deliveries
            if (cursor := page.cursor) is None:
                break
        return found

    for delivery in _run(settings, pages):
        say(_summary(delivery))


def _line(standing: "Standing") -> str:
    endpoint = standing.endpoint
    state = "enabled" if endpoint.enabled else "disabled"
    if endpoint.disabled_because:
        state += f" ({endpoint.disabled_because})"
    types = ",".join(endpoint.types) or "all"
    shown = f"{endpoint.id}  {state}  {standing.pending} pending  {standing.parked} parked  {types}  {endpoint.url}"
    return f"{shown}  {endpoint.description}" if endpoint.description else shown


def _summary(delivery: "Delivery") -> str:
    from policies.instant import rfc3339

    last = f"  {_answer(delivery.log[-1])}" if delivery.log else ""
    return f"{rfc3339(delivery.at)}  {delivery.event}  {delivery.type}  {delivery.state}{last}"


def _details(delivery: "Delivery") -> list[str]:
    import orjson

    from policies.instant import rfc3339

    lines = [_summary(delivery), orjson.dumps(delivery.data).decode()]
    lines += [f"  {rfc3339(attempt.at)}  {_answer(attempt)}  {attempt.took_ms} ms" for attempt in delivery.log]
    return lines


def _answer(attempt: "Attempt") -> str:
    return ", ".join(str(part) for part in (attempt.status, attempt.error) if part is not None)
