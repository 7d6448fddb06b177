"""A room that at least one connection of this process has joined."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol
from zlib import crc32

import orjson

from chatserver.errors import CloseCode
from chatserver.hub.feed import Position, RoomFeed
from chatserver.hub.live_dispute import LiveDispute
from chatserver.hub.pipe import Send
from chatserver.hub.publication import Publication
from chatserver.hub.roster import Roster
from chatserver.hub.senders import Senders
from chatserver.hub.socket import text_frame
from policies.contact import OrderContext
from policies.room import RoomFacts
from policies.vocabulary import STAFF, Role, RoomId, UserId


def partition_of(room: RoomId, partitions: int) -> int:
    """The partition of a room: which bus channel its entries travel on, and with it which process writes it."""
    return crc32(room.encode()) % partitions


def partition_channel(partition: int) -> str:
    """The bus channel of a partition."""
    return f"p:{partition}"


class Member(Protocol):
    """A connection as its rooms see it."""

    @property
    def user_id(self) -> UserId: ...
    @property
    def name(self) -> str: ...
    @property
    def token_role(self) -> Role | None:
        """The staff role of the member's token."""

    @property
    def away(self) -> bool:
        """Whether nobody seems to sit in front of it."""

    @property
    def send(self) -> Send:
        """Queues a ready frame; never blocks."""

    def close(self, code: CloseCode, reason: str) -> None: ...
    def left(self, room: RoomId) -> None:
        """The room has put the member out."""


class Membership:
    """One connection's place in one room."""

    __slots__ = ("member", "position", "role", "send", "user_id")

    def __init__(self, member: Member, role: Role) -> None:
        self.member = member
        self.role = role
        # Asked for with every delivery, so they are at hand.
        self.user_id = member.user_id
        self.send = member.send
        self.position: Position[Publication] = Position()


class LiveRoom:
    """The members of a room on this process, and the stream that they are given.

    Args:
        partition: see ``partition_of``.
    """

    __slots__ = (
        "channel",
        "delivered",
        "dispute",
        "facts",
        "feed",
        "members",
        "openers",
        "order",
        "order_until",
        "partition",
        "roster",
        "senders",
        "slowed",
        "staff_log",
    )

    def __init__(self, facts: RoomFacts, partition: int) -> None:
        self.facts = facts
        self.partition = partition
        self.channel = partition_channel(partition)
        self.openers = 0  # joins under way and members: who needs the room in service
        self.feed: RoomFeed[Publication] = RoomFeed()
        self.members: dict[Member, Membership] = {}
        self.roster = Roster()
        self.dispute: LiveDispute | None = None
        """Of a dispute's room, from the first join on."""
        self.staff_log: LiveRoom | None = None
        """Beside a dispute's room, while staff are in it."""
        self.delivered: Callable[[list[Publication]], None] | None = None
        """Told what the members were given."""
        self.senders: Senders | None = None
        """From the first message on that a party sends by this process."""
        self.order: OrderContext | None = None
        """What screening knows of the order; there once ``senders`` is complete."""
        self.order_until: datetime | None = None
        """How long that counts before it is read again."""
        self.slowed: int | None = None
        """The slow mode that the stream has told of last; it knows better than facts that were read at some time."""

    @property
    def id(self) -> RoomId:
        return self.facts.id

    @property
    def slow_mode_s(self) -> int:
        """How many seconds a party has to wait between two messages."""
        return self.facts.slow_mode_s if self.slowed is None else self.slowed

    def deliver(self, run: list[Publication]) -> int:
        """Give members what the feed handed out. Returns the number of deliveries."""
        delivered = 0
        for membership in tuple(self.members.values()):
            position = membership.position
            fresh = position.deliver(run)
            if fresh:
                user_id, role, send = membership.user_id, membership.role, membership.send
                for publication in fresh:
                    send(publication.frame_for(user_id, role))
                delivered += len(fresh)
            elif position.lost:
                self.resync(membership)
        return delivered

    def resync(self, membership: Membership) -> None:
        """Tell a member whose position cannot be served live to join again."""
        self.members.pop(membership.member, None)
        frame = {"type": "resync", "room": self.id, "head": self.feed.known_head}
        membership.send(text_frame(orjson.dumps(frame)))
        membership.member.left(self.id)

    def tell(self, frame: bytes, *, besides: UserId | None = None) -> None:
        """Send a frame that may be lost to every member, but for one user's."""
        for membership in tuple(self.members.values()):
            if membership.user_id != besides and not membership.position.joining:
                membership.send(frame, ephemeral=True)

    def change_parties(self, buyer: UserId, seller: UserId) -> list[Membership]:
        """The order has other parties now. Returns the memberships that end with it."""
        ended = [
            membership
            for membership in self.members.values()
            if membership.role not in STAFF and membership.user_id not in (buyer, seller)
        ]
        for membership in self.members.values():
            if membership.role not in STAFF:
                membership.role = Role.BUYER if membership.user_id == buyer else Role.SELLER
        return ended

    def of_user(self, user: UserId) -> Iterable[Membership]:
        """The connections of one user in the room."""
        return (membership for membership in self.members.values() if membership.user_id == user)
