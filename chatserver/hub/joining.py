"""Joining a room: from a seq that the client has, without a hole and without a repeat.

The order of steps is what makes it exact; see ``feed``.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from chatserver.hub.disputes import shown
from chatserver.hub.hub import Hub
from chatserver.hub.live_room import LiveRoom, Member, Membership
from chatserver.hub.page import fit
from chatserver.hub.socket import text_frame
from policies.dispute.state import Dispute
from policies.entry import Entry
from policies.errors import BadRequest, NotFound
from policies.instant import rfc3339
from policies.room import RoomFacts, role_in_room
from policies.vocabulary import STAFF, PresenceState, Role, RoomId, Seq, UserId
from storage.cursors import Cursor


@dataclass(frozen=True, slots=True)
class Page:
    """What a join's read found: entries in order, the log's head, whether entries up to it are left out, and in a
    dispute's room the dispute as it was at the head."""

    entries: list[Entry]
    head: Seq
    more: bool
    dispute: Dispute | None = None


async def join(
    hub: Hub, member: Member, room_id: RoomId, after: int | None, command_id: str | None, joined: LiveRoom | None
) -> LiveRoom:
    """Make a connection a member of a room and send it ``joined``; live entries follow.

    Membership is decided anew on every join and resume, on the room's facts of this moment. They are read twice: to
    know whether to read anything at all, and again after the page, because a change of parties that the page holds
    already is not delivered any more.

    Args:
        after: the last seq the client has; None: it wants the latest page.
        command_id: of the command to answer; None where the room was named in ``connect``.
        joined: the room, if the connection is in it already and wants to start anew.

    Raises:
        NotFound: no such room, or not for this user.
        BadRequest: ``after`` is beyond the room's head.
        Unavailable: MongoDB does not answer.
    """
    facts, role = await _admit(hub, member, room_id)
    live = joined or await hub.open_room(facts)
    membership = live.members[member] = Membership(member, role)

    async def read() -> Page:
        known = await hub.disputes.known(live)  # before the page, so that it is not after the page's head
        page = await read_page(hub, room_id, after)
        if known is not None:
            page = replace(page, dispute=await hub.disputes.at(known, page.entries, page.head))
        live.facts, membership.role = await _admit(hub, member, room_id)
        return page

    strikes: Mapping[UserId, float] = {}
    try:
        if role in STAFF:
            await hub.disputes.record_read(facts, member.user_id, role, "room.join", after=after)
            await hub.staff_logs.follow(live)
            strikes = await hub.moderation.strikes.scores((facts.buyer.id, facts.seller.id))
        cursors, page, _ = await asyncio.gather(hub.cursors.of_room(room_id), read(), hub.attendance.learn(live))
        while True:
            hub.deliver(live, live.feed.start(page.head))
            held = membership.position.go_live(page.head, live.feed.position)
            if held is not None:
                break
            page = await read()
    except BaseException:
        if joined is None:
            live.members.pop(member, None)
            hub.staff_logs.release(live)
            hub.close_room(live)
        raise
    # Nothing is awaited between going live and sending what was read, so the order on the wire is that of the log.
    answer = _joined(live, membership, page, cursors, after, hub.settings.history_bytes, strikes)
    if page.dispute is not None:
        answer |= shown(page.dispute, membership.role, member.user_id, hub.clock.now())
    if command_id is not None:
        answer["id"] = command_id
    member.send(text_frame(orjson.dumps(answer)))
    for publication in held:
        member.send(publication.frame_for(member.user_id, membership.role))
    if page.dispute is not None:
        hub.disputes.joined(live, membership, page.dispute, held)
    hub.changes.joined(live, membership, after, page.entries, held)
    for user, cursor in cursors.items():
        hub.notices.learn_cursor(room_id, user, cursor.delivered, cursor.read)
    hub.attendance.changed(live, member.user_id)
    hub.repair_if_needed(live)
    return live


async def _admit(hub: Hub, member: Member, room_id: RoomId) -> tuple[RoomFacts, Role]:
    facts = await hub.rooms.facts(room_id)
    role = role_in_room(facts, member.user_id, member.token_role) if facts is not None else None
    if facts is None or role is None:
        raise NotFound("No such room.")
    return facts, role


async def read_page(hub: Hub, room_id: RoomId, after: int | None) -> Page:
    """Read what a join is answered with."""
    if after is None:
        entries = await hub.log.read_before(room_id, None, hub.settings.joined_page)
        return Page(entries, Seq(entries[-1].seq if entries else 0), bool(entries) and entries[0].seq > 1)
    limit = hub.settings.history_page
    # Read from one before, to see in the same query that the client's last entry exists.
    known = min(after, 1)
    entries = await hub.log.read_after(room_id, Seq(after - known), limit + known + 1)
    if known and (not entries or entries[0].seq != after):
        head = await hub.log.head(room_id)
        raise BadRequest("The position is beyond the room's last entry.", details={"head": head.seq})
    entries = entries[known:]
    if len(entries) > limit:
        head = await hub.log.head(room_id)
        return Page(entries[:limit], head.seq, more=True)
    return Page(entries, Seq(entries[-1].seq if entries else after), more=False)


def _joined(
    live: LiveRoom,
    membership: Membership,
    page: Page,
    cursors: dict[UserId, Cursor],
    after: int | None,
    most_bytes: int,
    strikes: Mapping[UserId, float],
) -> dict[str, Any]:
    user, role = membership.member.user_id, membership.role
    # Without a position the client wants the latest; with one it goes on from there.
    entries, left_out = fit(page.entries, user, role, most_bytes, newest=after is None)
    answer: dict[str, Any] = {
        "type": "joined",
        "room": live.id,
        "kind": live.facts.kind.value,
        "head": page.head,
        "members": _members(live, membership, cursors, strikes),
        "you": {"role": role.value},
        "available_actions": [],
        "entries": entries,
        "more": page.more or left_out > 0,
        "cursors": {user: {"delivered": at.delivered, "read": at.read} for user, at in cursors.items()},
    }
    if live.slow_mode_s:
        answer["slow_mode_s"] = live.slow_mode_s
    return answer


def _members(
    live: LiveRoom, joining: Membership, cursors: dict[UserId, Cursor], strikes: Mapping[UserId, float]
) -> list[dict[str, Any]]:
    """The parties, present or not, and whoever else is present."""
    present = {one.user: one for one in live.roster.members()}
    facts = live.facts
    members: list[dict[str, Any]] = []
    for party, role in ((facts.buyer, Role.BUYER), (facts.seller, Role.SELLER)):
        seen = present.pop(party.id, None)
        here = party.id == joining.member.user_id
        state = PresenceState.ONLINE if here else seen.state if seen else PresenceState.OFFLINE
        members.append({"user": party.id, "role": role.value, "name": party.name, "state": state.value})
        cursor = cursors.get(party.id)
        if state is PresenceState.OFFLINE and cursor is not None and cursor.last_seen is not None:
            members[-1]["last_seen"] = rfc3339(cursor.last_seen)
        if party.id in strikes:
            members[-1]["strikes"] = strikes[party.id]
    if joining.role not in (Role.BUYER, Role.SELLER):
        present.pop(joining.member.user_id, None)
        me = joining.member
        members.append({"user": me.user_id, "role": joining.role.value, "name": me.name, "state": "online"})
    members += [
        {"user": one.user, "role": one.role.value, "name": one.name, "state": one.state.value}
        for one in present.values()
    ]
    return members
