"""Opening a dispute."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chatserver.client.web import Web
from chatserver.protocol import Dispute
from policies.errors import ChatError


@dataclass(frozen=True, slots=True)
class OpenedDispute:
    """A dispute as the server answers its opening. ``created``: this call opened it, and not an earlier try."""

    dispute: Dispute
    created: bool

    @property
    def room(self) -> str:
        """The room to join."""
        return self.dispute.room


async def post_dispute(web: Web, content: Mapping[str, Any], *, key: str) -> OpenedDispute:
    """Ask until there is an answer; the key makes all tries one.

    Args:
        content: the request.
        key: the idempotency key.

    Raises:
        ChatError: the server's final error.
    """
    async with web.connected() as client:
        answer = await web.ask(client, "POST", "/v1/disputes", content, {"Idempotency-Key": key})
        try:
            return OpenedDispute(Dispute.model_validate_json(answer.content), answer.status_code == 201)
        except ValidationError as error:
            raise ChatError("The server's answer is not a dispute.") from error
