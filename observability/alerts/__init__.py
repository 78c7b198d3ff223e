"""
The alert relay: what Alertmanager or Grafana found, told to people where they already look.

Takes their webhooks, keeps what it took on disk until each receiver has it, and passes it on to
WeCom, DingTalk, Feishu, Slack, e-mail and whatever else Apprise knows, with the last failed
requests attached. `scripts/alert_relay.py` runs it; docs/alerts.md tells how.
"""

from __future__ import annotations

from observability.alerts.notification import Alert, Malformed, Notification
from observability.alerts.settings import RelaySettings, SettingsError

__all__ = ["Alert", "Malformed", "Notification", "RelaySettings", "SettingsError"]
