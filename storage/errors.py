"""What storage alone can say about an append or a database. ``policies.errors.Unavailable`` joins them."""

from policies.vocabulary import CommandId, RoomId, Seq, UserId


class AppendLost(Exception):
    """The entry was certainly not written."""


class HeadMoved(AppendLost):
    """Another writer holds this seq: reload the head, decide again, retry."""

    def __init__(self, room: RoomId, seq: Seq) -> None:
        super().__init__(f"entry {seq} of room {room} exists")
        self.room = room
        self.seq = seq


class CommandTaken(AppendLost):
    """The room has an entry of this author and command id already: find it and answer with it."""

    def __init__(self, room: RoomId, author: UserId, command_id: CommandId) -> None:
        super().__init__(f"room {room} has an entry of {author} for command {command_id}")
        self.room = room
        self.author = author
        self.command_id = command_id


class EntryRejected(Exception):
    """MongoDB's schema validation refused an entry: a fault of the program, never of the user."""


class UnusableDatabase(Exception):
    """The database cannot be worked with, and waiting will not help; the message says what to do."""


class NotOffered(Exception):
    """This MongoDB, or what its user may do, does not include what was asked for."""
