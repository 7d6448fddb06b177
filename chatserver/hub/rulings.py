"""Rulings of staff on entries, from a connection's frame to the answer."""

import orjson

from chatserver.hub import answers
from chatserver.hub.hub import Hub
from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.socket import text_frame
from chatserver.hub.writer import written
from chatserver.moderation_frames import MessageRedact, MessageRelease
from policies.entry import Author
from policies.verdicts import Verdict
from policies.vocabulary import CommandId, Seq

RulingFrame = MessageRelease | MessageRedact


async def rule(hub: Hub, live: LiveRoom, membership: Membership, frame: RulingFrame) -> bytes:
    """Do what a member of staff says of an entry; returns the ``ack``.

    Raises:
        ChatError: as ``chatserver.moderation.Moderation.rule``.
    """
    author = Author(membership.user_id, membership.role, membership.member.name)
    verdict = Verdict.RELEASE if isinstance(frame, MessageRelease) else Verdict.REDACT
    command_id, seq = CommandId(frame.id), Seq(frame.seq)
    ruled = await hub.moderation.rulings.rule(live.facts, author, verdict, seq, frame.reason, command_id)
    if ruled.entry is None:
        return text_frame(orjson.dumps({"type": "ack", "id": frame.id, "room": frame.room}))
    return answers.ack(frame.id, frame.room, written(ruled.entry, duplicate=ruled.duplicate))
