"""The ruler's alerts: each fires when it should, and is silent when it nearly should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from expressions import RULES, rules
from shipped import Shipped
from trouble import CASES, Said, moment_of

from scripts import shipping

needs_lokitool = pytest.mark.skipif(shutil.which("lokitool") is None, reason="no lokitool on PATH")
needs_programs = pytest.mark.skipif(
    bool(shipping.missing()), reason=f"not on PATH: {', '.join(shipping.missing())}"
)


@needs_lokitool
def test_the_rules_are_valid() -> None:
    """As Loki's own tool says."""
    done = subprocess.run(
        ["lokitool", "rules", "check", "--strict", RULES], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_tells_what_to_do() -> None:
    """In both languages, with a severity, a dashboard and its own paragraph of the runbook."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    assert set(names) == set(CASES)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        told = rule["annotations"]
        anchor = f"#{rule['alert'].lower()}"
        for language in ("", "_zh"):
            assert told[f"summary{language}"]
            assert told[f"description{language}"]
            assert told[f"dashboard{language}"].startswith("{{ $externalLabels.grafana }}/d/")
            assert told[f"runbook_url{language}"].endswith(anchor)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_it_fires_when_it_should(shipped: Shipped, rule: Mapping[str, Any]) -> None:
    """On the lines of its case, and not on those that nearly are one."""
    place = list(CASES).index(rule["alert"])
    assert shipped.loki.numbers(rule["expr"], moment_of(place))
    assert shipped.loki.numbers(rule["expr"], moment_of(place, nearly=True)) == {}


@pytest.fixture
def receiver() -> Iterator[tuple[str, Queue[list[dict[str, Any]]]]]:
    """Stands in for Alertmanager: keeps what it is told."""
    told: Queue[list[dict[str, Any]]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    thread.join()
    server.server_close()


@needs_programs
def test_the_ruler_tells_alertmanager(
    tmp_path: Path, receiver: tuple[str, Queue[list[dict[str, Any]]]]
) -> None:
    """From a line in a file to a message, with links; every rule, only evaluated more often."""
    address, told = receiver
    (tmp_path / "rules/fake").mkdir(parents=True)
    sooner = re.sub(r"interval: 1m", "interval: 1s", RULES.read_text("utf-8"))
    (tmp_path / "rules/fake/indextts.yaml").write_text(sooner, "utf-8")
    logs = tmp_path / "logs"
    logs.mkdir()
    now = datetime.now(UTC)
    line = Said("log.message", "info", {"message": "…"}).at(now)
    (logs / f"indextts-{now:%Y-%m-%d}.jsonl").write_text(f"{line}\nSegmentation fault\n", "utf-8")
    with (
        shipping.Loki(tmp_path / "loki", rules=tmp_path / "rules", alertmanager=address) as loki,
        shipping.Promtail(tmp_path / "promtail", logs, loki.url),
    ):
        name = None
        while name != "IndexTTSLinesUnparsable":
            (alert, *_) = told.get(timeout=60)
            name = alert["labels"]["alertname"]
    assert alert["labels"] == {
        "alertname": "IndexTTSLinesUnparsable",
        "instance": "127.0.0.1:7860",
        "severity": "warning",
    }
    assert alert["annotations"]["summary"] == "Lines of the log are no JSON (127.0.0.1:7860)"
    assert alert["annotations"]["dashboard"] == "http://127.0.0.1:3000/d/indextts-failures"
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#indexttslinesunparsable"
