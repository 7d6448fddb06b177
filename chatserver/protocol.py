"""The wire vocabulary: every frame of the WebSocket protocol, version 1, as a model.

The AsyncAPI document is generated from these models; the hub parses commands with them. Sizes that are
configuration (the length of a message, the page of a history) are checked by the hub, not here.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter

from chatserver.dispute_frames import (
    AgentJoin,
    AgentLeave,
    AvailableAction,
    DecisionIssue,
    DecisionRecommend,
    Dispute,
    DisputeAppeal,
    DisputeClose,
    DisputeCommand,
    DisputeEscalate,
    DisputeNow,
    DisputeReopen,
    EvidenceId,
    EvidenceRequest,
    FulfillmentConfirm,
    FulfillmentMark,
    NoteAdd,
    ProposalAccept,
    ProposalMake,
    ProposalReject,
    ProposalWithdraw,
)
from chatserver.frame import (
    COMMAND_ID_CHARS,
    Command,
    CommandIdField,
    Frame,
    Position,
    RoomIdField,
    SeqField,
    Timestamp,
)
from chatserver.moderation_frames import MessageRedact, MessageRelease
from policies.errors import ErrorCode
from policies.flag import CauseKind, FlagState, Mark
from policies.vocabulary import EntryKind, PresenceState, Role, RoomKind

__all__ = [
    "COMMAND_ID_CHARS",
    "AgentJoin",
    "AgentLeave",
    "AvailableAction",
    "Command",
    "DecisionIssue",
    "DecisionRecommend",
    "Dispute",
    "DisputeAppeal",
    "DisputeClose",
    "DisputeCommand",
    "DisputeEscalate",
    "DisputeNow",
    "DisputeReopen",
    "EvidenceRequest",
    "Frame",
    "FulfillmentConfirm",
    "FulfillmentMark",
    "MessageRedact",
    "MessageRelease",
    "NoteAdd",
    "ProposalAccept",
    "ProposalMake",
    "ProposalReject",
    "ProposalWithdraw",
]
"""What is defined elsewhere and belongs to the vocabulary all the same."""

SUBPROTOCOL: Final = "dispute-chat.v1"
PATH: Final = "/v1/ws"


# Client to server


class ClientInfo(Frame):
    name: Annotated[str, Field(max_length=64)]
    version: Annotated[str, Field(max_length=64)] | None = None


class RoomPosition(Frame):
    """A room to join, and the last seq the client has of it."""

    room: RoomIdField
    after: Position | None = None


class Connect(Command):
    """The first frame. ``token`` may be left out where the Authorization header carried it."""

    type: Literal["connect"]
    token: Annotated[str, Field(max_length=8192)] | None = None
    client: ClientInfo | None = None
    rooms: list[RoomPosition] = []


class TokenRefresh(Command):
    """A new token of the same user, before the old one expires."""

    type: Literal["token.refresh"]
    token: Annotated[str, Field(max_length=8192)]


class Join(Command):
    type: Literal["join"]
    room: RoomIdField
    after: Position | None = None


class Leave(Command):
    type: Literal["leave"]
    room: RoomIdField


class History(Command):
    """A page of entries before or after a seq; without either, the latest."""

    type: Literal["history"]
    room: RoomIdField
    before: SeqField | None = None
    after: Position | None = None
    limit: int = 50


MESSAGE_EVIDENCE: Final = 10
"""Pieces of evidence that one message may show."""


class MessageSend(Command):
    """A plain message. The same ``id`` again gets the first answer back."""

    type: Literal["message.send"]
    room: RoomIdField
    text: str
    reply_to: SeqField | None = None
    evidence: list[EvidenceId] | None = Field(
        None, max_length=MESSAGE_EVIDENCE, description="Ids of sealed evidence that you have added to this room."
    )


class Typing(Frame):
    """No answer; the others get ``typing``, which lapses by itself."""

    type: Literal["typing"]
    room: RoomIdField
    on: bool


class Receipt(Frame):
    """No answer; up to which seq the client has received and its user has read."""

    type: Literal["receipt"]
    room: RoomIdField
    delivered: Position | None = None
    read: Position | None = None


class Ping(Frame):
    type: Literal["ping"]
    id: CommandIdField | None = None
    t: Annotated[int, Field(gt=-(2**53), lt=2**53)] | float | str | None = None


ClientFrame = Annotated[
    Connect
    | TokenRefresh
    | Join
    | Leave
    | History
    | MessageSend
    | Typing
    | Receipt
    | ProposalMake
    | ProposalAccept
    | ProposalReject
    | ProposalWithdraw
    | FulfillmentMark
    | FulfillmentConfirm
    | DisputeEscalate
    | DisputeClose
    | DisputeReopen
    | DisputeAppeal
    | AgentJoin
    | AgentLeave
    | EvidenceRequest
    | DecisionRecommend
    | DecisionIssue
    | MessageRelease
    | MessageRedact
    | NoteAdd
    | Ping,
    Field(discriminator="type"),
]
CLIENT_FRAME: Final[TypeAdapter[ClientFrame]] = TypeAdapter(ClientFrame)


# Server to client


class User(Frame):
    """The connected user; ``role`` is that of the token and absent for buyers and sellers."""

    id: str
    role: Role | None = None
    name: str


class Limits(Frame):
    """What the server accepts, for clients to adapt to."""

    frame_bytes: int
    message_chars: int
    messages_per_s: float
    message_burst: int
    connections_per_user: int
    rooms_per_connection: int
    history_page: int


class Connected(Frame):
    type: Literal["connected"] = "connected"
    id: str
    session: str
    user: User
    server_time: Timestamp
    heartbeat_s: float
    limits: Limits


class EntryAuthor(Frame):
    id: str
    role: Role
    name: str


class WireCause(Frame):
    """One thing that was found wrong with an entry's texts.

    ``field`` names the text; ``start`` and ``end`` count its code points as it was written, both 0 when all of it is
    meant. ``confidence`` is in percent.
    """

    kind: CauseKind
    category: str
    field: str
    start: int
    end: int
    confidence: int
    rule: str


class WireFlag(Frame):
    """What was found wrong with an entry, what was done about it, and what staff said to that. For staff only.

    ``state`` is ``repeated`` for one of very many within minutes, of which enough wait for a word of staff.
    """

    mark: Mark
    confidence: int
    causes: list[WireCause]
    state: FlagState
    decided_by: str | None = None
    decided_at: Timestamp | None = None


class WireEntry(Frame):
    """An entry as one reader sees it. What ``body`` holds follows from the kind, as ``x-entry-bodies`` says; it is
    empty where the entry is withheld from the reader, or erased.

    ``command_id`` is given to its author only. Where ``body`` has a member ``masked``, parts of the texts that it names
    are hidden; staff and the author get these texts in ``whole``, as they were written, and so does everybody once
    staff have ``released`` it. ``flag`` is for staff.
    """

    seq: int
    id: str
    kind: EntryKind
    author: EntryAuthor
    at: Timestamp
    body: dict[str, Any]
    whole: dict[str, str] | None = None
    withheld: Literal[True] | None = None
    released: Literal[True] | None = None
    erased: Literal[True] | None = None
    flag: WireFlag | None = None
    command_id: str | None = None


class Member(Frame):
    """Someone of the room and their presence. ``strikes``, for staff: how much a party has lately done that was found
    wrong, by the weights of the operator's policy."""

    user: str
    role: Role
    name: str
    state: PresenceState
    last_seen: Timestamp | None = None
    strikes: float | None = None


class You(Frame):
    role: Role


class Cursor(Frame):
    """Up to which seq a member has received and read."""

    delivered: int
    read: int


class Joined(Frame):
    """``entries`` are those after the client's position (oldest first), or the latest page; where there are ``more``,
    ``history`` has the rest. Live entries follow after ``head``, with no hole and no repeat. In a dispute's room
    ``dispute`` is how it was at ``head``. In slow mode a party waits ``slow_mode_s`` seconds between two messages;
    a ``notice`` entry says when that changes."""

    type: Literal["joined"] = "joined"
    id: str | None = None
    room: str
    kind: RoomKind
    head: int
    members: list[Member]
    you: You
    dispute: Dispute | None = None
    available_actions: list[AvailableAction] = []
    entries: list[WireEntry]
    more: bool
    cursors: dict[str, Cursor]
    slow_mode_s: int | None = None


class HistoryPage(Frame):
    type: Literal["history"] = "history"
    id: str
    room: str
    entries: list[WireEntry]
    more: bool


class AckNotice(Frame):
    """What became of a text that breaks a rule, and a sentence for its author: which kind of part to say otherwise."""

    mark: Literal[Mark.WARNED, Mark.MASKED, Mark.WITHHELD]
    message: str


class Ack(Frame):
    """A command is done. The fields beside ``id`` are there when it wrote an entry: then the entry is durable.

    ``room`` is where the entry is: for a note that is the staff log. ``notice`` comes when its text was not shown as it
    was written, or both sides were reminded of the rules.
    """

    type: Literal["ack"] = "ack"
    id: str
    room: str | None = None
    seq: int | None = None
    entry_id: str | None = None
    at: Timestamp | None = None
    duplicate: bool | None = None
    notice: AckNotice | None = None


class Pong(Frame):
    type: Literal["pong"] = "pong"
    id: str | None = None
    t: int | float | str | None = None
    server_time: Timestamp


class EntryFrame(Frame):
    """A live entry; strictly in order of seq within a room."""

    type: Literal["entry"] = "entry"
    room: str
    entry: WireEntry


class EntryChanged(Frame):
    """Staff have released or redacted an entry: how it is shown to this reader from now on. It comes after the entry of
    the log that says so (``message.released``, ``message.redacted``), also to a client that comes back later: after
    ``joined``, and after each page of ``history`` that goes on with ``after``. A client that keeps entries hides what a
    ``message.redacted`` names (``seq``) at once, and reads again what such an entry names (``history`` with ``after``
    one less, ``limit`` 1) when this frame does not come: a connection may break in between."""

    type: Literal["entry.changed"] = "entry.changed"
    room: str
    entry: WireEntry


class Note(Frame):
    """Staff in a dispute's room: somebody added a note. ``room`` is that room; the entry's seq is its place in the
    staff log, whose id is the dispute's ``staff_room``: join it for the notes before."""

    type: Literal["note"] = "note"
    room: str
    entry: WireEntry


class Presence(Frame):
    type: Literal["presence"] = "presence"
    room: str
    user: str
    role: Role
    state: PresenceState
    last_seen: Timestamp | None = None


class TypingNow(Frame):
    type: Literal["typing"] = "typing"
    room: str
    user: str
    on: bool


class ReceiptNow(Frame):
    type: Literal["receipt"] = "receipt"
    room: str
    user: str
    delivered: int
    read: int


class TokenExpiring(Frame):
    type: Literal["token.expiring"] = "token.expiring"
    in_s: float


class Resync(Frame):
    """The client's position cannot be served live: it joins again with ``after``."""

    type: Literal["resync"] = "resync"
    room: str
    head: int


class Bye(Frame):
    """Sent before a planned close."""

    type: Literal["bye"] = "bye"
    reason: str
    reconnect_after_ms: int


class Error(Frame):
    """What went wrong with the command ``id`` (absent where no command can be named)."""

    type: Literal["error"] = "error"
    id: str | None = None
    code: ErrorCode
    message: str
    temporary: bool
    retry_after_ms: int | None = None
    details: dict[str, Any] | None = None


ServerFrame = Annotated[
    Connected
    | Joined
    | HistoryPage
    | Ack
    | Pong
    | EntryFrame
    | EntryChanged
    | DisputeNow
    | Note
    | Presence
    | TypingNow
    | ReceiptNow
    | TokenExpiring
    | Resync
    | Bye
    | Error,
    Field(discriminator="type"),
]
SERVER_FRAME: Final[TypeAdapter[ServerFrame]] = TypeAdapter(ServerFrame)
