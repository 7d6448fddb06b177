"""Which server and room to talk to, and as whom."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from chatserver import demo, instance
from policies.errors import BadRequest, ChatError, NotFound, Unauthenticated, Unavailable
from policies.room import dispute_room, order_room
from policies.vocabulary import DisputeId, OrderId

ROLES: Final = ("buyer", "seller", "agent")
_ORDER_PREFIX: Final = order_room(OrderId(""))
_DISPUTE_PREFIX: Final = dispute_room(DisputeId(""))
_ID_CHARS_REFUSED: Final = frozenset("/?#%")
TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A room on a server, and what gives a token for it."""

    url: str
    room: str
    token: str | None = None
    token_provider: Callable[[], Awaitable[str]] | None = None


async def of_instance(data: Path, role: str, room: str | None) -> Target:
    """A room of the development instance that runs on a folder, as one of its people.

    Args:
        role: buyer or seller (of the room's order or dispute), or agent.
        room: the room's id; None: the demo order's room.

    Raises:
        NoInstance: there is none.
        ChatError: it does not answer, or does not know the room.
    """
    running = instance.read(data)
    name = room if room is not None else order_room(OrderId(running.demo.order_id))
    person: dict[str, Any] = dict(demo.PEOPLE[role])
    if role != "agent" and (path := _subject(name)) is not None:
        party = (await _ask(running, "GET", path, headers={"Authorization": f"Bearer {running.api_key}"}))[role]
        person = {"sub": party["id"], "name": party["name"]}

    async def provide() -> str:
        answer = await _ask(running, "POST", "/v1/sandbox/tokens", json=person)
        return str(answer["token"])

    return Target(running.base_url, name, token_provider=provide)


def _subject(room: str) -> str | None:
    """Where to read who the parties of a room are."""
    for prefix, path in ((_ORDER_PREFIX, "/v1/orders/"), (_DISPUTE_PREFIX, "/v1/disputes/")):
        if room.startswith(prefix):
            name = room.removeprefix(prefix)
            if not name or _ID_CHARS_REFUSED & set(name):
                raise BadRequest("This cannot be a room's id.")
            return path + name
    return None


async def _ask(running: instance.Instance, method: str, path: str, **options: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=running.base_url, trust_env=False, timeout=TIMEOUT_S) as client:
        try:
            answer = await client.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"The instance at {running.base_url} does not answer.") from error
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise NotFound("The instance knows no such room.")
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Unauthenticated("The instance does not accept its own API key; is another one running there?")
    if not answer.is_success:
        raise ChatError(f"The instance answered {path} with status {answer.status_code}.")
    content: dict[str, Any] = answer.json()
    return content
