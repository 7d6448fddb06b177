import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chatserver.webhooks.signing import payload, signed_headers
from tests.chatserver.moving_time import NOW

OLD, NEW = "whsec_" + "b2xk" * 11, "whsec_" + "bmV3" * 11


def test_the_payload_is_that_of_standard_webhooks() -> None:
    data = {"dispute": "d1", "amount": 4990, "title": "Größe ✓"}
    assert json.loads(payload("dispute.opened", NOW, data)) == {
        "type": "dispute.opened",
        "timestamp": "2026-01-31T09:30:00.000Z",
        "data": data,
    }


def test_a_receiver_verifies_it_with_the_library() -> None:
    now = datetime.now(UTC)
    body = payload("dispute.opened", NOW, {"title": "Größe ✓"})
    headers = signed_headers("d1:1", [NEW], body, now)
    assert headers["webhook-id"] == "d1:1"
    assert headers["webhook-timestamp"] == str(int(now.timestamp()))
    assert Webhook(NEW).verify(body, headers)["type"] == "dispute.opened"
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body, headers | {"webhook-id": "d1:2"})


def test_while_a_secret_is_replaced_both_verify() -> None:
    body = payload("dispute.opened", NOW, {})
    headers = signed_headers("d1:1", [NEW, OLD], body, datetime.now(UTC))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(body, headers)["data"] == {}


def test_an_old_request_is_refused_by_receivers() -> None:
    body = payload("dispute.opened", NOW, {})
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(NEW).verify(body, signed_headers("d1:1", [NEW], body, datetime.now(UTC) - timedelta(minutes=6)))


def test_the_signature_is_the_published_example() -> None:
    """From the specification's own test vectors."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", [secret], b'{"test": 2432232314}', at)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
