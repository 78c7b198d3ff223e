"""
Pass alerts on to people: scripts/alert_relay.py, with ALERT_RELAY_* variables (docs/alerts.md).

With --test it tells every receiver that it works, and exits.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog
import uvicorn

from observability import drain, logs, recovery, set_sinks
from observability.alerts.message import Line, Message
from observability.alerts.receivers import Undelivered
from observability.alerts.relay import Relay, receivers_of
from observability.alerts.settings import RelaySettings, SettingsError, load

log = structlog.get_logger("observability.alerts")

SAID = {
    "en": ("Test of the alert relay", "This receiver is told of alerts from here on."),
    "zh": ("告警中继测试", "此后的告警会发送到这里。"),
}


def main() -> int:
    """Exit status 0 after an orderly end, 1 if a test failed, 2 if the settings allow no start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--test", action="store_true", help="tell every receiver that it works")
    asked = parser.parse_args()
    try:
        settings = load()
        if asked.test:
            return asyncio.run(_test(settings))
        return _serve(settings)
    except SettingsError as error:
        print(f"alert relay: {error}", file=sys.stderr)
        return 2


async def _test(settings: RelaySettings) -> int:
    title, said = SAID[settings.language]
    line = Line(f"{said} ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC)", 0)
    message = Message(title=title, tone="info", lines=(line,), language=settings.language)
    status = 0
    for receiver in receivers_of(settings):
        try:
            await receiver.deliver(message)
            print(f"{receiver.name}: delivered")
        except Undelivered as why:
            print(f"{receiver.name}: not delivered ({why.reason})", file=sys.stderr)
            status = 1
    return status


def _serve(settings: RelaySettings) -> int:
    for folder in (settings.log_dir, settings.spool_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"Cannot write to {folder} ({error.strerror}).") from None
    with _listening(settings) as listener, (settings.spool_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"Another relay uses {settings.spool_dir}: give each its own ALERT_RELAY_SPOOL_DIR."
            ) from None
        lines = logs.set_up(settings.log_dir, static={"service": "indextts-alert-relay"})
        try:
            relay = Relay(settings)
            set_sinks([logs.EventLog(), relay.metrics])
            lost = recovery.write_lost(settings.log_dir)
            log.info(recovery.RECONCILED, requests_lost=lost)
            log.info("relay.started", receivers=",".join(relay.names), port=settings.port)
            # uvicorn raises the signal that ended it once more for the handler before its own.
            for ending in (signal.SIGINT, signal.SIGTERM):
                signal.signal(ending, lambda *_: None)
            serving = uvicorn.Config(
                relay.app(),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=10,
            )
            uvicorn.Server(serving).run(sockets=[listener])
            drain(5.0)
            log.info("relay.stopped")
        finally:
            lines.close()
    return 0


def _listening(settings: RelaySettings) -> socket.socket:
    """Bound before anything is written: beside a relay that runs, this one leaves no trace."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while ")[0]
        raise SettingsError(
            f"Cannot listen on {settings.host}:{settings.port} ({reason}). Another relay "
            "may have the port: set ALERT_RELAY_PORT."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
