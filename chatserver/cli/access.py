"""Commands about who may come in: ``token``, ``keys``, ``revoke``."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, duration, require_mongo, say
from policies.vocabulary import ApiScope, Role

if TYPE_CHECKING:
    from chatserver.settings import Settings

STAFF_ROLES: Final = ("agent", "senior_agent", "auditor")


def token(
    sub: Annotated[str, typer.Option(help="The user's id.")],
    role: Annotated[str | None, typer.Option(help="For staff: agent, senior_agent or auditor.")] = None,
    name: Annotated[str | None, typer.Option(help="The name that others see.")] = None,
    ttl: Annotated[str, typer.Option(metavar="DURATION", help="How long it is good: 90s, 15m, 12h, 30d.")] = "1h",
    config: Config = None,
    data: Data = None,
) -> None:
    """Mint a user's token (JWT, HS256), as the marketplace's back end would.

    Buyers and sellers have no role: theirs follows from the order.
    """
    if role is not None and role not in STAFF_ROLES:
        raise Failure(ExitCode.USAGE, [f"--role: {role!r} is none of {', '.join(STAFF_ROLES)}"])
    lasting = duration("--ttl", ttl)
    settings = configuration(config, data).settings
    secret = settings.jwt_secret.get_secret_value()
    if not secret:
        raise Failure(ExitCode.USAGE, ["jwt_secret is not set: tokens of a JWKS are minted where its private key is"])
    from chatserver.auth import mint

    try:
        minted = mint(
            secret,
            sub,
            now=datetime.now(UTC),
            ttl=lasting,
            name=name,
            role=Role(role) if role else None,
            issuer=settings.jwt_issuer,
        )
    except ValueError as error:
        raise Failure(ExitCode.USAGE, [str(error)]) from None
    say(minted)


keys = typer.Typer(
    help="Create, list and revoke the API keys of the marketplace's back end.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[ApiScope], typer.Option(help="What it may do; repeat for several.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Make a key and print it. It is kept as a hash: nobody can print it again."""
    settings = require_mongo(configuration(config, data).settings)
    say(asyncio.run(_create_key(settings, name, scope)))


async def _create_key(settings: "Settings", name: str, scopes: list[ApiScope]) -> str:
    from secrets import token_bytes

    from chatserver.database import connected
    from storage.api_keys import SECRET_BYTES, ApiKeys

    async with connected(settings) as database:
        _, key = await ApiKeys(database).create(name, scopes, token_bytes(SECRET_BYTES), datetime.now(UTC))
    return key


@keys.command("list")
def list_keys(config: Config = None, data: Data = None) -> None:
    """Print id, time of making, state, scopes and name of every key, oldest first."""
    settings = require_mongo(configuration(config, data).settings)
    for line in asyncio.run(_list_keys(settings)):
        say(line)


async def _list_keys(settings: "Settings") -> list[str]:
    from chatserver.database import connected
    from policies.instant import rfc3339
    from storage.api_keys import ApiKeys

    async with connected(settings) as database:
        found = await ApiKeys(database).list()
    lines = []
    for key in found:
        state = f"revoked {rfc3339(key.revoked_at)}" if key.revoked_at else "active"
        lines.append(f"{key.id}  {rfc3339(key.created_at)}  {state}  {','.join(sorted(key.scopes))}  {key.name}")
    return lines


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as the list shows it.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Take a key back. Servers that used it just now notice within seconds."""
    settings = require_mongo(configuration(config, data).settings)
    if not asyncio.run(_revoke_key(settings, key_id)):
        raise Failure(ExitCode.FAILED, [f"there is no active key {key_id}; see: chatserver keys list"])
    say(f"key {key_id} is revoked")


async def _revoke_key(settings: "Settings", key_id: str) -> bool:
    from chatserver.database import connected
    from storage.api_keys import ApiKeys

    async with connected(settings) as database:
        return await ApiKeys(database).revoke(key_id, datetime.now(UTC))


def revoke(
    user: Annotated[str, typer.Argument(help="The user's id.")],
    lift: Annotated[bool, typer.Option("--lift", help="Give the access back instead.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Take a user's access away: tokens issued until now open nothing, open connections are closed (4503)."""
    settings = require_mongo(configuration(config, data).settings)
    if lift:
        if not asyncio.run(_lift(settings, user)):
            raise Failure(ExitCode.FAILED, [f"the access of {user} is not revoked"])
        say(f"{user} may come in again")
        return
    told = asyncio.run(_revoke(settings, user, datetime.now(UTC)))
    say(f"the access of {user} is revoked" + ("" if told else "; Redis does not answer, so servers notice with delay"))


async def _lift(settings: "Settings", user: str) -> bool:
    from chatserver.database import connected
    from policies.vocabulary import UserId
    from storage.revocations import Revocations

    async with connected(settings) as database:
        return await Revocations(database).lift(UserId(user))


async def _revoke(settings: "Settings", user: str, now: datetime) -> bool:
    from chatserver.database import connected
    from policies.vocabulary import UserId
    from storage.revocations import Revocations

    async with connected(settings) as database:
        await Revocations(database).revoke(UserId(user), now)
    return await _tell_servers(settings, user)


async def _tell_servers(settings: "Settings", user: str) -> bool:
    """Let the servers close what the user has open now. They also look by themselves, every few seconds."""
    import orjson
    from redis.asyncio import RedisCluster

    from chatserver.hub.hub import CONTROL
    from chatserver.hub.redis_url import REDIS_ERRORS, open_redis

    url = settings.redis_url.get_secret_value()
    if not url:
        return False
    client = open_redis(url)
    channel = f"{settings.redis_prefix}:{CONTROL}"
    payload = orjson.dumps({"from": "chatserver revoke", "revoked": [user]})
    try:
        if isinstance(client, RedisCluster):
            await client.spublish(channel, payload)
        else:
            await client.publish(channel, payload)
    except REDIS_ERRORS:
        return False
    finally:
        await client.aclose()
    return True
