#!/usr/bin/env python3
"""
Ask a service whether it speaks: for cron, monitors, and the container's health check.

    scripts/health_check.py [--url http://127.0.0.1:7860] [--warn 2] [--timeout 10] [--live]

Prints one line in the form of monitoring plugins, figures behind a bar, and exits with their
status: 0 ok, 1 warning (it speaks, but took longer than --warn seconds to say so), 2 critical (it
does not, and why), 3 unknown (the question itself was wrong). With --live it is only asked whether
the process answers: an engine that still loads is no reason to restart a container.

Standard library only: it is run every few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

OK, WARNING, CRITICAL, UNKNOWN = range(4)
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
MAX_BYTES = 10_000
FOREIGN = "an answer that is not the service's"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"{NAMES[UNKNOWN]} - {message}")
        raise SystemExit(UNKNOWN)


def main() -> int:
    """The status of monitoring plugins."""
    asked = _arguments()
    path = "/health/live" if asked.live else "/health/ready"
    url = asked.url.rstrip("/") + path
    began = time.monotonic()
    try:
        # Around every proxy of the environment: it is this service that is asked.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=asked.timeout) as answer:
            said = _said(answer.read(MAX_BYTES))
        status = CRITICAL if said == FOREIGN else OK
    except urllib.error.HTTPError as error:
        status, said = CRITICAL, f"{_said(error.read(MAX_BYTES))} (HTTP {error.code})"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        status, said = CRITICAL, f"no answer from {url}: {reason}"
    seconds = time.monotonic() - began
    if status == OK and seconds > asked.warn:
        status, said = WARNING, f"{said}, but it took {seconds:.1f} s to say so"
    print(f"{NAMES[status]} - {said} | time={seconds:.3f}s;{asked.warn:g};{asked.timeout:g};0")
    return status


def _arguments() -> argparse.Namespace:
    host, port = (
        os.environ.get("INDEXTTS_HOST", "127.0.0.1"),
        os.environ.get("INDEXTTS_PORT", "7860"),
    )
    # Whoever listens everywhere is asked here.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    parser = _Parser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--url", default=f"http://{host}:{port}", help="of the service")
    parser.add_argument("--timeout", type=_seconds, default=10.0, help="seconds to wait at most")
    parser.add_argument("--warn", type=_seconds, default=2.0, help="seconds that are too many")
    parser.add_argument("--live", action="store_true", help="whether the process answers at all")
    asked = parser.parse_args()
    if urllib.parse.urlsplit(asked.url).scheme not in ("http", "https"):
        parser.error("--url must begin with http:// or https://")
    return asked


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("it must be a number of seconds above 0")
    return seconds


def _said(body: bytes) -> str:
    """The service's own words, on one line; a bar would end them for a monitor."""
    try:
        answer = json.loads(body)
        words = " - ".join(str(answer[name]) for name in ("status", "reason") if answer.get(name))
    except (ValueError, TypeError, AttributeError):
        words = ""
    return " ".join(words.split()).replace("|", "/") or FOREIGN


if __name__ == "__main__":
    sys.exit(main())
