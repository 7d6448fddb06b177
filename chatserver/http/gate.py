"""What stands before a route that asks who is calling: first the credentials, then a body of bounded size."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from chatserver.access import Authenticator, BackEnd, Caller
from chatserver.auth import Identity
from policies.errors import BadRequest, Forbidden, TooLarge
from policies.vocabulary import ApiScope

BODY_TIMEOUT_S: Final = 20.0
"""How long a client may take to send its body."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class BoundedRequest(Request):
    """A request whose body is read up to a limit."""

    async def bounded_body(self, limit: int) -> bytes:
        """The body.

        Raises:
            TooLarge: it has more than ``limit`` bytes; what comes after is not read.
            BadRequest: it does not come in time.
        """
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in self.stream():
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
        except TimeoutError as error:
            raise BadRequest(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from error
        # Where Starlette keeps a body that was read: ``body()`` returns it from now on.
        self._body = bytes(body)
        return self._body


def bounded_route(limit: int) -> type[APIRoute]:
    """The class of routes that read a body of at most ``limit`` bytes, whoever calls."""

    class BoundedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def bounded(request: Request) -> Response:
                request = BoundedRequest(request.scope, request.receive)
                await request.bounded_body(limit)
                return await handle(request)

            return bounded

    return BoundedRoute


def guarded_route(auth: Authenticator, limit: int) -> type[APIRoute]:
    """The class of routes that know their caller. Nobody unknown gets a body read, let alone parsed."""

    class GuardedRoute(bounded_route(limit)):  # type: ignore[misc]  # a class made for these parts
        def get_route_handler(self) -> Handler:
            handle: Handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                address = request.client.host if request.client else ""
                request.state.caller = await auth.caller(request.headers.get("authorization"), address)
                return await handle(request)

            return guarded

    return GuardedRoute


def caller(request: Request) -> Caller:
    """Who calls a guarded route."""
    found: Caller = request.state.caller
    return found


def user(request: Request) -> Identity:
    """The calling user.

    Raises:
        Forbidden: it is the back end.
    """
    found = caller(request)
    if isinstance(found, BackEnd):
        raise Forbidden("Only a user can do this.")
    return found


def back_end(*scopes: ApiScope) -> Callable[[Request], BackEnd]:
    """A dependency: the calling back end, with one of the scopes.

    Raises:
        Forbidden: it is a user, or the key lacks the scopes.
    """

    def dependency(request: Request) -> BackEnd:
        found = caller(request)
        if not isinstance(found, BackEnd):
            raise Forbidden("Only the marketplace's back end can do this.")
        found.require(*scopes)
        return found

    return dependency


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body has more than {limit} bytes.", details={"limit": limit})
