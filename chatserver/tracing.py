"""OpenTelemetry traces, when a collector is configured; nothing at all when it is not."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Attribute = str | int | float | bool
SERVICE: Final = "dispute-chat"


class Span(Protocol):
    """What a caller may do to the span it is in."""

    def set_attribute(self, key: str, value: Attribute) -> None: ...

    def update_name(self, name: str) -> None: ...


class TracingUnavailable(RuntimeError):
    """Traces are configured, but what sends them is not installed."""


class _NoSpan:
    def set_attribute(self, key: str, value: Attribute) -> None:
        pass

    def update_name(self, name: str) -> None:
        pass


class _NoContext:
    """Entered and left any number of times at once: it holds nothing."""

    _span: Final = _NoSpan()

    def __enter__(self) -> Span:
        return self._span

    def __exit__(self, *_: object) -> None:
        pass


class Tracing:
    """Makes spans. Attributes never hold content or credentials; of an exception only its type is recorded.

    Args:
        provider: None makes every span a no-op.
    """

    _off: Final = _NoContext()

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("chatserver") if provider is not None else None

    @classmethod
    def to(cls, endpoint: str) -> "Tracing":
        """Traces sent to an OTLP collector over HTTP, in batches from a thread; none for an empty endpoint.

        Args:
            endpoint: the collector's base URL, such as ``http://collector:4318``.
        Raises:
            TracingUnavailable: when the ``otel`` extra is not installed.
        """
        if not endpoint:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TracingUnavailable(
                "otlp_endpoint is set, but OpenTelemetry is not installed: pip install 'dispute-chat-server[otel]'"
            ) from error
        url = endpoint if endpoint.endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"
        provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
        return cls(provider)

    @property
    def on(self) -> bool:
        return self._tracer is not None

    def span(
        self,
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
        carrier: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Span]:
        """A span around the ``with`` block, child of the one it is in.

        Args:
            carrier: headers whose ``traceparent`` (W3C Trace Context) names the parent instead.
        """
        if self._tracer is None:
            return self._off
        return self._record(name, attributes, carrier)

    def ended(self, name: str, seconds: float, attributes: Mapping[str, Attribute]) -> None:
        """Record what took so long and ended just now, for work that is not one ``with`` block."""
        if self._tracer is not None:
            now = time.time_ns()
            span = self._tracer.start_span(name, start_time=now - round(seconds * 1e9), attributes=attributes)
            span.end(now)

    @contextlib.contextmanager
    def _record(
        self, name: str, attributes: Mapping[str, Attribute] | None, carrier: Mapping[str, str] | None
    ) -> Iterator[Span]:
        from opentelemetry.trace import Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        assert self._tracer is not None
        parent = TraceContextTextMapPropagator().extract(carrier) if carrier is not None else None
        with self._tracer.start_as_current_span(
            name, parent, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                # The message may quote what somebody wrote.
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR))
                raise

    def close(self) -> None:
        """Send what is left and stop; takes some seconds when the collector is away."""
        if self._provider is not None:
            self._provider.shutdown()
