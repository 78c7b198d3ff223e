"""What a replica would log, on its way to the log of a service."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import MutableMapping
from typing import Any, NoReturn

import structlog

MAX_KEPT = 500
"""Lines that wait for a request to go with; of more, the oldest go."""

NOT_FOR_RAY = ("worker.output", "worker.error")
"""Lines that hold what an engine printed; Ray's logs, which are not ours to keep, get none."""


class Lines:
    """
    The lines of this process: each goes to the service with the messages of the next request.

    Those about the engine itself are printed as well, so that a node that never served tells why.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[dict[str, Any], bytes]] = deque(maxlen=MAX_KEPT)
        structlog.configure(
            processors=[
                structlog.stdlib.add_log_level,
                structlog.processors.format_exc_info,
                self._keep,
            ],
            wrapper_class=structlog.BoundLogger,
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )

    def take(self) -> list[tuple[dict[str, Any], bytes]]:
        """All lines since the last call, as messages."""
        taken = list(self._kept)
        self._kept.clear()
        return taken

    def restarted(self, reason: str) -> None:
        """A worker ended; the service counts it."""
        self._kept.append(({"kind": "restarted", "reason": reason}, b""))

    def _keep(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> NoReturn:
        self._kept.append(({"kind": "line", "line": dict(line)}, b""))
        if line["event"] not in NOT_FOR_RAY:
            print(json.dumps(line, default=str), file=sys.stderr, flush=True)  # noqa: T201
        raise structlog.DropEvent
