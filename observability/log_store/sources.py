"""Which log store a command asks."""

from __future__ import annotations

from pathlib import Path

from observability.log_store import logql
from observability.log_store.files import FileLogStore
from observability.log_store.questions import LogStore, Unanswerable

SOURCES = ("files", "loki")

LOKI_URL = "http://127.0.0.1:3100"


def open_store(
    source: str, *folders: Path, loki_url: str | None = None, selector: str = logql.SELECTOR
) -> LogStore:
    """
    The store of that name: `files` in the log folders of one or several services, or `loki` at an
    address.

    Raises:
        Unanswerable: there is no such folder; nothing found in it would read as nothing happened.
    """
    if source == "files":
        for folder in folders:
            if not folder.is_dir():
                raise Unanswerable(
                    en=f"There is no log folder {folder}. Name the one that the service writes to "
                    "(its INDEXTTS_LOG_DIR).",
                    zh=f"没有日志目录 {folder}，请指定服务写入的目录（其 INDEXTTS_LOG_DIR）。",
                )
        return FileLogStore(*folders)
    # Here, because most commands do without an HTTP client.
    from observability.log_store.loki import LokiLogStore

    return LokiLogStore(loki_url or LOKI_URL, selector=selector)
