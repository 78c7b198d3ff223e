"""
One structured line for every call of a function: request_id, stage times, outcome.

    import observability
    from observability import observe, record, stage

    observability.setup("logs")

    @observe("render")
    def render(page: str) -> bytes:
        with stage("layout"):
            ...
        record(text_len=len(page))

For IndexTTS-2 as it comes, `attach(tts)` does all of this from outside: see docs/attach.md.

A library of its own: it knows nothing of the service that uses it.
"""

from __future__ import annotations

import atexit
from pathlib import Path

import structlog

from observability import logs, recovery, tracing
from observability.attach import attach
from observability.metrics import Metrics
from observability.observe import Observation, current, drain, observe, record, set_sinks, stage
from observability.own_folder import own_folder

__all__ = [
    "Metrics",
    "Observation",
    "attach",
    "current",
    "drain",
    "observe",
    "record",
    "set_sinks",
    "setup",
    "stage",
]

DRAIN_SECONDS = 5.0


def setup(
    log_dir: str | Path,
    *,
    stdout: bool = True,
    capture: bool = False,
    instance: str | None = None,
) -> Metrics:
    """
    Log every observed call to day files in `log_dir`, count it, and flush when the process ends.

    What a crash of the last process swallowed is written as `lost` first. Where
    `OTEL_EXPORTER_OTLP_ENDPOINT` is set, every call is sent there as spans as well.

    Args:
        log_dir: folder of the JSON lines; made if missing. Where another process writes there,
            this one warns and takes the folder `2` in it, or `3` ….
        stdout: whether the lines go to stdout as well.
        capture: whether prints, warnings and uncaught exceptions become lines too.
        instance: name of this process among several, in every line.

    Returns:
        The metrics; serve `metrics.text()` or its `registry` where Prometheus can scrape it.
    """
    static = {"instance": instance} if instance else {}
    try:
        folder, lock = own_folder(Path(log_dir), stacklevel=3)
        atexit.register(lock.close)
    except OSError:
        folder = Path(log_dir)  # lines that cannot be written are counted, and nothing fails
    handler = logs.set_up(folder, static=static, stdout=stdout, capture=capture)
    metrics = Metrics()
    set_sinks([logs.EventLog(), metrics, *tracing.sinks()])
    lost = recovery.write_lost(folder)
    structlog.get_logger("observability").info(recovery.RECONCILED, requests_lost=lost)
    atexit.register(handler.close)
    atexit.register(drain, DRAIN_SECONDS)
    return metrics
