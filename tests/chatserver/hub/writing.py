"""Somebody who writes in a room and is screened."""

from dataclasses import replace

from chatserver.hub.live_room import LiveRoom
from chatserver.hub.screening import MessageScreening
from policies.contact import Detector
from policies.dispute.policy import Policy
from policies.entry import Author
from policies.room import RoomFacts
from policies.screener import Screener
from policies.screening import Screening
from tests.chatserver.disputes.desks import BUYER, Shop


class Writing:
    """Sends messages through the screening of one process. ``every_s``: the slow mode of the room."""

    def __init__(self, shop: Shop, facts: RoomFacts, every_s: int = 0) -> None:
        policy = Policy()
        screener = Screener(Detector(policy.contact), policy.conduct, policy.secrets)
        self.screening = MessageScreening(lambda: screener, shop.log, shop.orders, shop.clock)
        self.live = LiveRoom(replace(facts, slow_mode_s=every_s), 0)

    async def send(self, text: str, command: str, author: Author = BUYER) -> Screening | None:
        if self.screening.at_once(self.live, text):
            return self.screening.screen(self.live, author.id, command, text)
        return await self.screening.screen_later(self.live, author.id, command, text)
