"""Which log store a command asks."""

from __future__ import annotations

from pathlib import Path

from observability.log_store import logql
from observability.log_store.files import FileLogStore
from observability.log_store.questions import LogStore

SOURCES = ("files", "loki")

LOKI_URL = "http://127.0.0.1:3100"


def open_store(
    source: str, folder: Path, *, loki_url: str | None = None, selector: str = logql.SELECTOR
) -> LogStore:
    """The store of that name: `files` in a folder, or `loki` at an address."""
    if source == "files":
        return FileLogStore(folder)
    # Here, because most commands do without an HTTP client.
    from observability.log_store.loki import LokiLogStore

    return LokiLogStore(loki_url or LOKI_URL, selector=selector)
