"""Development only: mint tokens and move the clock. In production these routes do not exist."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, PlainSerializer

from chatserver.auth import mint
from chatserver.http.gate import bounded_route
from chatserver.http.problems import described
from chatserver.http.services import Services
from policies.errors import BadRequest, ErrorCode
from policies.identifiers import is_user_id
from policies.instant import rfc3339
from policies.vocabulary import Role

DAY_S: Final = 24 * 3600
LONGEST_MOVE_S: Final = 10 * 365 * DAY_S


class TokenWanted(BaseModel):
    """Whose token to mint."""

    sub: str = Field(description="The user's id.", examples=["buyer-1"])
    role: Literal["agent", "senior_agent", "auditor"] | None = Field(None, description="For staff.")
    name: str | None = Field(None, max_length=128)
    ttl_s: int = Field(DAY_S, ge=1, le=30 * DAY_S, description="How long the token is good.")


class Token(BaseModel):
    token: str


class ClockMove(BaseModel):
    advance_s: float = Field(
        ge=0, le=LONGEST_MOVE_S, allow_inf_nan=False, description="Seconds; 0 only reads the clock."
    )


class ClockTime(BaseModel):
    now: Annotated[datetime, PlainSerializer(rfc3339)]


def router(services: Services) -> APIRouter:
    """``/v1/sandbox``. Anyone who reaches it can be anyone: only to be added in sandbox mode."""
    routes = APIRouter(
        prefix="/v1/sandbox",
        tags=["sandbox"],
        route_class=bounded_route(services.settings.http_body_bytes),
        responses=described(ErrorCode.BAD_REQUEST),
    )

    @routes.post("/tokens", summary="Mint a user's token")
    async def mint_token(wanted: TokenWanted) -> Token:
        if not is_user_id(wanted.sub):
            raise BadRequest("This cannot be a user's id.", details={"field": "sub"})
        token = mint(
            services.settings.jwt_secret.get_secret_value(),
            wanted.sub,
            now=services.real.now(),
            ttl=timedelta(seconds=wanted.ttl_s),
            name=wanted.name,
            role=Role(wanted.role) if wanted.role else None,
            issuer=services.settings.jwt_issuer,
        )
        return Token(token=token)

    @routes.post("/clock", summary="Move the clock of all processes forward")
    async def move_clock(move: ClockMove) -> ClockTime:
        return ClockTime(now=await services.advance_clock(timedelta(seconds=move.advance_s)))

    return routes
