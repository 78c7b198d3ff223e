"""
What Alertmanager and Grafana send, as one thing: alerts of a group, each firing or resolved.

Grafana's body is Alertmanager's (version 4) with more fields; both are read by the same model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

State = Literal["firing", "resolved"]

MAX_CHARS = 1_000
"""Of one label or annotation; more is not for a chat."""

NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""What Go sends for a time that is not set."""


class Malformed(ValueError):
    """The body is no notification; says which field does not fit, and never quotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """
    One alert in one state.

    `links` are those of the alert itself, by what they lead to: dashboard, panel, runbook, source,
    silence; what is in Chinese as `dashboard_zh`, `runbook_zh`.
    """

    fingerprint: str
    state: State
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    starts_at: datetime
    ends_at: datetime | None = None

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.labels.get("alertname", "unnamed")

    @property
    def severity(self) -> str:
        """As its rule says, else `warning`."""
        return self.labels.get("severity", "warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """
    The alerts of a group as they are now.

    Args:
        source: `alertmanager` or `grafana`.
        group: what tells this group from others; the same for each notification of it.
        truncated: alerts that the sender left out, because they were too many.
    """

    source: Literal["alertmanager", "grafana"]
    group: str
    alerts: tuple[Alert, ...]
    truncated: int = 0


def _shortened(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: text[:MAX_CHARS] if isinstance(text, str) else text for key, text in value.items()}


Texts = Annotated[dict[str, str], BeforeValidator(_shortened)]


class _AlertBody(BaseModel):
    status: State
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)
    starts_at: datetime = Field(alias="startsAt")
    ends_at: datetime | None = Field(None, alias="endsAt")
    fingerprint: str = Field("", max_length=128)
    generator_url: str = Field("", alias="generatorURL")
    dashboard_url: str = Field("", alias="dashboardURL")
    panel_url: str = Field("", alias="panelURL")
    silence_url: str = Field("", alias="silenceURL")


class _Body(BaseModel):
    group_key: str = Field(alias="groupKey", min_length=1, max_length=4_000)
    receiver: str = Field("", max_length=200)
    alerts: list[_AlertBody]
    truncated_alerts: int = Field(0, alias="truncatedAlerts", ge=0)
    org_id: int | None = Field(None, alias="orgId")


def parse(body: bytes) -> Notification:
    """
    The notification in a webhook's body.

    Raises:
        Malformed: it is none.
    """
    try:
        read = _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Malformed(f"{where}: {first['msg']}") from None
    return Notification(
        source="alertmanager" if read.org_id is None else "grafana",
        group=f"{read.receiver} {read.group_key}",
        alerts=tuple(map(_alert, read.alerts)),
        truncated=read.truncated_alerts,
    )


def _alert(read: _AlertBody) -> Alert:
    annotations = read.annotations
    links = {
        "dashboard": annotations.get("dashboard") or read.dashboard_url,
        "dashboard_zh": annotations.get("dashboard_zh", ""),
        "panel": read.panel_url,
        "runbook": annotations.get("runbook_url", ""),
        "runbook_zh": annotations.get("runbook_url_zh", ""),
        "source": read.generator_url,
        "silence": read.silence_url,
    }
    ends_at = read.ends_at
    return Alert(
        fingerprint=read.fingerprint or _fingerprint(read.labels),
        state=read.status,
        labels=read.labels,
        annotations=annotations,
        links={name: url for name, url in links.items() if url},
        starts_at=_utc(read.starts_at),
        ends_at=None if ends_at is None or _utc(ends_at) <= NEVER else _utc(ends_at),
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _fingerprint(labels: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
