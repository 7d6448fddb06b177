"""The metrics as Prometheus reads them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from chatserver.metrics import Metrics
from chatserver.observers import DeskMetrics

DOCUMENTED = {
    "connections", "rooms", "connects", "closes", "errors", "deliveries", "gaps_repaired", "tails_repaired",
    "queue_drops", "slow_consumers", "appended", "duplicate_commands", "conflicts", "ack_seconds", "commit_entries",
    "commit_seconds", "mongo_errors", "forwarded", "writing", "bus_entries", "bus_alive", "redis_errors",
    "http_requests", "http_seconds", "auth_failures", "dispute_commands", "dispute_conflicts",
}  # fmt: skip


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, sample: str) -> float:
    match = re.search(rf"^{re.escape('dispute_chat_' + sample)} (\S+)$", metrics.exposition().decode(), re.MULTILINE)
    assert match, sample
    return float(match[1])


def test_all_metrics_have_one_prefix_and_say_what_they_are(metrics: Metrics) -> None:
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    own = {family.name for family in families if not family.name.endswith("_created")}
    assert {f"dispute_chat_{name}" for name in DOCUMENTED} <= own
    assert all(name.startswith("dispute_chat_") for name in own)
    assert all(family.documentation.endswith(".") for family in families)


def test_what_happens_is_counted(metrics: Metrics) -> None:
    metrics.appended.inc(3)
    metrics.connections.set(7)
    metrics.ack_seconds.observe(0.003)
    metrics.commit_entries.observe(64)
    metrics.bus_published.inc()
    metrics.closed(4002)
    metrics.refused("rate_limited")
    metrics.redis_failed("publish")
    metrics.mongo_failed("append")
    desk = DeskMetrics(metrics)
    desk.ran("Escalate", "refused")
    desk.overtaken()
    metrics.observe_request("GET", "/v1/rooms", 200, 0.2)
    assert value(metrics, "appended_total") == 3
    assert value(metrics, "connections") == 7
    assert value(metrics, 'dispute_commands_total{command="Escalate",result="refused"}') == 1
    assert value(metrics, "dispute_conflicts_total") == 1
    assert value(metrics, 'ack_seconds_bucket{le="0.0025"}') == 0
    assert value(metrics, 'ack_seconds_bucket{le="0.005"}') == 1
    assert value(metrics, 'commit_entries_bucket{le="64.0"}') == 1
    assert value(metrics, 'bus_entries_total{event="published"}') == 1
    assert value(metrics, 'bus_entries_total{event="dropped"}') == 0
    assert value(metrics, 'closes_total{code="4002"}') == 1
    assert value(metrics, 'errors_total{code="rate_limited"}') == 1
    assert value(metrics, 'redis_errors_total{operation="publish"}') == 1
    assert value(metrics, 'mongo_errors_total{operation="append"}') == 1
    assert value(metrics, 'http_requests_total{method="GET",route="/v1/rooms",status="200"}') == 1
    assert value(metrics, 'http_seconds_count{method="GET",route="/v1/rooms"}') == 1


def test_two_applications_of_one_process_count_apart() -> None:
    one, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.appended.inc()
    assert value(one, "appended_total") == 1
    assert value(other, "appended_total") == 0


COUNTING = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from chatserver.metrics import Metrics
metrics = Metrics(CollectorRegistry(), Path(sys.argv[1]))
metrics.appended.inc(int(sys.argv[2]))
metrics.connections.set(int(sys.argv[2]))
print(metrics.exposition().decode())
"""


def test_processes_behind_one_port_are_added_up(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for count in ("2", "3"):
        command = [sys.executable, "-W", "error", "-c", COUNTING, str(tmp_path), count]
        text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "dispute_chat_appended_total 5.0" in text
