"""
A real Loki for the tests, where the program is on PATH, and lines pushed into it.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

LABELS = ("event", "level")

CONFIG = """\
auth_enabled: false
analytics: {{reporting_enabled: false}}
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http},
  grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}, log_level: warn}}
common:
  instance_addr: 127.0.0.1
  path_prefix: {folder}
  replication_factor: 1
  ring: {{kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {folder}/chunks, rules_directory: {folder}/rules}}}}
schema_config:
  configs: [{{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13,
    index: {{prefix: index_, period: 24h}}}}]
ingester: {{wal: {{enabled: false}}}}
querier: {{query_ingesters_within: 0s}}
query_range: {{cache_results: false}}
limits_config:
  reject_old_samples: false
  unordered_writes: true
  ingestion_rate_mb: 64
  ingestion_burst_size_mb: 128
  per_stream_rate_limit: 64MB
  per_stream_rate_limit_burst: 128MB
  max_query_length: 768h
  split_queries_by_interval: 24h
  split_instant_metric_queries_by_interval: 24h
  discover_log_levels: false
  discover_service_name: []
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_loki(folder: Path) -> Iterator[str]:
    """Its address; it is up when this is entered and gone afterwards."""
    program = shutil.which("loki")
    assert program
    http, grpc = free_port(), free_port()
    config = folder / "loki.yaml"
    config.write_text(CONFIG.format(http=http, grpc=grpc, folder=folder))
    with (folder / "loki.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"-config.file={config}"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            url = f"http://127.0.0.1:{http}"
            _until_ready(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def push(
    url: str,
    lines: Iterable[bytes],
    *,
    fallback: datetime,
    is_sent_twice: Callable[[int], bool] = lambda number: False,
) -> int:
    """
    Send lines as a shipper does: at their own time, with `event` and `level` as labels.

    A line without a readable time gets that of the line before it; some are sent once
    more, half a millisecond later. Returns how many went.
    """
    streams: dict[tuple[tuple[str, str], ...], list[list[str]]] = defaultdict(list)
    moment, sent = fallback, 0
    for raw in lines:
        text = raw.decode(errors="replace").rstrip("\n")
        labels = {"app": "indextts"}
        try:
            fields = json.loads(text)
            labels |= {name: fields[name] for name in LABELS if name in fields}
            moment = datetime.fromisoformat(fields["timestamp"])
        except (ValueError, TypeError, KeyError):
            pass
        nanoseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        streams[tuple(labels.items())].append([str(nanoseconds * 1000), text])
        if is_sent_twice(sent):
            streams[tuple(labels.items())].append([str(nanoseconds * 1000 + 500_000), text])
        sent += 1
    body = [{"stream": dict(labels), "values": values} for labels, values in streams.items()]
    for part in body:
        for at in range(0, len(part["values"]), 2000):
            cut = {"stream": part["stream"], "values": part["values"][at : at + 2000]}
            answer = httpx.post(f"{url}/loki/api/v1/push", json={"streams": [cut]}, timeout=30)
            assert answer.status_code == 204, answer.text
    # Lines of long ago are looked for in the stored chunks only.
    httpx.post(f"{url}/flush", timeout=30)
    return sent


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "loki ended"
        try:
            if httpx.get(f"{url}/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("loki is not ready")
