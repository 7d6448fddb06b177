from prometheus_client import CollectorRegistry

from chatserver.hub.tally import ACKS_OBSERVED, Tally
from chatserver.metrics import Metrics


def test_what_was_counted_is_in_the_metrics_once() -> None:
    metrics = Metrics(CollectorRegistry())
    tally = Tally()
    tally.appended += 2
    tally.delivered += 6
    tally.forwarded += 1
    tally.acknowledged(0.004)
    tally.flush(metrics)
    tally.flush(metrics)
    exposed = metrics.exposition().decode()
    assert "dispute_chat_appended_total 2.0" in exposed
    assert "dispute_chat_deliveries_total 6.0" in exposed
    assert "dispute_chat_forwarded_total 1.0" in exposed
    assert "dispute_chat_ack_seconds_count 1.0" in exposed
    assert 'dispute_chat_ack_seconds_bucket{le="0.0025"} 0.0' in exposed
    assert 'dispute_chat_ack_seconds_bucket{le="0.005"} 1.0' in exposed


def test_a_flood_of_acknowledgements_is_sampled() -> None:
    metrics = Metrics(CollectorRegistry())
    tally = Tally()
    for _ in range(ACKS_OBSERVED + 50):
        tally.acknowledged(0.001)
    tally.flush(metrics)
    assert f"dispute_chat_ack_seconds_count {ACKS_OBSERVED}.0" in metrics.exposition().decode()
