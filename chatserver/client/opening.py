"""Opening a dispute."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chatserver.client.frames import Notice, noticed
from chatserver.client.web import Web
from chatserver.protocol import Dispute
from policies.errors import ChatError


@dataclass(frozen=True, slots=True)
class OpenedDispute:
    """A dispute as the server answers its opening. ``created``: this call opened it, and not an earlier try.
    ``notice``: the description breaks a rule of the platform, and what became of it."""

    dispute: Dispute
    created: bool
    notice: Notice | None = None

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
            dispute = Dispute.model_validate_json(answer.content)
            return OpenedDispute(dispute, answer.status_code == 201, noticed(answer.json()))
        except ValidationError as error:
            raise ChatError("The server's answer is not a dispute.") from error
