"""The peer: what a tutorial gives. Starlette, one redis.asyncio PubSub per socket, one insert per message with Motor.

Run by uvicorn with the environment variables PEER_MONGO, PEER_DATABASE and PEER_REDIS.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from motor.motor_asyncio import AsyncIOMotorClient
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    mongo: Any = AsyncIOMotorClient(os.environ["PEER_MONGO"], w="majority", journal=True)
    app.state.messages = mongo[os.environ["PEER_DATABASE"]]["messages"]
    # The default of 100 connections would not let the 101st socket subscribe.
    app.state.redis = redis.asyncio.from_url(os.environ["PEER_REDIS"], max_connections=20_000)
    yield
    mongo.close()
    await app.state.redis.aclose()


async def forward(subscription: Any, socket: WebSocket) -> None:
    async for event in subscription.listen():
        if event["type"] == "message":
            await socket.send_json(json.loads(event["data"]))


async def chat(socket: WebSocket) -> None:
    messages, publisher = socket.app.state.messages, socket.app.state.redis
    await socket.accept()
    sender = socket.query_params["user"]
    rooms: set[str] = set()
    subscription = publisher.pubsub()
    forwarding: asyncio.Task[None] | None = None
    try:
        while True:
            frame = await socket.receive_json()
            room = frame["room"]
            if frame["t"] == "join":
                rooms.add(room)
                await subscription.subscribe(room)
                forwarding = forwarding or asyncio.create_task(forward(subscription, socket))
                await socket.send_json({"t": "joined", "room": room})
            elif room in rooms:
                content = {"cid": frame["cid"], "kind": "text", "body": frame["body"], "ts": int(time.time() * 1000)}
                stored = await messages.insert_one({"room_id": room, "sender": sender, **content})
                entry_id = str(stored.inserted_id)
                await publisher.publish(
                    room, json.dumps({"t": "msg", "id": entry_id, "room": room, "sender": sender, **content})
                )
                await socket.send_json({"t": "ack", "cid": frame["cid"], "id": entry_id, "ts": content["ts"]})
    except (WebSocketDisconnect, RuntimeError):
        pass  # the client is gone; Starlette says so in either way
    finally:
        if forwarding is not None:
            forwarding.cancel()
        await subscription.aclose()


app = Starlette(routes=[WebSocketRoute("/ws", chat)], lifespan=lifespan)
