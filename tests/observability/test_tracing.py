"""One span for each call and one for each stage where spans are asked for; else nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from observability import losses, observe, record, set_sinks, tracing
from observability.events import Event
from observability.observe import Observation, current, emit

ROOT = Path(__file__).parents[2]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{PARENT}-01"


class Receiver:
    """An OTLP receiver: decodes what it is sent with OpenTelemetry's own messages."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.status = 200
        self.port = 0

    def spans(self) -> list[Any]:
        """Every span so far, in the order they came."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Running, and named in the environment."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if kept.status == 200:
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                kept.requests.append(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(tracing, "_sampling", None)
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def spans(receiver: Receiver) -> Iterator[Any]:
    """The sink, in place."""
    (sink,) = tracing.sinks()
    set_sinks([sink])
    yield sink
    sink.close()  # type: ignore[attr-defined]


class StepClock:
    """A second passes each time that it is looked at."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def value_of(attribute: Any) -> Any:
    return getattr(attribute.value, attribute.value.WhichOneof("value"))


def told(span: Any) -> dict[str, Any]:
    """A span as plain values."""
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "parent": span.parent_span_id.hex(),
        "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        "status": span.status.code,
        "attributes": {one.key: value_of(one) for one in span.attributes},
    }


def id_of(receiver: Receiver, name: str) -> str:
    """The id of the span with this name, in hex."""
    return next(span.span_id.hex() for span in receiver.spans() if span.name == name)


def test_spans_are_those_of_the_finished_event(spans: Any, receiver: Receiver) -> None:
    """Compared whole: ids as in the line, lengths as measured, stages in the order of the work."""
    known = {
        "request_id": "01KB4SC9RZ6W5B3Y2J8Q0V7X11", "source": "api", "traceparent": HEADER,
        "speaker": "默认女声", "queue_ms": 500.0,
    }  # fmt: skip
    observation = Observation("synthesis", known, clock=StepClock())
    with observation:
        with observation.stage("vocoder"):
            pass
        with observation.stage("acoustic"):
            pass
    assert spans.flush(10)
    found = {span.name: told(span) for span in receiver.spans()}
    whole = found.pop("synthesis")
    assert whole == {
        "name": "synthesis",
        "trace_id": TRACE,
        "parent": PARENT,
        "seconds": 5.0,
        "status": 0,
        "attributes": {
            "request_id": "01KB4SC9RZ6W5B3Y2J8Q0V7X11",
            "source": "api",
            "speaker": "默认女声",
            "duration_ms": 5000.0,
            "queue_ms": 500.0,
            "stage_acoustic_ms": 1000.0,
            "stage_vocoder_ms": 1000.0,
            "stage_other_ms": 2500.0,
            "status": "success",
        },
    }
    assert found == {
        name: {
            "name": name,
            "trace_id": TRACE,
            "parent": id_of(receiver, "synthesis"),
            "seconds": seconds,
            "status": 0,
            "attributes": {"stage": name, "stage.placed": "one after another"},
        }
        for name, seconds in (("queue", 0.5), ("acoustic", 1.0), ("vocoder", 1.0))
    }
    by_start = sorted(receiver.spans(), key=lambda span: (span.start_time_unix_nano, -span.kind))
    assert [span.name for span in by_start] == ["synthesis", "queue", "acoustic", "vocoder"]
    assert by_start[0].kind == by_start[0].SPAN_KIND_SERVER
    (resource,) = receiver.requests[0].resource_spans
    names = {one.key: value_of(one) for one in resource.resource.attributes}
    assert names["service.name"] == "indextts"


def test_the_line_names_the_span(spans: Any, receiver: Receiver, recorder: Any) -> None:
    """trace_id and span_id of started and finished line are those that were sent."""
    set_sinks([recorder, spans])

    @observe("work")
    def work() -> str | None:
        observation = current()
        return observation.traceparent if observation else None

    handed_on = work()
    assert spans.flush(10)
    (span,) = receiver.spans()
    (finished,) = recorder.finished_events
    (started,) = recorder.started_events
    ids = (span.trace_id.hex(), span.span_id.hex())
    assert ids == (finished.trace_id, finished.span_id) == (started.trace_id, started.span_id)
    assert handed_on == f"00-{ids[0]}-{ids[1]}-01"


def test_a_failure_is_an_error(spans: Any, receiver: Receiver) -> None:
    """With the code of the error; a refusal is the client's, and none."""

    @observe("work")
    def work(error: Exception) -> None:
        raise error

    class Rejected(Exception):
        status, code = "rejected", "too_long"

    for error in (TimeoutError(), Rejected()):
        with pytest.raises(type(error)):
            work(error)
    assert spans.flush(10)
    first, second = map(told, receiver.spans())
    assert (first["status"], first["attributes"]["error.type"]) == (2, "timeout")
    assert (second["status"], second["attributes"]["error.type"]) == (0, "too_long")


def test_a_call_inside_a_call_is_its_child(spans: Any, receiver: Receiver) -> None:
    """One trace, whoever began it."""

    @observe("inner")
    def inner() -> None:
        record(pages=1)

    @observe("outer")
    def outer() -> None:
        inner()

    outer()
    assert spans.flush(10)
    child, root = receiver.spans()
    assert (child.name, root.name) == ("inner", "outer")
    assert child.trace_id == root.trace_id
    assert child.parent_span_id == root.span_id


def test_a_caller_that_does_not_sample_is_heeded(spans: Any, receiver: Receiver) -> None:
    """Its trace stands in the line and is handed on as it is; no span is sent."""
    observation = Observation("work", {"traceparent": f"00-{TRACE}-{PARENT}-00"})
    with observation:
        pass
    assert spans.flush(10)
    assert receiver.spans() == []
    assert observation.traceparent == f"00-{TRACE}-{PARENT}-00"


def test_what_cannot_be_sent_is_counted(spans: Any, receiver: Receiver) -> None:
    """A receiver that refuses fails no call; a lost request has a span without stages."""
    receiver.status = 400
    before = losses.lost().get("spans", 0)
    with Observation("work", {}):
        pass
    lost = Event(
        event="synthesis.finished", request_id="01KB4SC9RZ6W5B3Y2J8Q0V7X11", trace_id=TRACE,
        span_id=PARENT, status="lost", error_type="process_died",
    )  # fmt: skip
    emit("finished", lost)
    spans.flush(10)
    assert losses.lost()["spans"] - before == 2


def test_a_backlog_is_bounded(spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room is counted at once."""
    monkeypatch.setattr("observability.spans.MAX_WAITING", 0)
    before = losses.lost().get("spans", 0)
    with Observation("work", {}):
        pass
    assert losses.lost()["spans"] - before == 1


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        (HEADER, tracing.TraceParent(TRACE, PARENT, sampled=True)),
        (f"00-{TRACE}-{PARENT}-00", tracing.TraceParent(TRACE, PARENT, sampled=False)),
        (f"cc-{TRACE}-{PARENT}-03-later", tracing.TraceParent(TRACE, PARENT, sampled=True)),
        (None, None),
        ("", None),
        (HEADER.upper(), None),
        (f"{HEADER}-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"cc-{TRACE}-{PARENT}-01-{'x' * 600}", None),
        (f"00-{TRACE}-{PARENT}-01\n", None),
    ],
)
def test_the_header_is_read_as_w3c_says(
    header: str | None, parsed: tracing.TraceParent | None
) -> None:
    """Anything else is no header; a later version's is read as far as it is known."""
    assert tracing.parse(header) == parsed


@pytest.mark.parametrize(
    ("environment", "sampled"),
    [
        ({}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            0.25,
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"}, 1.0),
    ],
)
def test_new_traces_are_sampled_as_asked(environment: dict[str, str], sampled: float) -> None:
    """The same ids as OpenTelemetry's own sampler would take."""
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

    chosen = tracing.sampling(environment)
    assert chosen == tracing.Sampling(sampled)
    theirs = TraceIdRatioBased(sampled)
    for low in (0, 2**61, 2**62 - 1, 2**62, 2**63, 2**64 - 1):
        trace_id = (1 << 64) + low
        recorded = theirs.should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
        assert chosen.records(f"{trace_id:032x}") is recorded


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_no_spans_where_none_are_asked_for(environment: dict[str, str]) -> None:
    """Or where they could not be sent; a caller's trace is kept and handed on as it came."""
    assert tracing.sinks(environment) == ()
    assert tracing.placed() is tracing.NO_TRACE
    assert tracing.placed("nonsense") is tracing.NO_TRACE
    ids = {"trace_id": TRACE, "parent_span_id": PARENT}
    assert tracing.placed(HEADER) == tracing.Trace(ids, HEADER)


@pytest.mark.parametrize(
    ("imports", "unwanted"),
    [
        ("observability", "opentelemetry google.protobuf"),
        # FastAPI brings the API, and asks nothing of it while no SDK is set up.
        ("indextts_app.server", "opentelemetry.sdk opentelemetry.exporter google.protobuf"),
    ],
)
def test_nothing_is_imported_where_no_spans_are_sent(imports: str, unwanted: str) -> None:
    """Set up and asked, without a module of OpenTelemetry's SDK, its exporter or protobuf."""
    script = (
        f"import sys, tempfile, observability, {imports}\n"
        "observability.setup(tempfile.mkdtemp(), stdout=False)\n"
        "with observability.Observation('work', {'traceparent': None}): pass\n"
        f"unwanted = tuple({unwanted!r}.split())\n"
        "print(*sorted(name for name in sys.modules if name.startswith(unwanted)))\n"
    )
    environment = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == ""
