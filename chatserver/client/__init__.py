"""The Python client: for bots, back ends, tests and the terminal.

    async with ChatClient("https://chat.example", token=token) as client:
        room = await client.join("order-1042")
        await room.send("The parcel arrived, but it is empty.")
        async for entry in room.entries():
            print(entry.seq, entry.author.name, entry.text)

What it promises, through any number of lost connections and repeated or missing deliveries: ``entries`` yields every
entry once and in order, and ``send`` returns when the message is stored, once. A dispute's room says how the
dispute stands (``room.dispute``, ``room.available_actions``), and ``room.case`` acts in it:

    opened = await client.open_dispute("1042", "not_received", "Nothing came.", "full_refund")
    room = await client.join(opened.room)
    await room.case.propose("partial_refund", amount=1500)
    await room.attach("parcel.jpg", kind="photo", caption="as it came")

A text that breaks a rule of the platform is stored all the same; what became of it is in ``notice`` of the answer, for
its author. Staff find why in ``entry.flag`` and decide with ``room.release`` and ``room.redact``; an entry that was
changed so comes with ``client.events()`` as ``Changed``, also when that happened while the client was away. An
application that keeps entries beyond its own end hides ``entry.body["seq"]`` of each ``message.redacted`` it reads.

It needs ``websockets`` and ``pydantic`` (and ``httpx`` to open a dispute or to add evidence), and nothing of the
server but its wire vocabulary.
"""

from chatserver.client.attaching import Attached
from chatserver.client.case import Case, Sent
from chatserver.client.chat_client import ChatClient, websocket_url
from chatserver.client.errors import ClientClosed, ConnectionEnded, ConnectTimeout
from chatserver.client.events import ClientEvent, Ended, Offline, Online, Postponed
from chatserver.client.frames import Author, Cause, Changed, Entry, Flag, Noted, Notice
from chatserver.client.opening import OpenedDispute
from chatserver.client.room import HistoryPage, Room
from chatserver.client.stream import Stream

__all__ = [
    "Attached",
    "Author",
    "Case",
    "Cause",
    "Changed",
    "ChatClient",
    "ClientClosed",
    "ClientEvent",
    "ConnectTimeout",
    "ConnectionEnded",
    "Ended",
    "Entry",
    "Flag",
    "HistoryPage",
    "Noted",
    "Notice",
    "Offline",
    "Online",
    "OpenedDispute",
    "Postponed",
    "Room",
    "Sent",
    "Stream",
    "websocket_url",
]
