"""What this process has to tell the others in one turn of the event loop, as one payload for each channel."""

from collections.abc import Callable
from typing import Any

import orjson


class Mailbag:
    """Gathers items by channel and kind until the turn ends.

    Publishing has a fixed cost for each payload, here, in Redis and at every receiver; a commit brings up to a batch
    of entries in one turn. So they travel together.

    Args:
        hub_id: the sender, told in each payload.
        publish: puts a payload on a channel; must not block.
        call_soon: runs a function when this turn of the loop is over.
    """

    def __init__(
        self,
        hub_id: str,
        publish: Callable[[str, bytes], None],
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._hub_id = hub_id
        self._publish = publish
        self._call_soon = call_soon
        self._items: dict[str, dict[str, list[Any]]] = {}
        self._own_prefix = b'{"from":' + orjson.dumps(hub_id) + b","

    def put(self, channel: str, kind: str, item: Any) -> None:
        """Send an item along."""
        if not self._items:
            self._call_soon(self._send)
        kinds = self._items.get(channel)
        if kinds is None:
            self._items[channel] = {kind: [item]}
        elif kind in kinds:
            kinds[kind].append(item)
        else:
            kinds[kind] = [item]

    def is_own(self, payload: bytes) -> bool:
        """Whether a payload came back from the bus to the process that sent it."""
        return payload.startswith(self._own_prefix)

    def _send(self) -> None:
        items, self._items = self._items, {}
        for channel, kinds in items.items():
            self._publish(channel, orjson.dumps({"from": self._hub_id, **kinds}))
