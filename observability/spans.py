"""
Finished events as OpenTelemetry spans, one for the call and one for each of its stages.

The lengths of the stages are measured; their places are not, since a stage may run in pieces: they
stand one after another in the order of the work, and each says so (`stage.placed`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from observability import losses, request_id
from observability.events import Event, Scalar

MAX_WAITING = 16_384
"""Spans that may wait to be sent, some 2,000 requests; more are counted as lost."""

FAILED = frozenset({"failed", "timeout", "lost"})
IDS = frozenset({"event", "trace_id", "span_id", "parent_span_id"})

log = structlog.get_logger("observability.tracing")


class Spans:
    """A sink that sends spans in the background; what cannot be sent is counted in `losses`."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        """
        Args:
            exporter: where spans go; OTLP over HTTP as the environment says if None.
        """
        # Its own lines would tell each failure with a traceback; ours tell when it begins and ends.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._ids = _GivenIds()
        self._counted = _Counted(exporter or OTLPSpanExporter())
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "indextts"}
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(named),
            id_generator=self._ids,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(self._counted, max_queue_size=MAX_WAITING)
        )
        self._tracer = self._provider.get_tracer("observability")

    def started(self, event: Event) -> None:
        """Nothing: a span is made of how it ended."""

    def finished(self, event: Event) -> None:
        """Send the spans of an event that has a span_id."""
        if event.trace_id is None or event.span_id is None:
            return
        stages = {name: ms for name, ms in event.stages_ms().items() if name != "other" and ms > 0}
        if event.queue_ms:
            stages = {"queue": event.queue_ms, **stages}
        if not self._counted.room_for(1 + len(stages)):
            return
        begins = _nanoseconds(event)
        ends = begins + round((event.duration_ms or 0.0) * 1e6)
        span = self._span(event, begins)
        at = begins
        for name, spent_ms in stages.items():
            child = self._tracer.start_span(
                name,
                context=set_span_in_context(span),
                attributes={"stage": name, "stage.placed": "one after another"},
                start_time=at,
            )
            at = min(ends, at + round(spent_ms * 1e6))
            child.end(at)
        span.end(ends)

    def flush(self, timeout_seconds: float) -> bool:
        """Send what waits; False if some still does when time is out."""
        return self._provider.force_flush(round(timeout_seconds * 1000))

    def close(self) -> None:
        """Send what waits, and nothing more."""
        self._provider.shutdown()

    def _span(self, event: Event, begins: int) -> Span:
        trace_id = int(event.trace_id or "0", 16)
        parent = None
        if event.parent_span_id:
            flags = TraceFlags(TraceFlags.SAMPLED)
            span_id = int(event.parent_span_id, 16)
            remote = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
            parent = set_span_in_context(NonRecordingSpan(remote))
        with self._ids.give(trace_id, int(event.span_id or "0", 16)):
            span = self._tracer.start_span(
                event.event.removesuffix(".finished"),
                context=parent,
                kind=SpanKind.SERVER if event.source in ("api", "page") else SpanKind.INTERNAL,
                attributes=dict(_attributes(event)),
                start_time=begins,
            )
        if event.status in FAILED:
            span.set_status(Status(StatusCode.ERROR, event.error_type))
        return span


def _attributes(event: Event) -> Iterator[tuple[str, Scalar]]:
    """The fields of the line by their own names, so that log and trace are searched alike."""
    yield from ((name, value) for name, value in event.line().items() if name not in IDS)
    if event.error_type:
        yield "error.type", event.error_type


def _nanoseconds(event: Event) -> int:
    """When the call began; of one that the process died under, when its id was made."""
    if event.began_at is not None:
        return round(event.began_at * 1e9)
    return round(request_id.time_of(event.request_id).timestamp() * 1e9)


class _GivenIds(IdGenerator):
    """The ids that the log line has already, for the one span that they belong to."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._given = threading.local()

    def give(self, trace_id: int, span_id: int) -> _GivenIds:
        """`with give(…):` the next span of this thread has these ids."""
        self._given.ids = (trace_id, span_id)
        return self

    def __enter__(self) -> None:
        """The ids are in use."""

    def __exit__(self, *_: object) -> None:
        self._given.ids = None

    def generate_trace_id(self) -> int:
        """Of a span without a parent."""
        ids = getattr(self._given, "ids", None)
        return ids[0] if ids else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """Of any span."""
        ids = getattr(self._given, "ids", None)
        return ids[1] if ids else self._random.generate_span_id()


class _Counted(SpanExporter):
    """An exporter whose failures are counted, and told once when they begin and end."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lock = threading.Lock()
        self._waiting = 0
        self._failing = 0

    def room_for(self, spans: int) -> bool:
        """Whether so many more may wait; counted as lost if not."""
        with self._lock:
            if self._waiting + spans <= MAX_WAITING:
                self._waiting += spans
                return True
        losses.count("spans", spans)
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001  # an edge: nobody above this thread would hear of it
            result = SpanExportResult.FAILURE
        with self._lock:
            self._waiting = max(0, self._waiting - len(spans))
        if result is SpanExportResult.SUCCESS:
            if self._failing:
                log.warning("tracing.recovered", spans_lost=self._failing)
            self._failing = 0
        else:
            losses.count("spans", len(spans))
            if not self._failing:
                log.error("tracing.failing")
            self._failing += len(spans)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()
