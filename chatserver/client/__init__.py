"""The Python client: for bots, back ends, tests and the terminal.

    async with ChatClient("https://chat.example", token=token) as client:
        room = await client.join("order-1042")
        await room.send("The parcel arrived, but it is empty.")
        async for entry in room.entries():
            print(entry.seq, entry.author.name, entry.text)

What it promises, through any number of lost connections and repeated or missing deliveries: ``entries`` yields every
entry once and in order, and ``send`` returns when the message is stored, once. It needs ``websockets`` and
``pydantic`` only, and nothing of the server but its wire vocabulary.
"""

from chatserver.client.chat_client import ChatClient, websocket_url
from chatserver.client.errors import ClientClosed, ConnectionEnded, ConnectTimeout
from chatserver.client.events import ClientEvent, Ended, Offline, Online
from chatserver.client.frames import Author, Entry
from chatserver.client.room import HistoryPage, Room, Sent
from chatserver.client.stream import Stream

__all__ = [
    "Author",
    "ChatClient",
    "ClientClosed",
    "ClientEvent",
    "ConnectTimeout",
    "ConnectionEnded",
    "Ended",
    "Entry",
    "HistoryPage",
    "Offline",
    "Online",
    "Room",
    "Sent",
    "Stream",
    "websocket_url",
]
