"""
Traces: which trace a call belongs to, and whether spans of it are sent anywhere.

With `OTEL_EXPORTER_OTLP_ENDPOINT` every observed call becomes one OpenTelemetry span with a child
for each stage, made of its finished event (`observability.spans`). Without it nothing of
OpenTelemetry is imported; the trace of a caller who sent `traceparent` still stands in the line.

W3C Trace Context: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from observability.observe import Sink

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

HEADER = "traceparent"

# A version after 00 may say more behind the flags; ff is no version.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<span_id>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)

log = structlog.get_logger("observability.tracing")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which new traces are recorded: this share, told by the id alone as OpenTelemetry does."""

    share: float = 1.0

    def records(self, trace_id: str) -> bool:
        """Whether a trace with this id is."""
        return int(trace_id[16:], 16) < round(self.share * 2**64)


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The caller's span, as its header tells."""

    trace_id: str
    span_id: str
    sampled: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """
    A call's place in a trace.

    Args:
        fields: of its event: trace_id, and where there are such, parent_span_id and span_id.
        header: the `traceparent` for whoever is asked on behalf of the call.
    """

    fields: Mapping[str, str]
    header: str | None


NO_TRACE = Trace({}, None)

_sampling: Sampling | None = None
"""None while no spans are sent."""


def parse(header: str | None) -> TraceParent | None:
    """What a `traceparent` header says, or None for what is none."""
    found = _TRACEPARENT.fullmatch(header) if header and len(header) <= 512 else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    if not int(found["trace_id"], 16) or not int(found["span_id"], 16):
        return None
    return TraceParent(found["trace_id"], found["span_id"], bool(int(found["flags"], 16) & 1))


def placed(header: object = None, enclosing: str | None = None) -> Trace:
    """
    Where a call stands: in its caller's trace, in that of the call around it, or in a new one.

    Args:
        header: the caller's `traceparent`, if it sent one.
        enclosing: that of the observed call which this one is part of.

    Returns:
        No `span_id` where no span of the call is to be sent; then the caller's header is handed on
        as it came. `NO_TRACE` where nobody traces.
    """
    if header is None and _sampling is None:
        return NO_TRACE
    known = str(header or "")
    parent = parse(known)
    if parent is None and enclosing:
        known = enclosing
        parent = parse(known)
    if parent is not None:
        fields = {"trace_id": parent.trace_id, "parent_span_id": parent.span_id}
        if _sampling is None or not parent.sampled:
            return Trace(fields, known)
    elif _sampling is not None:
        fields = {"trace_id": secrets.token_hex(16)}
        if not _sampling.records(fields["trace_id"]):
            return Trace(fields, f"00-{fields['trace_id']}-{secrets.token_hex(8)}-00")
    else:
        return NO_TRACE
    span_id = secrets.token_hex(8)
    return Trace({**fields, "span_id": span_id}, f"00-{fields['trace_id']}-{span_id}-01")


def sinks(environment: Mapping[str, str] = os.environ) -> tuple[Sink, ...]:
    """
    The sink that sends spans where `OTEL_EXPORTER_OTLP_ENDPOINT` names a place for them, else none.

    OpenTelemetry's other variables (headers, service name, time-outs, sampler) are heeded too.
    """
    global _sampling
    _sampling = None
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or not any(environment.get(name) for name in ENDPOINTS):
        return ()
    protocol = environment.get(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    )
    if protocol not in ("", "http/protobuf"):
        log.warning("tracing.off", reason="OTLP is spoken over http/protobuf only", asked=protocol)
        return ()
    try:
        # Here, because most processes send no spans.
        from observability.spans import Spans
    except ImportError as error:
        log.warning("tracing.off", reason="OpenTelemetry is not installed", missing=error.name)
        return ()
    _sampling = sampling(environment)
    return (Spans(),)


def sampling(environment: Mapping[str, str]) -> Sampling:
    """What `OTEL_TRACES_SAMPLER` asks for; a caller's own decision comes first in any case."""
    sampler = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    if sampler.endswith("always_off"):
        return Sampling(0.0)
    if sampler.endswith("traceidratio"):
        try:
            return Sampling(min(1.0, max(0.0, float(environment["OTEL_TRACES_SAMPLER_ARG"]))))
        except (KeyError, ValueError):
            log.warning("tracing.all", reason="OTEL_TRACES_SAMPLER_ARG is no number")
    return Sampling()
