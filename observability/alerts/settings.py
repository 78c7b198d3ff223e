"""
The relay's knobs, typed, from `ALERT_RELAY_*` variables; each may come from a file instead.

`ALERT_RELAY_WECOM_URL_FILE=/run/secrets/wecom` reads the setting `wecom_url` from that file, so
that no secret has to stand in an environment that others can list.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

PREFIX = "ALERT_RELAY_"

TOKEN_NEEDED = (
    "16 characters or more are needed, the same as Alertmanager sends. Make them with "
    f"`openssl rand -hex 32`, and put them here or into the file that {PREFIX}TOKEN_FILE names"
)


class SettingsError(Exception):
    """A setting that does not exist or does not fit; the message never quotes a value."""


class RelaySettings(BaseModel):
    """The settings of one relay; docs/alerts.md has a row for each."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(9098, ge=0, le=65535, description="port to listen on")
    token: SecretStr = Field(
        min_length=16, description="bearer token that Alertmanager and Grafana send"
    )

    wecom_url: SecretStr | None = Field(None, description="address of a WeCom group robot")
    dingtalk_url: SecretStr | None = Field(None, description="address of a DingTalk group robot")
    dingtalk_secret: SecretStr | None = Field(None, description="secret of its signature (加签)")
    feishu_url: SecretStr | None = Field(None, description="address of a Feishu or Lark robot")
    feishu_secret: SecretStr | None = Field(None, description="secret of its signature (签名校验)")
    slack_url: SecretStr | None = Field(
        None, description="Slack's incoming webhook, or Apprise's slack:// URL"
    )
    email_url: SecretStr | None = Field(
        None, description="Apprise's mailtos://user:password@host?from=…&to=…"
    )
    other_urls: SecretStr | None = Field(
        None, description="more Apprise URLs, one a line: SMS gateways, Telegram, PagerDuty, ntfy …"
    )

    language: Literal["en", "zh"] = Field("en", description="language of the messages")
    time_zone: str = Field("UTC", description="zone of the times in them, such as Asia/Shanghai")
    service_url: str | None = Field(
        None, pattern="^https?://", description="the service as people reach it, for links"
    )
    grafana_url: str | None = Field(
        None, pattern="^https?://", description="Grafana as people reach it, for links"
    )

    docs_url: str | None = Field(
        None, pattern="^https?://", description="where docs/ can be read, for links to the runbook"
    )

    failures: int = Field(10, ge=0, le=50, description="failed requests that are attached")
    source: Literal["files", "loki"] = Field("files", description="where they are read")
    service_log_dir: Path = Field(
        Path("logs"), description="the service's log folder, or the one that holds several"
    )
    loki_url: str = Field(
        "http://127.0.0.1:3100", pattern="^https?://", description="Loki's address"
    )
    loki_instance_label: str = Field(
        "instance",
        pattern="^[a-zA-Z_][a-zA-Z0-9_]*$",
        description="label of Loki's streams that equals the instance of the service's alerts",
    )

    spool_dir: Path = Field(Path("alert-relay"), description="folder of what is not delivered yet")
    log_dir: Path = Field(Path("logs-alerts"), description="folder of the relay's own lines")
    repeat_minutes: float = Field(
        50, ge=0, description="least time until the same firing alert is told again"
    )
    heartbeat_minutes: float = Field(
        15, ge=0, description="time without the dead man's switch that is an alert (0 = never)"
    )
    heartbeat_url: SecretStr | None = Field(
        None, description="address of an outside watch, called for each heartbeat"
    )

    @field_validator("wecom_url", "dingtalk_url", "feishu_url", "heartbeat_url")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("an address begins with https://")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("no such time zone") from None
        return value

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        names = ("wecom_url", "dingtalk_url", "feishu_url", "slack_url", "email_url", "other_urls")
        if not any(getattr(self, name) for name in names):
            raise ValueError(
                "Nobody would be told: set one of "
                + ", ".join(f"{PREFIX}{name.upper()}" for name in names)
            )
        return self


def load(environment: Mapping[str, str] = os.environ) -> RelaySettings:
    """
    The settings in these variables and the files that they name.

    Raises:
        SettingsError: a name that does not exist, a file that cannot be read, a value that does
            not fit.
    """
    given: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.upper().startswith(PREFIX):
            continue
        field = name.upper().removeprefix(PREFIX).lower()
        if field.endswith("_file") and field.removesuffix("_file") in RelaySettings.model_fields:
            field, value = field.removesuffix("_file"), _read(name, value)
        elif field not in RelaySettings.model_fields:
            raise SettingsError(f"Unknown setting {name}. docs/alerts.md lists all that exist.")
        if field in given:
            raise SettingsError(f"{PREFIX}{field.upper()} is given twice: itself and by a file.")
        if value.strip():
            given[field] = value.strip()
    try:
        return RelaySettings(**given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        named = f"{PREFIX}{str(first['loc'][0]).upper()}: " if first["loc"] else ""
        said = TOKEN_NEEDED if first["loc"] == ("token",) else first["msg"]
        raise SettingsError(f"{named}{said.removeprefix('Value error, ')}.") from None


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SettingsError(f"{name}: the file cannot be read ({reason}).") from None
