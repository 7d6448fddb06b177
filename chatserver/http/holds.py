"""Legal holds over HTTP: the evidence of a dispute is kept, however old it gets."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, model_validator

from chatserver.access import BackEnd, Caller
from chatserver.http.gate import caller as asking
from chatserver.http.gate import guarded_route
from chatserver.http.orders import WrittenTime
from chatserver.http.problems import USUAL, described
from chatserver.http.reading import role_in_dispute
from chatserver.http.services import Services
from policies.errors import ErrorCode, Forbidden, NotFound
from policies.vocabulary import ApiScope, DisputeId, Role, UserId
from storage.audit import AuditRecord
from storage.holds import Hold

REASON_CHARS: Final = 2_000


class HoldOrder(BaseModel):
    """`on`: keep everything; otherwise the policy's retention holds again."""

    on: bool
    reason: str = Field("", max_length=REASON_CHARS, description="Of a hold; it is needed then.")

    @model_validator(mode="after")
    def _has_reason(self) -> "HoldOrder":
        if self.on and not self.reason.strip():
            raise ValueError("a hold needs a reason")
        return self


class HoldView(BaseModel):
    """Whether the evidence of a dispute is held, and since when."""

    dispute: str
    on: bool
    reason: str | None = None
    by: str | None = None
    since: WrittenTime | None = None


def router(services: Services) -> APIRouter:
    """``/v1/disputes/{dispute}/hold``."""
    routes = APIRouter(
        prefix="/v1/disputes",
        tags=["disputes"],
        route_class=guarded_route(services.auth, services.settings.http_body_bytes),
        responses=described(*USUAL, ErrorCode.NOT_FOUND),
    )

    @routes.post("/{dispute}/hold", summary="Hold a dispute's evidence", response_model_exclude_none=True)
    async def hold(dispute: str, order: HoldOrder, caller: Annotated[Caller, Depends(asking)]) -> HoldView:
        """For senior agents, and keys with `disputes:write`. While a dispute is held, none of its evidence, nor of its
        order's room, is deleted when its time is up. Who has held it and why is on record.
        """
        named = DisputeId(dispute)
        by, role = await _holder(services, caller, named)
        now = services.clock.now()
        details = {"reason": order.reason} if order.reason else {}
        # On record first: nothing is let go of unseen.
        action = "hold.on" if order.on else "hold.off"
        await services.audit.record(AuditRecord(now, by, role, action, named, None, details))
        if order.on:
            await services.holds.put(Hold(named, by, role, order.reason, now))
        else:
            await services.holds.lift(named)
        held = await services.holds.of(named)
        if held is None:
            return HoldView(dispute=named, on=False)
        return HoldView(dispute=named, on=True, reason=held.reason, by=held.by, since=held.since)

    return routes


async def _holder(services: Services, caller: Caller, dispute: DisputeId) -> tuple[UserId, Role]:
    """Who holds, and as what.

    Raises:
        Forbidden: may not.
        NotFound: there is no such dispute, or none for this caller.
    """
    if isinstance(caller, BackEnd):
        caller.require(ApiScope.DISPUTES_WRITE)
    found = await services.disputes.get(dispute)
    if found is None:
        raise NotFound("There is no such dispute.")
    if isinstance(caller, BackEnd):
        return UserId(f"key:{caller.key_id}"), Role.SYSTEM
    role = role_in_dispute(found.dispute, caller.user_id, caller.role)
    if role is None:
        raise NotFound("There is no such dispute.")
    if role is not Role.SENIOR_AGENT:
        raise Forbidden("Only senior agents hold the evidence of a dispute.")
    return caller.user_id, role
