"""Traces: spans when they are wanted, nothing when they are not."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chatserver.http.exchange import Exchange
from chatserver.metrics import Metrics
from chatserver.tracing import Tracing


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Iterator[Tracing]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    made = Tracing(provider)
    yield made
    made.close()


def test_without_a_collector_a_span_is_nothing() -> None:
    tracing = Tracing.to("")
    assert not tracing.on
    with tracing.span("a", {"x": 1}) as outer, tracing.span("b") as inner:
        outer.set_attribute("y", 2)
    assert outer is inner, "nothing is made for it"
    tracing.close()


def test_spans_have_their_place_and_attributes(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    assert tracing.on
    with tracing.span("append", {"room": "order-1"}), tracing.span("commit") as inner:
        inner.set_attribute("entries", 3)
    commit, append = spans.get_finished_spans()
    assert (commit.name, append.name) == ("commit", "append")
    assert dict(append.attributes or {}) == {"room": "order-1"}
    assert dict(commit.attributes or {}) == {"entries": 3}
    assert commit.parent is not None
    assert append.context is not None
    assert commit.parent.span_id == append.context.span_id


def test_a_failure_is_marked_without_its_words(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="meet me"), tracing.span("append"):
        raise ValueError("meet me behind the station")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert span.events == ()
    assert "meet me" not in span.to_json()


async def test_a_request_is_a_span_of_its_callers_trace(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    async def ok(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    middleware = [Middleware(Exchange, metrics=Metrics(CollectorRegistry()), tracing=tracing)]
    app = Starlette(routes=[Route("/v1/orders/{order_id}", ok)], middleware=middleware)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        trace = "0af7651916cd43dd8448eb211c80319c"
        await client.get("/v1/orders/7?token=x", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        await client.get("/v1/orders/7", headers={"traceparent": "nonsense"})
    traced, own = spans.get_finished_spans()
    attributes = dict(traced.attributes or {})
    assert attributes.pop("request_id")
    route = "/v1/orders/{order_id}"
    assert attributes == {"http.request.method": "GET", "http.response.status_code": 200, "http.route": route}
    assert traced.name == f"GET {route}"
    assert traced.context is not None
    assert own.context is not None
    assert f"{traced.context.trace_id:032x}" == trace
    assert f"{own.context.trace_id:032x}" != trace


def test_spans_reach_a_collector() -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        tracing = Tracing.to(f"http://127.0.0.1:{server.server_port}/")
        with tracing.span("append"):
            pass
        tracing.close()
        server.shutdown()
        thread.join()
    ((path, body),) = received
    assert path == "/v1/traces"
    request = ExportTraceServiceRequest.FromString(body)
    (resource,) = request.resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}[
        "service.name"
    ] == "dispute-chat"
    assert resource.scope_spans[0].spans[0].name == "append"


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from chatserver.tracing import Tracing, TracingUnavailable
with Tracing.to("").span("free"):
    pass
try:
    Tracing.to("http://127.0.0.1:4318")
except TracingUnavailable as error:
    print(error)
"""


def test_a_missing_extra_is_named() -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "dispute-chat-server[otel]" in run.stdout


def test_work_that_ended_is_recorded_with_its_length(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    tracing.ended("message.send", 0.25, {"result": "ok"})
    (span,) = spans.get_finished_spans()
    assert span.name == "message.send"
    assert dict(span.attributes or {}) == {"result": "ok"}
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 250_000_000
    Tracing().ended("message.send", 0.25, {})  # off: nothing
