"""What the servers publish about themselves is what they do."""

import json

import pytest

from chatserver.asyncapi import document
from chatserver.settings import Settings
from tests.system.conftest import Dial
from tests.system.schemas import FrameSchemas
from tests.system.site import Server, Site, unique


async def test_frames_are_held_against_the_schemas_that_the_server_publishes(
    site: Site, pair: tuple[Server, Server]
) -> None:
    published = site.http.get(f"{pair[0].url}/asyncapi.json").json()
    assert published["components"]["schemas"] == json.loads(
        json.dumps(document(Settings(), "")["components"]["schemas"])
    )


async def test_a_frame_that_breaks_the_contract_would_be_noticed(
    pair: tuple[Server, Server], dial: Dial, schemas: FrameSchemas
) -> None:
    peer = await dial(pair[0], unique("user"))
    (connected,) = peer.of_type("connected")
    assert schemas.parse(json.dumps(connected)) == connected
    broken = [
        {**connected, "type": "conected"},
        {**connected, "sesion": "misspelt"},
        {**connected, "heartbeat_s": "25"},
        {**connected, "user": {**connected["user"], "role": "king"}},
        {field: value for field, value in connected.items() if field != "limits"},
    ]
    for frame in broken:
        with pytest.raises(AssertionError):
            schemas.parse(json.dumps(frame))
