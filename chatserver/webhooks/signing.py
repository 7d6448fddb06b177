"""What is sent for an event: the payload and the headers of Standard Webhooks (https://www.standardwebhooks.com)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

from policies.instant import rfc3339


def payload(event_type: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The body of a request; the same for every attempt.

    Args:
        event_type: such as ``dispute.opened``.
        at: when it happened.
        data: what happened.
    """
    return orjson.dumps({"type": event_type, "timestamp": rfc3339(at), "data": data})


def signed_headers(event: str, secrets: Sequence[str], body: bytes, now: datetime) -> dict[str, str]:
    """The headers that let a receiver check a request.

    Args:
        event: the event's id, which is the same for every attempt.
        secrets: those that hold now, ``whsec_...``; more than one while a secret is being replaced.
        body: what is sent, byte for byte.
        now: the real time. Receivers refuse what is more than some minutes away from theirs.
    """
    text = body.decode()
    return {
        "webhook-id": event,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event, now, text) for secret in secrets),
    }
