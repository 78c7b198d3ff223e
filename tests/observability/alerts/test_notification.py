"""Alertmanager's and Grafana's own bodies are read; anything else is refused with the reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from observability.alerts import Malformed
from observability.alerts.notification import MAX_CHARS, Alert, Notification, parse

ALERTMANAGER: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="IndexTTSDown"}',
    "truncatedAlerts": 3,
    "status": "firing",
    "receiver": "relay",
    "groupLabels": {"alertname": "IndexTTSDown"},
    "commonLabels": {"alertname": "IndexTTSDown"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "IndexTTSDown", "severity": "critical"},
            "annotations": {"summary": "down", "runbook_url": "https://example.org/r#down"},
            "startsAt": "2026-11-28T10:00:00.123456789+08:00",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
            "fingerprint": "abc",
        }
    ],
}


def test_alertmanagers_body() -> None:
    """Version 4, with Go's zero time for what has not ended."""
    assert parse(json.dumps(ALERTMANAGER).encode()) == Notification(
        source="alertmanager",
        group='relay {}:{alertname="IndexTTSDown"}',
        truncated=3,
        alerts=(
            Alert(
                fingerprint="abc",
                state="firing",
                labels={"alertname": "IndexTTSDown", "severity": "critical"},
                annotations={"summary": "down", "runbook_url": "https://example.org/r#down"},
                links={
                    "runbook": "https://example.org/r#down",
                    "source": "http://prometheus:9090/graph?g0.expr=up",
                },
                starts_at=datetime(2026, 11, 28, 2, 0, 0, 123456, UTC),
            ),
        ),
    )


def test_grafanas_body() -> None:
    """The same with more: values that are no text, and links to the panel."""
    alert = {
        **ALERTMANAGER["alerts"][0],
        "status": "resolved",
        "endsAt": "2026-11-28T02:05:00Z",
        "values": {"A": 1.5},
        "valueString": "[ var='A' value=1.5 ]",
        "dashboardURL": "http://grafana/d/1",
        "panelURL": "http://grafana/d/1?viewPanel=2",
        "silenceURL": "http://grafana/alerting/silence/new",
        "imageURL": "",
    }
    body = {**ALERTMANAGER, "alerts": [alert], "orgId": 1, "title": "[FIRING:1]", "state": "ok"}
    read = parse(json.dumps(body).encode())
    assert read.source == "grafana"
    assert read.alerts[0].ends_at == datetime(2026, 11, 28, 2, 5, tzinfo=UTC)
    assert read.alerts[0].links == {
        "dashboard": "http://grafana/d/1",
        "panel": "http://grafana/d/1?viewPanel=2",
        "runbook": "https://example.org/r#down",
        "silence": "http://grafana/alerting/silence/new",
        "source": "http://prometheus:9090/graph?g0.expr=up",
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body: "),
        (b"{}", "groupKey: Field required"),
        (b'{"groupKey": "g", "alerts": [{"status": "odd"}]}', "alerts.0.status: "),
        (b"\xff", "body: "),
    ],
)
def test_anything_else_is_refused(body: bytes, said: str) -> None:
    """The field is named, its value is not."""
    with pytest.raises(Malformed, match=said) as caught:
        parse(body)
    assert "odd" not in str(caught.value)


def test_long_values_are_cut() -> None:
    """A label of a megabyte is nobody's alert."""
    alert = {**ALERTMANAGER["alerts"][0], "annotations": {"summary": "x" * 100_000}}
    read = parse(json.dumps({**ALERTMANAGER, "alerts": [alert]}).encode())
    assert read.alerts[0].annotations == {"summary": "x" * MAX_CHARS}


def test_an_alert_without_fingerprint_is_known_by_its_labels() -> None:
    """The same labels in another order are the same alert."""

    def fingerprint(labels: dict[str, str]) -> str:
        alert = {"status": "firing", "labels": labels, "startsAt": "2026-11-28T02:00:00Z"}
        body = {"groupKey": "g", "alerts": [alert]}
        return parse(json.dumps(body).encode()).alerts[0].fingerprint

    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a": "2"})
