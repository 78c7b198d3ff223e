"""
Exporters that are not on this machine, for the real Prometheus of a test.

A second instance of the service has what the drill engine has not: a GPU (a double of NVML behind
the real sampler and collector), a cloning engine with its cache, every error and every hint. It is
the real exposition, of the real sinks, fed with events; so is the alert relay's. The others answer
with what their programs print for the metrics that our rules and dashboards name.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

from observability.alerts.heartbeat import Heartbeat
from observability.alerts.relay_metrics import RelayMetrics
from observability.events import HINTS, STAGES, STATUSES, VERDICTS, Event
from observability.log_store.questions import TURNED_AWAY
from observability.metrics import Metrics
from observability.resources import GpuCollector, GpuSampler

CARD_BYTES = 24e9


@contextmanager
def exporter(text: Callable[[], bytes]) -> Iterator[str]:
    """The address of a server whose every answer is this text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Cloning:
    """An instance with IndexTTS-2 on a GPU: each scrape finds some more requests of every kind."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.metrics.build_info(
            version="0", engine="indextts2", engine_version="2", model_version="2", device="cpu"
        )
        self._sampler = GpuSampler(_nvml())
        self.metrics.registry.register(GpuCollector(self._sampler))

    def text(self) -> bytes:
        """The exposition after a few more requests."""
        self._sampler.sample()
        for event in _events():
            self.metrics.finished(event)
        self.metrics.worker_restarts.labels("crashed").inc()
        self.metrics.files_swept.labels("old").inc()
        self.metrics.result_cache_failures.labels("disk").inc()
        return self.metrics.text()


class AlertRelay:
    """The relay's own exposition: some notifications came, one receiver takes them, one not."""

    def __init__(self) -> None:
        spool: Any = SimpleNamespace(waiting=lambda: {"email": (2, 30.0)})
        self._metrics = RelayMetrics(("wecom", "email"), spool, Heartbeat(900))

    def text(self) -> bytes:
        """The exposition after one more notification and its delivery."""
        for event, extra in (("notification", {}), ("alert", {"receiver": "wecom"})):
            self._metrics.finished(
                Event(
                    event=f"{event}.finished",
                    request_id="01K8ZQ3V7M1ABCDEFGHJKMNPQR",
                    status="success",
                    duration_ms=200.0,
                    extra=extra,
                )
            )
        return self._metrics.text()


def others() -> dict[str, Callable[[], bytes]]:
    """By its job, the text of each program that is not on this machine."""
    return {
        "alert-relay": AlertRelay().text,
        "promtail": lambda: _text(
            'promtail_file_bytes_total{path="a"} 9000',
            'promtail_read_bytes_total{path="a"} 8000',
            'promtail_dropped_entries_total{host="l",reason="ingester_error"} 0',
        ),
        "alloy": lambda: _text(
            'loki_source_file_file_bytes_total{component_id="c",path="a"} 9000',
            'loki_source_file_read_bytes_total{component_id="c",path="a"} 8000',
            'loki_write_dropped_entries_total{component_id="c",reason="ingester_error"} 0',
        ),
        "loki": lambda: _text(
            'loki_discarded_samples_total{tenant="fake",reason="line_too_long"} 0',
            'loki_prometheus_rule_evaluation_failures_total{user="fake",rule_group="g"} 0',
            'loki_prometheus_notifications_dropped_total{user="fake",alertmanager="a"} 0',
            'loki_prometheus_notifications_errors_total{user="fake",alertmanager="a"} 0',
        ),
        "dcgm": lambda: _text('DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="u",modelName="m"} 0'),
    }


def _text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _events() -> Iterator[Event]:
    common: dict[str, Any] = {
        "event": "synthesis.finished",
        "request_id": "01K8ZQ3V7M1ABCDEFGHJKMNPQR",
        "engine": "indextts2",
        "source": "api",
        "emotion": "sad",
        "speaker": "alice",
        "format": "wav",
        "duration_ms": 1500.0,
        "queue_ms": 3.0,
        "first_audio_ms": 900.0,
        "text_len": 40,
        "audio_seconds": 3.0,
        "audio_bytes": 90_000,
        "rtf": 0.5,
        "gpu_seconds": 1.2,
        "result_cache_hit": True,
        "speaker_cache_hit": True,
        "emotion_cache_hit": False,
        "speaker_cache_evictions": 1,
        **{f"stage_{stage}_ms": 100.0 for stage in STAGES},
        **dict.fromkeys(HINTS, 1),
    }
    for status, verdict in itertools.zip_longest(STATUSES, VERDICTS):
        yield Event(**common, status=status, audio_verdict=verdict, probe_ok=True)
    for code in (*TURNED_AWAY, "engine_error"):
        yield Event(**common, status="failed", error_type=code, probe_error="unreadable")
    yield Event(**common, status="success", probe_error="backlog")


def _nvml() -> Any:
    class NVMLError(Exception):
        """As of pynvml."""

    began = time.monotonic()
    return SimpleNamespace(
        NVMLError=NVMLError,
        NVMLError_NotSupported=type("NotSupported", (NVMLError,), {}),
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(
            used=8e9 + 1e6 * (time.monotonic() - began), total=CARD_BYTES
        ),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=70),
        nvmlDeviceGetTemperature=lambda *_: 60,
    )
