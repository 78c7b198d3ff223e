"""What a trace costs a request, asked for or not: the part `traces` of scripts/bench.py."""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability import losses, set_sinks, tracing
from observability.observe import Observation

STAGES = ("text_prep", "speaker_enc", "acoustic", "vocoder", "post")
REPEATS = 7


def traces() -> Iterator[str]:
    """Best of several runs, in microseconds; no other sink is in place, nothing goes out."""
    off = _microseconds(lambda: tracing.placed(None, None), 200_000)
    headers: dict[str, str] = {}
    look = _microseconds(lambda: headers.get(tracing.HEADER), 200_000)
    set_sinks([])
    plain = _microseconds(_request, 2_000)
    yield "## Traces\n"
    yield f"Microseconds a request, the best of {REPEATS} runs.\n"
    yield "| | µs |"
    yield "|---|---|"
    yield f"| no endpoint: a look for the header, and for the switch | {off + look:.2f} |"
    yield f"| an observed call with five stages, without traces | {plain:.1f} |"
    yield f"| the same as six spans, given to a sender that drops them | {_with_spans():.1f} |\n"


def _with_spans() -> float:
    # Here, because they are not there for the other figures.
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from observability.spans import Spans

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
            return SpanExportResult.SUCCESS

    (before, tracing._sampling) = (tracing._sampling, tracing.Sampling())
    sink = Spans(Nowhere())
    set_sinks([sink])
    try:
        figure = _microseconds(_request, 500)
        if lost := losses.lost().get("spans"):
            raise SystemExit(f"{lost} spans had no room: the figure would be too small.")
        return figure
    finally:
        tracing._sampling = before
        set_sinks([])
        sink.close()


def _request() -> None:
    with Observation("synthesis", {"source": "api"}) as observation:
        for name in STAGES:
            observation.spent(name, 0.1)


def _microseconds(work: Callable[[], object], times: int) -> float:
    return min(timeit.repeat(work, number=times, repeat=REPEATS)) / times * 1e6
