"""One example of every frame, for the generated documents; a test keeps them valid."""

from typing import Any, Final

from chatserver import protocol

_AT: Final = "2026-01-31T09:30:00.250Z"
_ROOM: Final = "order-1042"
_ENTRY: Final[dict[str, Any]] = {
    "seq": 7,
    "id": "9f2c4be1a07d4e55b3a0c1d2e3f40516",
    "kind": "message",
    "author": {"id": "buyer-7", "role": "buyer", "name": "Ada"},
    "at": _AT,
    "body": {"text": "The parcel has not arrived."},
}

EXAMPLES: Final[dict[type[protocol.Frame], dict[str, Any]]] = {
    protocol.Connect: {
        "type": "connect",
        "id": "c-1",
        "token": "<JWT>",
        "client": {"name": "shop-web", "version": "4.2"},
        "rooms": [{"room": _ROOM, "after": 6}],
    },
    protocol.TokenRefresh: {"type": "token.refresh", "id": "c-2", "token": "<JWT>"},
    protocol.Join: {"type": "join", "id": "c-3", "room": _ROOM, "after": 6},
    protocol.Leave: {"type": "leave", "id": "c-4", "room": _ROOM},
    protocol.History: {"type": "history", "id": "c-5", "room": _ROOM, "before": 7, "limit": 50},
    protocol.MessageSend: {
        "type": "message.send",
        "id": "5b0c7c4e",
        "room": _ROOM,
        "text": "The parcel has not arrived.",
        "reply_to": 3,
    },
    protocol.Typing: {"type": "typing", "room": _ROOM, "on": True},
    protocol.Receipt: {"type": "receipt", "room": _ROOM, "delivered": 7, "read": 7},
    protocol.Ping: {"type": "ping", "id": "c-6", "t": 1769851800250},
    protocol.Connected: {
        "type": "connected",
        "id": "c-1",
        "session": "4f6d3c1a9b8e",
        "user": {"id": "buyer-7", "name": "Ada"},
        "server_time": _AT,
        "heartbeat_s": 25,
        "limits": {
            "frame_bytes": 32768,
            "message_chars": 4000,
            "messages_per_s": 5,
            "message_burst": 10,
            "connections_per_user": 5,
            "rooms_per_connection": 20,
            "history_page": 100,
        },
    },
    protocol.Joined: {
        "type": "joined",
        "id": "c-3",
        "room": _ROOM,
        "kind": "order",
        "head": 7,
        "members": [
            {"user": "buyer-7", "role": "buyer", "name": "Ada", "state": "online"},
            {"user": "seller-3", "role": "seller", "name": "Shop", "state": "offline", "last_seen": _AT},
        ],
        "you": {"role": "buyer"},
        "available_actions": [],
        "entries": [_ENTRY],
        "more": False,
        "cursors": {"buyer-7": {"delivered": 7, "read": 7}, "seller-3": {"delivered": 6, "read": 5}},
    },
    protocol.HistoryPage: {"type": "history", "id": "c-5", "room": _ROOM, "entries": [_ENTRY], "more": True},
    protocol.Ack: {
        "type": "ack",
        "id": "5b0c7c4e",
        "room": _ROOM,
        "seq": 7,
        "entry_id": _ENTRY["id"],
        "at": _AT,
        "duplicate": False,
    },
    protocol.Pong: {"type": "pong", "id": "c-6", "t": 1769851800250, "server_time": _AT},
    protocol.EntryFrame: {"type": "entry", "room": _ROOM, "entry": _ENTRY},
    protocol.Presence: {
        "type": "presence",
        "room": _ROOM,
        "user": "seller-3",
        "role": "seller",
        "state": "away",
        "last_seen": _AT,
    },
    protocol.TypingNow: {"type": "typing", "room": _ROOM, "user": "seller-3", "on": True},
    protocol.ReceiptNow: {"type": "receipt", "room": _ROOM, "user": "seller-3", "delivered": 7, "read": 7},
    protocol.TokenExpiring: {"type": "token.expiring", "in_s": 60},
    protocol.Resync: {"type": "resync", "room": _ROOM, "head": 812},
    protocol.Bye: {"type": "bye", "reason": "going away", "reconnect_after_ms": 3120},
    protocol.Error: {
        "type": "error",
        "id": "5b0c7c4e",
        "code": "rate_limited",
        "message": "Too many messages.",
        "temporary": True,
        "retry_after_ms": 200,
    },
}
