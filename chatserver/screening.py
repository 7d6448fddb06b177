"""Screening texts that are no messages, wherever they come in."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from chatserver.clock import Clock
from policies.contact import OrderContext
from policies.screener import Screener, context_of
from policies.screening import Screening
from policies.vocabulary import OrderId
from storage.orders import Orders

AT_ONCE_CHARS: Final = 500
"""A longer text may take milliseconds, so it is read beside the event loop."""


class TextScreening:
    """Screens the texts of commands and requests, by the names that they have in the bodies of entries.

    Args:
        screener: by the rules in force.
    """

    def __init__(self, screener: Callable[[], Screener], orders: Orders, clock: Clock) -> None:
        self._screener = screener
        self._orders = orders
        self._clock = clock

    async def order(self, order: OrderId) -> OrderContext:
        """What is known of an order, of which both sides may speak.

        Raises:
            Unavailable: it cannot be read.
        """
        found = await self._orders.get(order)
        return OrderContext() if found is None else context_of(found.facts)

    async def texts(self, texts: Mapping[str, str], order: OrderContext) -> Screening | None:
        """What is wrong with texts; None for nearly all."""
        said = {name: text for name, text in texts.items() if text}
        if not said:
            return None
        screener, now = self._screener(), self._clock.now()
        if sum(map(len, said.values())) <= AT_ONCE_CHARS:
            return screener.texts(said, order, now)
        return await asyncio.to_thread(screener.texts, said, order, now)

    async def evidence(
        self, texts: Mapping[str, str], filename: str, codes: Sequence[str], order: OrderContext
    ) -> Screening | None:
        """What is wrong with a piece of evidence; arguments as for ``Screener.evidence``."""
        now = self._clock.now()

        def read() -> Screening | None:
            return self._screener().evidence(texts, filename, codes, order, now)

        return await asyncio.to_thread(read)
